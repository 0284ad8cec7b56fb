// How long nobody can write when the leader goes, here and in etcd: three nodes
// of each on the same three namespaces and disk, one writer that sends one
// small write after the other through a node that survives, and the longest
// time between two acknowledgements. Called by bench/outage.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { GATEWAY_SECRET, sleep, until } from '../node/test/e2e/cluster.mjs';
import { NativeGateway } from '../node/test/e2e/gateways.mjs';
import { enterLab, LabCluster } from '../node/test/e2e/netlab.mjs';
import { Random } from '../node/test/e2e/random.mjs';
import { gatewayToken, randomKey } from '../node/test/e2e/wire.mjs';

const BEFORE_MS = 700;   // of steady writing before each event
const AFTER_MS = 700;    // and after the first write that got through
const LIMIT_MS = 20000;
const ETCD_TRY_MS = 150; // a client of etcd that waits longer waits for 7 s

const [event, rounds, etcdArgs] = [
    process.argv[2], Number(process.argv[3]), process.argv.slice(4),
];

// Longest pause between two marks of which the second is after @from.
function longest(marks, from) {
    let gap = 0;
    for (let i = 1; i < marks.length; i++) {
        if (marks[i] > from) gap = Math.max(gap, marks[i] - marks[i - 1]);
    }
    return gap;
}

function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 === 1 ? sorted[middle]
        : (sorted[middle - 1] + sorted[middle]) / 2;
}

// --- ours -------------------------------------------------------------------

class Holdfast {
    name = 'holdfast';

    constructor(cluster) {
        this.cluster = cluster;
        this.rng = new Random();
    }

    get nodes() {
        return this.cluster.nodes;
    }

    async prepare() {
        const location = await this.cluster.createLocation(
            this.nodes[0], 'outage', { accept_unknown_peers: true });
        this.token = gatewayToken(GATEWAY_SECRET, location.id);
    }

    leader() {
        return this.cluster.settled();
    }

    // Calls @acknowledged for every write; returns what ends it.
    write(node, acknowledged) {
        const agent = new NativeGateway({
            cluster: this.cluster, nodes: [node], rng: this.rng,
            token: this.token, hostname: 'writer', id: 'writer',
            keys: [randomKey()],
        });
        agent.onAcknowledged = () => {
            acknowledged();
            if (agent.spool.length === 0) agent.tick();
        };
        agent.tick();
        return () => {
            agent.assertClean();
            agent.stop();
        };
    }

    signal(node, signal) {
        return signal === 'SIGSTOP' || signal === 'SIGCONT'
            ? process.kill(node.pid(), signal) : node.kill(signal);
    }

    async restart(node) {
        node.start();
        await node.ready();
    }
}

// --- etcd -------------------------------------------------------------------

class Etcd {
    name = 'etcd';

    constructor(cluster) {
        this.directory = path.join(cluster.directory, 'etcd');
        fs.mkdirSync(this.directory);
        this.nodes = cluster.nodes.map((place) => ({
            name: place.name, host: place.host,
            log: path.join(this.directory, `${place.name}.log`),
        }));
        for (const node of this.nodes) this.start(node);
    }

    start(node) {
        const peer = (one) => `http://${one.host}:2380`;
        const log = fs.openSync(node.log, 'a');
        node.child = spawn('nsenter', [`--net=/run/netns/${node.name}`,
            'etcd', '--name', node.name,
            '--data-dir', path.join(this.directory, node.name),
            '--listen-client-urls', `http://${node.host}:2379`,
            '--advertise-client-urls', `http://${node.host}:2379`,
            '--listen-peer-urls', peer(node),
            '--initial-advertise-peer-urls', peer(node),
            '--initial-cluster',
            this.nodes.map((one) => `${one.name}=${peer(one)}`).join(','),
            '--logger', 'zap', '--log-level', 'error', ...etcdArgs],
        { stdio: ['ignore', log, log] });
        fs.closeSync(log);
    }

    async prepare() {
        await this.leader();
    }

    post(node, target, body, { agent, timeoutMs = 2000 } = {}) {
        return new Promise((resolve, reject) => {
            const request = http.request({
                host: node.host, port: 2379, method: 'POST', path: target,
                agent, timeout: timeoutMs,
            }, (response) => {
                let text = '';
                response.on('data', (data) => { text += data; });
                response.on('error', reject);
                response.on('end', () => {
                    if (response.statusCode === 200) resolve(JSON.parse(text));
                    else reject(new Error(text));
                });
            });
            request.on('timeout', () => request.destroy(new Error('slow')));
            request.on('error', reject);
            request.end(JSON.stringify(body));
        });
    }

    // The leader, once all follow it.
    async leader() {
        return until('a leader of etcd', async () => {
            const all = await Promise.all(this.nodes.map((node) =>
                this.post(node, '/v3/maintenance/status', {})));
            const [{ leader, raftTerm: term }] = all;
            const at = all.findIndex((s) => s.header.member_id === leader);
            return all.every((s) => s.leader === leader &&
                s.raftTerm === term) && this.nodes[at];
        }, 60000);
    }

    write(node, acknowledged) {
        let stopped = false;
        const agent = new http.Agent({ keepAlive: true });
        const key = Buffer.from(`s/${'k'.repeat(46)}`).toString('base64');
        (async () => {
            for (let n = 0; !stopped; n++) {
                const value = Buffer.from(`${n}`.padEnd(80)).toString('base64');
                try {
                    await this.post(node, '/v3/kv/put', { key, value },
                        { agent, timeoutMs: ETCD_TRY_MS });
                    acknowledged();
                } catch {
                    await sleep(2);
                }
            }
            agent.destroy();
        })();
        return () => { stopped = true; };
    }

    async signal(node, signal) {
        // The child is etcd itself: nsenter has become it.
        const exited = new Promise((resolve) => node.child.once('exit',
            resolve));
        node.child.kill(signal);
        if (signal === 'SIGKILL' || signal === 'SIGTERM') await exited;
    }

    async restart(node) {
        this.start(node);
    }

    stop() {
        for (const node of this.nodes) node.child.kill('SIGKILL');
    }
}

// --- what happens to a leader -----------------------------------------------

const EVENTS = {
    kill: {
        label: 'SIGKILL',
        strike: (system, node) => system.signal(node, 'SIGKILL'),
        mend: (system, node) => system.restart(node),
    },
    term: {
        label: 'SIGTERM',
        strike: (system, node) => system.signal(node, 'SIGTERM'),
        mend: (system, node) => system.restart(node),
    },
    freeze: {
        label: 'SIGSTOP',
        strike: (system, node) => system.signal(node, 'SIGSTOP'),
        mend: (system, node) => system.signal(node, 'SIGCONT'),
    },
    // The cable is out: nothing is refused, everything is lost.
    cut: {
        label: 'cut off',
        strike: (system, node) => cable(node, 'nomaster'),
        mend: (system, node) => cable(node, 'master br0'),
    },
};

function cable(node, where) {
    const { status, stderr } = spawnSync('ip',
        ['link', 'set', node.name, ...where.split(' ')], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
}

async function measure(system, { strike, mend }, round) {
    const leader = await system.leader();
    const others = system.nodes.filter((node) => node !== leader);
    const marks = [];
    const end = system.write(others[round % 2],
        () => marks.push(performance.now()));
    await until('writing', () => marks.length > 20, LIMIT_MS, 5);
    const steady = performance.now();
    await sleep(BEFORE_MS);
    const struck = performance.now();
    const ended = strike(system, leader);
    // Well past every pause that is not the one: acknowledgements on end.
    await until('writes to go on', () =>
        marks.filter((at) => at > struck + 5).length > 20 &&
        performance.now() - struck > AFTER_MS, LIMIT_MS, 5);
    await sleep(AFTER_MS);
    end();
    const outage = longest(marks, struck);
    const noise = longest(marks.filter((at) => at <= struck), steady);
    await ended;
    await mend(system, leader);
    await sleep(500);
    return { outage, noise };
}

async function main() {
    const { label, strike, mend } = EVENTS[event];
    const cluster = await LabCluster.start({ size: 3, label: 'outage' });
    const systems = [new Holdfast(cluster)];
    const etcd = new Etcd(cluster);
    systems.push(etcd);
    const results = new Map();
    try {
        for (const system of systems) {
            await system.prepare();
            results.set(system, []);
        }
        for (let round = 0; round < rounds; round++) {
            for (const system of systems) {
                const result = await measure(system, { strike, mend }, round);
                results.get(system).push(result);
                console.error(`${label} ${round + 1}/${rounds} ` +
                    `${system.name}: ${result.outage.toFixed(0)} ms ` +
                    `(before: ${result.noise.toFixed(0)} ms)`);
            }
        }
        const of = (system, what) =>
            results.get(system).map((result) => result[what]);
        const [ours, theirs] = systems.map((system) => of(system, 'outage'));
        const ms = (value) => value.toFixed(0);
        console.log([label, ms(median(ours)), ms(Math.max(...ours)),
            ms(median(of(systems[0], 'noise'))),
            ms(median(theirs)), ms(Math.max(...theirs)),
            ms(median(of(systems[1], 'noise'))),
            (median(ours) / median(theirs)).toFixed(2)].join('\t'));
    } finally {
        etcd.stop();
        await cluster.stop({ keep: process.exitCode === 1 });
    }
}

if (EVENTS[event] === undefined || !(rounds > 0)) {
    console.error('usage: outage.mjs kill|term|freeze|cut ROUNDS [ETCD FLAG…]');
    process.exit(2);
}
const refused = await enterLab(import.meta.url);
if (refused) {
    console.error(`bench/outage: ${refused}`);
    process.exit(1);
}
await main();
