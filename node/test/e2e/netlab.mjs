// A laboratory of network faults: every node in a network namespace of its own,
// on a bridge. All of it lives in one outer network, mount and pid namespace,
// in which the test file runs a second time (enterLab): when that process ends,
// however it ends, the kernel removes everything, and the host sees nothing.
// Partitions are nftables rules at the receiver, so that what is cut is lost on
// the way. No root? A user namespace serves as well, where it is allowed.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Authority, replaceFile } from './certs.mjs';
import { Cluster, Node, until } from './cluster.mjs';

const INSIDE = 'HOLDFAST_NETLAB';
const LIMIT_MS = 20 * 60 * 1000; // of a test file
const SUBNET = '10.90.0';
const WAN_SUBNET = '10.90.1';
const TABLE = `table inet lab {
    chain in { type filter hook input priority 0; policy accept; }
}`;
export const PORTS = { peer: 7600, grpc: 50055, http: 8000 };

const UNSHARE = [
    '--net', '--mount', '--pid', '--fork', '--mount-proc',
    '--kill-child=KILL',
    ...(process.getuid() === 0 ? [] : ['--user', '--map-root-user']),
];
const SBIN = { PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

function sh(script) {
    const { status, stderr, error } = spawnSync('sh', ['-ec', script],
        { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${script}: ${error ?? stderr}`);
}

// Runs the test file @url again inside of the lab. Returns false there; outside
// it does not return, or returns why no lab can be made (for test's skip).
export async function enterLab(url) {
    if (process.env[INSIDE]) {
        process.env.PATH = SBIN.PATH;
        layFloor();
        return false;
    }
    const probe = spawnSync('unshare', [...UNSHARE, 'sh', '-ec',
        'mount -t tmpfs tmpfs /run; ip link add br0 type bridge; ' +
        'ip link add v0 type veth peer name v1; nft add table inet lab'],
    { encoding: 'utf8', env: { ...process.env, ...SBIN } });
    if (probe.status !== 0) {
        return 'no network namespaces here: ' +
            `${probe.error?.message ?? probe.stderr.trim()}`;
    }
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare',
        ...UNSHARE, process.execPath, ...process.execArgv, fileURLToPath(url),
        ...process.argv.slice(2)],
    { stdio: 'inherit', env: { ...process.env, ...SBIN, [INSIDE]: '1' } });
    const deadline = Date.now() + LIMIT_MS;
    const parent = process.ppid;
    const guard = setInterval(() => {
        if (Date.now() < deadline && process.ppid === parent) return;
        console.error('the lab is closed: ' + (process.ppid === parent
            ? `${LIMIT_MS / 60000} minutes are over` : 'nobody waits for it'));
        child.kill('SIGKILL');
    }, 1000);
    const code = await new Promise((resolve) => {
        child.once('error', () => resolve(1));
        child.once('exit', (status) => resolve(status ?? 1));
    });
    clearInterval(guard);
    process.exit(code);
}

// What all clusters of a test file share: names of namespaces and the bridge.
function layFloor() {
    sh(`mount -t tmpfs tmpfs /run
        ip link set lo up
        ip link add br0 type bridge
        ip address add ${SUBNET}.254/23 dev br0
        for i in 1 2 3 4; do ip address add ${SUBNET}.20$i/32 dev br0; done
        ip link set br0 up
        nft '${TABLE}'`);
}

// --- a node -----------------------------------------------------------------

export class LabNode extends Node {
    constructor(cluster, number, address) {
        super(cluster, `n${number}`, PORTS, `${SUBNET}.${address}`);
        this.number = number;
        this.hostsFile = path.join(cluster.directory, `${this.name}.hosts`);
        this.peer = `${this.peerHost()}:${PORTS.peer}`;
        this.environment = [];
        this.frozen = false;
        this.freezes = 0;
        this.zone = '';
    }

    peerHost() {
        return `${this.name}.lab`;
    }

    // A namespace with a cable to the bridge.
    plug() {
        const { name, host } = this;
        sh(`ip netns add ${name}
            ip link add ${name} type veth peer name eth0 netns ${name}
            ip link set ${name} master br0 up
            ip -n ${name} link set lo up
            ip -n ${name} address add ${host}/23 dev eth0
            ip -n ${name} link set eth0 up
            ip netns exec ${name} nft '${TABLE}'`);
    }

    unplug() {
        spawnSync('ip', ['netns', 'delete', this.name]);
    }

    // The same name at another address. For a node that does not run.
    readdress(address) {
        const host = `${SUBNET}.${address}`;
        sh(`ip -n ${this.name} address flush dev eth0
            ip -n ${this.name} address add ${host}/23 dev eth0
            ip neighbour flush all`);
        for (const node of this.cluster.nodes) {
            sh(`ip -n ${node.name} neighbour flush all`);
        }
        const { peer } = this;
        this.moveTo(host);
        this.peer = peer;
    }

    args() {
        const any = (port) => `0.0.0.0:${port}`;
        const changed = {
            '--peer-bind': any(PORTS.peer),
            '--grpc-bind': any(PORTS.grpc),
            '--http-bind': any(PORTS.http),
        };
        const args = super.args();
        for (const [flag, value] of Object.entries(changed)) {
            args[args.indexOf(flag) + 1] = value;
        }
        if (this.zone) args.push('--zone', this.zone);
        if (this.pki) {
            for (const [flag, file] of Object.entries(this.pki)) {
                args.push(`--peer-tls-${flag}`, file);
            }
        }
        return [...args, '--insecure']; // gateways and people: in the clear
    }

    founders() {
        return this.cluster.founders;
    }

    // Shows @certificate (of Authority.issue) and trusts @authority, at once if
    // it runs.
    certify(authority, certificate) {
        const file = (what) => path.join(this.cluster.directory,
            `${this.name}.${what}.pem`);
        this.pki = { ca: file('ca'), cert: file('cert'), key: file('key') };
        replaceFile(authority.cert, this.pki.ca);
        replaceFile(certificate.key, this.pki.key);
        replaceFile(certificate.cert, this.pki.cert);
    }

    command() {
        return [
            'nsenter', `--net=/run/netns/${this.name}`, 'unshare', '--mount',
            'sh', '-ec', 'mount --bind "$0" /etc/hosts; exec "$@"',
            this.hostsFile, 'env', ...this.environment, ...super.command(),
        ];
    }

    // A frozen process dies of SIGKILL only.
    async kill(signal) {
        if (this.frozen) this.thaw();
        return super.kill(signal);
    }

    freeze() {
        this.frozen = true;
        this.freezes += 1;
        this.child.kill('SIGSTOP');
    }

    thaw() {
        this.child.kill('SIGCONT');
        this.frozen = false;
    }
}

// --- the cluster and its network --------------------------------------------

export class LabCluster extends Cluster {
    // @zones: of each node; traffic between two zones of which @far(a, b) is
    // true takes @delayMs each way. @peerTls: nodes talk mutual TLS.
    // @prepare(node): before its first start.
    static async create({ size = 5, extraArgs = [], label = 'lab', zones = [],
        far = () => false, delayMs = 40, peerTls = false,
        prepare = () => {} } = {}) {
        const cluster = new this();
        cluster.setUp(label, extraArgs);
        Object.assign(cluster, { far, prepare });
        if (peerTls) cluster.authority = new Authority(cluster.directory);
        for (let i = 1; i <= size; i++) cluster.addNode(zones[i - 1]);
        cluster.founders = [...cluster.nodes];
        await cluster.startWan(delayMs);
        return cluster;
    }

    // One more, which does not run yet. It joins those who founded the cluster.
    addNode(zone = '') {
        const number = this.nodes.length + 1;
        const node = new LabNode(this, number, number);
        node.zone = zone;
        this.nodes.push(node);
        node.plug();
        if (this.authority) {
            node.certify(this.authority, this.authority.issue(node.peerHost()));
        }
        this.prepare(node);
        this.writeHosts();
        return node;
    }

    // What the names mean, now; only those of @known mean anything. In place:
    // every node holds the file mounted.
    writeHosts(known = () => true) {
        for (const node of this.nodes) {
            const lines = this.nodes.filter(known).map((other) =>
                `${this.addressFor(node, other)} ${other.peerHost()}\n`);
            fs.writeFileSync(node.hostsFile,
                `127.0.0.1 localhost\n${lines.join('')}`);
        }
    }

    isFar(a, b) {
        return a !== b && this.far(a.zone, b.zone);
    }

    wanAddress(from, to) {
        return `${WAN_SUBNET}.${from.number * 16 + to.number}`;
    }

    addressFor(from, to) {
        return this.isFar(from, to) ? this.wanAddress(from, to) : to.host;
    }

    // An address of the outer namespace to dial from, 1 to 4.
    stranger(number) {
        return `${SUBNET}.20${number}`;
    }

    pairs() {
        return this.nodes.flatMap((from) => this.nodes
            .filter((to) => to !== from).map((to) => [from, to]));
    }

    async startWan(delayMs) {
        const lines = this.pairs().filter(([a, b]) => this.isFar(a, b));
        if (lines.length === 0) return;
        sh(lines.map(([a, b]) =>
            `ip address add ${this.wanAddress(a, b)}/32 dev br0`).join('\n'));
        const program = fileURLToPath(new URL('wan.mjs', import.meta.url));
        this.wan = spawn(process.execPath, [program, String(delayMs),
            ...lines.map(([a, b]) =>
                `${this.wanAddress(a, b)}=${b.host}:${PORTS.peer}`)],
        { stdio: ['ignore', 'pipe', 'inherit'] });
        await new Promise((resolve, reject) => {
            this.wan.stdout.once('data', resolve);
            this.wan.once('exit', () => reject(new Error('wan.mjs ended')));
        });
    }

    // Only packets for which @passes(from, to) is true arrive, from now on.
    // @verdict: "drop", "reject with tcp reset", or a rule that ends in one.
    async allow(passes, verdict = 'drop') {
        const cut = this.pairs().filter(([from, to]) => !passes(from, to));
        const script = (rules) => 'flush chain inet lab in\n' +
            rules.map((rule) => `add rule inet lab in ${rule}\n`).join('');
        const tasks = this.nodes.map((to) => nft(to.name, script(
            cut.filter((pair) => pair[1] === to).flatMap(([from]) =>
                [from.host, this.wanAddress(from, to),
                    this.wanAddress(to, from)].map((source) =>
                    `ip saddr ${source} meta l4proto tcp ${verdict}`)))));
        tasks.push(nft(null, script(cut.flatMap(([from, to]) =>
            [this.wanAddress(from, to), this.wanAddress(to, from)].map((wan) =>
                `ip saddr ${from.host} ip daddr ${wan} ` +
                `meta l4proto tcp ${verdict}`)))));
        await Promise.all(tasks);
    }

    // Nothing passes between nodes of different @groups; a node in several
    // groups sees all of them.
    async partition(...groups) {
        await this.allow((from, to) => groups.some((group) =>
            group.includes(from) && group.includes(to)));
    }

    async heal() {
        await this.allow(() => true);
    }

    // Everybody answers, follows one leader, and has applied what that had
    // committed when it was first seen. Returns the leader.
    async settled(timeoutMs = 60000) {
        let goal = null;
        return until('one leader that all follow', async () => {
            const all = await Promise.all(this.running.map((node) =>
                node.metrics()));
            const leads = all.filter((m) => m.holdfast_raft_is_leader === 1);
            if (leads.length !== 1) return false;
            const { holdfast_raft_term: term } = leads[0];
            if (goal?.term !== term) {
                goal = { term, commit: leads[0].holdfast_raft_commit_index };
            }
            const together = all.every((m) =>
                m.holdfast_raft_has_leader === 1 &&
                m.holdfast_raft_term === term &&
                m.holdfast_raft_applied_index >= goal.commit);
            return together && this.running[all.indexOf(leads[0])];
        }, timeoutMs);
    }

    // Log lines of level error are surprises too.
    assertNoSurprises() {
        for (const node of this.nodes) {
            const line = /^\S+Z error .*$/m.exec(node.log());
            if (line) this.surprises.push(`${node.name}: ${line[0]}`);
        }
        super.assertNoSurprises();
    }

    async stop(options) {
        await super.stop(options);
        this.wan?.kill('SIGKILL');
        for (const node of this.nodes) node.unplug();
    }
}

// A transaction of nftables in a node's namespace, or in the outer one.
async function nft(name, script) {
    const prefix = name ? ['nsenter', `--net=/run/netns/${name}`] : [];
    const [file, ...args] = [...prefix, 'nft', '-f', '-'];
    const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (data) => { stderr += data; });
    child.stdin.end(script);
    const code = await new Promise((resolve) => child.once('close', resolve));
    if (code !== 0) throw new Error(`nft in ${name}: ${stderr}\n${script}`);
}
