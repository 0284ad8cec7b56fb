// Real holdfast-node processes on loopback: start, kill, restart, ask over
// HTTP. Each node has a temporary data directory and a log; both are kept, and
// the log's end is printed, when a test fails (Cluster.keep).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const GATEWAY_SECRET = 'e2e-gateway-secret-0123456789abcdef';
export const ADMIN_TOKEN = 'e2e-admin-token-0123456789abcdefghijklmnopq';

const root = fileURLToPath(new URL('../../..', import.meta.url));

export function program(name) {
    const directory = process.env.HOLDFAST_BIN ||
        path.join(root, 'build/release/bin');
    return path.join(directory, name);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// For races: does not keep the process alive when the other side has won.
export const expiry = (ms) => new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
});

// Asks @probe until it returns something truthy; throws with the last reason.
export async function until(what, probe, timeoutMs = 15000, everyMs = 50) {
    const deadline = Date.now() + timeoutMs;
    let reason = '';
    for (;;) {
        try {
            const value = await probe();
            if (value) return value;
        } catch (error) {
            reason = `: ${error.message}`;
        }
        if (Date.now() > deadline) {
            throw new Error(
                `timed out after ${timeoutMs} ms: ${what}${reason}`);
        }
        await sleep(everyMs);
    }
}

// A port below the ephemeral range, so that no outgoing connection takes it
// while its node is down.
const taken = new Set();
async function reservePort() {
    for (;;) {
        const port = 10000 + Math.floor(Math.random() * 20000);
        if (taken.has(port)) continue;
        const server = net.createServer();
        const free = await new Promise((resolve) => {
            server.once('error', () => resolve(false));
            server.listen(port, '127.0.0.1', () => resolve(true));
        });
        if (!free) continue;
        await new Promise((resolve) => server.close(resolve));
        taken.add(port);
        return port;
    }
}

// --- one process ------------------------------------------------------------

// Runs a program to its end: for --check-config, refusals and the like.
export async function run(name, args, { env = {}, timeoutMs = 10000 } = {}) {
    const child = spawn(program(name), args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => { stdout += data; });
    child.stderr.on('data', (data) => { stderr += data; });
    let expired = false;
    const timer = setTimeout(() => {
        expired = true;
        child.kill('SIGKILL');
    }, timeoutMs);
    const [code, signal] = await once(child, 'close');
    clearTimeout(timer);
    return { code, signal, stdout, stderr, expired };
}

export class Node {
    constructor(cluster, name, ports, host = '127.0.0.1') {
        this.cluster = cluster;
        this.name = name;
        this.ports = ports;
        this.dataDir = path.join(cluster.directory, name);
        this.logFile = path.join(cluster.directory, `${name}.log`);
        this.extraArgs = [];
        this.moveTo(host);
        this.child = null;
    }

    // Where it listens from its next start on.
    moveTo(host) {
        this.host = host;
        this.grpc = `${host}:${this.ports.grpc}`;
        this.http = `${host}:${this.ports.http}`;
        this.peer = `${host}:${this.ports.peer}`;
    }

    args() {
        const peers = this.founders()
            .map((node) => `${node.name}=${node.peer}`).join(',');
        const clustered = this.cluster.nodes.length > 1
            ? ['--peer-address', this.peer, '--initial-peers', peers] : [];
        return [
            '--name', this.name, '--data-dir', this.dataDir,
            '--peer-bind', this.peer, '--grpc-bind', this.grpc,
            '--http-bind', this.http, ...clustered,
            '--gateway-secret', GATEWAY_SECRET, '--admin-token', ADMIN_TOKEN,
            '--log-format', 'text', ...this.cluster.extraArgs,
            ...this.extraArgs,
        ];
    }

    founders() {
        return this.cluster.nodes;
    }

    // The program and its arguments; they must end in an exec, so that the
    // child is the node.
    command() {
        return [program('holdfast-node'), ...this.args()];
    }

    get running() {
        return this.child !== null && this.child.exitCode === null &&
            this.child.signalCode === null;
    }

    // Starts the process; ready() waits for its line.
    start() {
        const log = fs.openSync(this.logFile, 'a');
        fs.writeSync(log, `--- start ${new Date().toISOString()}\n`);
        const [file, ...args] = this.command();
        const child = spawn(file, args, { stdio: ['ignore', 'pipe', log] });
        fs.closeSync(log);
        this.child = child;
        this.exited = once(child, 'exit');
        this.exited.catch(() => {});
        this.expectedExit = false;
        let stdout = '';
        this.readyLine = new Promise((resolve, reject) => {
            child.once('error', reject);
            child.stdout.on('data', (data) => {
                stdout += data;
                const line = /^ready .*$/m.exec(stdout);
                if (line) resolve(line[0]);
            });
            child.once('exit', (code, signal) => reject(new Error(
                `${this.name} ended before it was ready: ` +
                `${signal ?? `exit ${code}`}\n${this.logTail()}`)));
        });
        this.readyLine.catch(() => {});
        child.once('exit', (code, signal) => {
            if (!this.expectedExit && this.child === child) {
                this.cluster.surprises.push(`${this.name} ended by itself: ` +
                    `${signal ?? `exit ${code}`}\n${this.logTail()}`);
            }
        });
    }

    async ready(timeoutMs = 30000) {
        let timer;
        const timeout = new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error(
                `${this.name} is not ready after ${timeoutMs} ms\n` +
                this.logTail())), timeoutMs);
        });
        try {
            return await Promise.race([this.readyLine, timeout]);
        } finally {
            clearTimeout(timer);
        }
    }

    async kill(signal = 'SIGKILL') {
        if (!this.running) return null;
        this.expectedExit = true;
        this.child.kill(signal);
        const [code, by] = await this.exited;
        return { code, signal: by };
    }

    pid() {
        return this.child?.pid;
    }

    log() {
        try {
            return fs.readFileSync(this.logFile, 'utf8');
        } catch {
            return '(no log)';
        }
    }

    logTail(lines = 25) {
        return this.log().split('\n').slice(-lines).join('\n');
    }

    // --- HTTP ---

    request(method, target, body,
        { token = ADMIN_TOKEN, timeoutMs = 5000 } = {}) {
        const payload = body === undefined ? undefined : JSON.stringify(body);
        return new Promise((resolve, reject) => {
            const request = (this.tls ? https : http).request({
                ca: this.tls?.ca, host: this.host, port: this.ports.http, method, path: target,
                timeout: timeoutMs, agent: false,
                headers: {
                    ...(token ? { authorization: `Bearer ${token}` } : {}),
                    ...(payload ? {
                        'content-type': 'application/json',
                        'content-length': Buffer.byteLength(payload),
                    } : {}),
                },
            }, (response) => {
                let text = '';
                response.setEncoding('utf8');
                response.on('data', (data) => { text += data; });
                response.on('error', reject);
                response.on('end', () => {
                    let json;
                    try {
                        json = JSON.parse(text);
                    } catch {
                        json = undefined;
                    }
                    resolve({
                        status: response.statusCode,
                        headers: response.headers, text, json,
                    });
                });
            });
            request.on('timeout', () => request.destroy(
                new Error(`${method} ${target} on ${this.name}: no answer`)));
            request.on('error', reject);
            request.end(payload);
        });
    }

    async get(target, options) {
        return this.request('GET', target, undefined, options);
    }

    // An answer that must be a success, as JSON.
    async call(method, target, body, options) {
        const answer = await this.request(method, target, body, options);
        if (answer.status < 200 || answer.status > 299) {
            throw new Error(`${method} ${target} on ${this.name}: ` +
                `${answer.status} ${answer.text.slice(0, 300)}`);
        }
        return answer.json;
    }

    async metrics() {
        const { text } = await this.get('/metrics');
        const values = {};
        for (const line of text.split('\n')) {
            const match = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line);
            if (match) values[match[1]] = Number(match[2]);
        }
        return values;
    }

    // Totals since @from: Map of series key → {upload, download}.
    async totals(by, { location = 'all', from, resolution = 'minute' }) {
        const query = new URLSearchParams({
            location: String(location), by, resolution,
            from: new Date(from).toISOString(),
            to: new Date(Date.now() + 120000).toISOString(),
        });
        const answer = await this.call('GET', `/api/v1/overview?${query}`);
        const totals = new Map();
        for (const series of answer.series) {
            let upload = 0;
            let download = 0;
            for (const point of series.points) {
                upload += point?.upload ?? 0;
                download += point?.download ?? 0;
            }
            if (upload !== series.upload || download !== series.download) {
                throw new Error(`series ${series.key}: the total is not ` +
                    'the sum of its points');
            }
            const known = totals.get(series.key) ?? { upload: 0, download: 0 };
            totals.set(series.key, {
                upload: known.upload + upload,
                download: known.download + download,
            });
        }
        return totals;
    }

    async digestAt(index) {
        return until(`${this.name} has the digest of index ${index}`,
            async () => {
                const answer = await this.get(`/api/v1/digest?index=${index}`);
                return answer.status === 200 ? answer.json.digest : null;
            });
    }
}

// --- a cluster --------------------------------------------------------------

export class Cluster {
    static async create({ size = 3, extraArgs = [], label = 'e2e' } = {}) {
        const cluster = new this();
        cluster.setUp(label, extraArgs);
        for (let i = 1; i <= size; i++) {
            cluster.nodes.push(new Node(cluster, `n${i}`, {
                peer: await reservePort(),
                grpc: await reservePort(),
                http: await reservePort(),
            }));
        }
        return cluster;
    }

    setUp(label, extraArgs) {
        this.directory = fs.mkdtempSync(
            path.join(os.tmpdir(), `holdfast-${label}-`));
        this.extraArgs = extraArgs;
        this.surprises = []; // processes that ended by themselves
        this.nodes = [];
        this.gateways = []; // simulated ones: stopped with the cluster
    }

    static async start(options) {
        const cluster = await this.create(options);
        try {
            for (const node of cluster.nodes) node.start();
            await cluster.ready();
        } catch (error) {
            await cluster.stop({ keep: true });
            throw error;
        }
        return cluster;
    }

    async ready() {
        await Promise.all(this.nodes.map((node) => node.ready()));
        await this.leader();
    }

    get running() {
        return this.nodes.filter((node) => node.running);
    }

    async leader(timeoutMs = 15000) {
        return until('a leader', async () => {
            for (const node of this.running) {
                const metrics = await node.metrics().catch(() => ({}));
                if (metrics.holdfast_raft_is_leader === 1) return node;
            }
            return null;
        }, timeoutMs);
    }

    async follower() {
        const leader = await this.leader();
        return this.running.find((node) => node !== leader);
    }

    // One digest of all running nodes, taken at one log index.
    async digest() {
        const [first, ...rest] = this.running;
        const { index, digest } = await until('a digest',
            () => first.call('POST', '/api/v1/digest'));
        for (const node of rest) {
            const other = await node.digestAt(index);
            if (other !== digest) {
                throw new Error(`digests differ at index ${index}: ` +
                    `${first.name} ${digest}, ${node.name} ${other}`);
            }
        }
        return { index, digest };
    }

    // The body of a location, as defguard's pages send it.
    locationBody(name, changes = {}) {
        return {
            name, address: '10.77.0.1/16', endpoint: 'vpn.example.com',
            port: 51820, allowed_ips: '10.77.0.0/16', dns: null,
            allowed_groups: [], location_mfa_mode: 'disabled',
            keepalive_interval: 25, peer_disconnect_threshold: 300,
            acl_enabled: false, acl_default_allow: false,
            accept_unknown_peers: false, ...changes,
        };
    }

    // Returns when every running node knows it.
    async createLocation(node, name, changes) {
        const location = await node.call('POST', '/api/v1/network',
            this.locationBody(name, changes));
        for (const other of this.running) {
            await until(`${other.name} knows the location`, async () => {
                const path = `/api/v1/network/${location.id}`;
                return (await other.get(path)).status === 200;
            });
        }
        return location;
    }

    async createDevice(node, user, name, key) {
        const answer = await node.call('POST', `/api/v1/device/${user}`, {
            name, wireguard_pubkey: key.toString('base64'),
        });
        return answer.device;
    }

    // No process ended by itself, and none wrote that it is broken: killed
    // nodes take a sanitizer's exit code with them.
    assertNoSurprises() {
        for (const node of this.nodes) {
            const fault = /^.*(Sanitizer|runtime error:|broken invariant).*$/m
                .exec(node.log());
            if (fault) {
                this.surprises.push(
                    `${node.name}, ${node.logFile}: ${fault[0]}`);
            }
        }
        if (this.surprises.length > 0) {
            throw new Error(this.surprises.join('\n'));
        }
    }

    // For an after hook: stops, and throws what was surprising.
    async end() {
        let surprise = null;
        try {
            this.assertNoSurprises();
        } catch (error) {
            surprise = error;
        }
        await this.stop({ keep: surprise !== null });
        if (surprise) throw surprise;
    }

    // Ends every gateway and process of this cluster. With @keep the directory
    // stays and its name is printed.
    async stop({ keep = false } = {}) {
        for (const gateway of this.gateways) gateway.stop();
        await Promise.all(this.nodes.map((node) => node.kill('SIGKILL')));
        if (keep || process.env.HOLDFAST_KEEP) {
            for (const node of this.nodes) {
                console.error(`--- ${node.name}, ${node.logFile}\n` +
                    node.logTail());
            }
            console.error(`kept: ${this.directory}`);
        } else {
            fs.rmSync(this.directory, { recursive: true, force: true });
        }
    }
}

// Runs @body with a cluster and always stops it; keeps the logs on failure.
export async function withCluster(options, body) {
    const cluster = await Cluster.start(options);
    let failed = true;
    try {
        await body(cluster);
        cluster.assertNoSurprises();
        failed = false;
    } finally {
        await cluster.stop({ keep: failed });
    }
}
