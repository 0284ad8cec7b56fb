// What an agent stands between, made up: a WireGuard interface (a UAPI socket
// whose peers a test sets) and core nodes (grpc-js servers whose answers a test
// chooses). Nothing here is shared with the program under test.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

// The packages are those of the nodes' end-to-end tests.
const require = createRequire(
    new URL('../../../node/test/e2e/', import.meta.url));
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const root = fileURLToPath(new URL('../../../', import.meta.url));
const holdfast = grpc.loadPackageDefinition(loader.loadSync('holdfast.proto', {
    includeDirs: [path.join(root, 'proto')],
    keepCase: true,
    longs: Number,
    defaults: true,
})).holdfast.v1;

export const status = grpc.status;
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Polls until @condition holds; fails with @what after @limit_ms.
export async function until(what, condition, limit_ms = 10000) {
    const end = Date.now() + limit_ms;
    while (!condition()) {
        if (Date.now() > end) throw new Error(`in vain: ${what}`);
        await sleep(10);
    }
}

export class Interface {
    constructor() {
        this.name = `hft${process.pid % 100000}`;
        this.path = `/var/run/wireguard/${this.name}.sock`;
        this.peers = new Map(); // letter -> {tx, rx}
        this.delay_ms = 0; // of each answer
        this.looks = 0;
    }

    async open() {
        mkdirSync('/var/run/wireguard', { recursive: true });
        rmSync(this.path, { force: true });
        this.server = net.createServer((socket) => {
            socket.on('error', () => {});
            socket.on('data', () => setTimeout(
                () => socket.write(this.answer()), this.delay_ms));
        });
        this.server.listen(this.path);
        await once(this.server, 'listening');
    }

    answer() {
        this.looks += 1;
        let text = `private_key=${'00'.repeat(32)}\nlisten_port=1\n`;
        for (const [letter, { tx, rx }] of this.peers) {
            text += `public_key=${Interface.key(letter).toString('hex')}\n` +
                `tx_bytes=${tx}\nrx_bytes=${rx}\n` +
                'endpoint=192.0.2.1:51820\nallowed_ip=10.0.0.2/32\n';
        }
        return `${text}errno=0\n\n`;
    }

    static key(letter) {
        return Buffer.alloc(32, letter);
    }

    close() {
        this.server?.close();
        rmSync(this.path, { force: true });
    }
}

// @behave(stream, batch) is called for each batch that arrives.
// @tls: {cert, key}, paths.
export class Core {
    async open(behave, tls) {
        this.behave = behave;
        this.tls = tls;
        this.batches = [];
        this.streams = [];
        this.server = new grpc.Server();
        this.server.addService(holdfast.Stats.service, {
            Report: (stream) => {
                this.streams.push(stream);
                stream.on('error', () => {});
                stream.on('data', (batch) => {
                    this.batches.push(batch);
                    this.behave(stream, batch);
                });
                stream.on('end', () => stream.end());
            },
        });
        this.port = await new Promise((done, fail) => this.server.bindAsync(
            '127.0.0.1:0', tls === undefined
                ? grpc.ServerCredentials.createInsecure()
                : grpc.ServerCredentials.createSsl(null, [{
                    cert_chain: readFileSync(tls.cert),
                    private_key: readFileSync(tls.key),
                }]),
            (error, port) => (error ? fail(error) : done(port))));
        return this;
    }

    get url() {
        return `${this.tls ? 'https' : 'http'}://127.0.0.1:${this.port}`;
    }

    get sequences() {
        return this.batches.map((b) => b.sequence);
    }

    close() {
        this.server.forceShutdown();
    }
}

export const acknowledge = (stream, batch) =>
    stream.write({ sequence: batch.sequence, applied_index: 1 });
export const ignore = () => {};
export const refuse = (code, details, trailers = {}) => (stream) => {
    const metadata = new grpc.Metadata();
    for (const [key, value] of Object.entries(trailers)) metadata.set(key, value);
    stream.emit('error', Object.assign(new Error(details), { code, details, metadata }));
};

export class Agent {
    // @flags may begin with {env}, variables for the process.
    constructor(wg, urls, ...flags) {
        const { env } = typeof flags[0] === 'object' ? flags.shift() : {};
        this.output = '';
        this.process = spawn(path.join(
            process.env.HOLDFAST_BIN ?? path.join(root, 'build/release/bin'),
            'holdfast-gateway'), [
            '--observe', '--userspace', '--ifname', wg.name, '--token', 'secret',
            '--grpc-url', urls.join(','), '--stats-period', '0.1', ...flags],
        { env: { ...process.env, ...env } });
        this.ended = once(this.process, 'exit').then(([code]) => code);
        for (const stream of [this.process.stdout, this.process.stderr])
            stream.on('data', (text) => { this.output += text; });
    }

    async stop(signal = 'SIGTERM') {
        this.process.kill(signal);
        return this.ended;
    }
}
