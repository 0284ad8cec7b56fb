// Gateways, browsers and scripts reach a node over TLS: certificates made by
// openssl, clients that know nothing of ours.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { Agent, Interface } from '../../../gateway/test/e2e/fakes.mjs';
import { Authority, replaceFile } from './certs.mjs';
import {
    ADMIN_TOKEN, Cluster, GATEWAY_SECRET, run, sleep, until,
} from './cluster.mjs';
import { assertExact, DefguardGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import {
    authorities, client, gatewayToken, Health, randomKey, status,
} from './wire.mjs';

let folder, ca, cluster, node, location, token;
const files = {};
const from = Date.now() - 120000;

before(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-tls-'));
    ca = new Authority(folder);
    const made = ca.issue('127.0.0.1', 'localhost');
    files.cert = path.join(folder, 'served.pem');
    files.key = path.join(folder, 'served.key');
    fs.copyFileSync(made.cert, files.cert);
    fs.copyFileSync(made.key, files.key);
    cluster = await Cluster.create({ label: 'tls', size: 1, extraArgs: [
        '--tls-cert', files.cert, '--tls-key', files.key] });
    [node] = cluster.nodes;
    node.tls = { ca: fs.readFileSync(ca.cert) };
    authorities.set(node.grpc, node.tls.ca);
    node.start();
    await cluster.ready();
    location = await cluster.createLocation(node, 'tls',
        { accept_unknown_peers: true });
    token = gatewayToken(GATEWAY_SECRET, location.id);
});

after(async () => {
    await cluster?.end();
    fs.rmSync(folder, { recursive: true, force: true });
});

// The certificate that a port shows.
async function served(port, protocol) {
    const socket = tls.connect({ host: '127.0.0.1', port, ca: node.tls.ca,
        ALPNProtocols: [protocol] });
    await once(socket, 'secureConnect');
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
}

const bothServed = async () => [await served(node.ports.http, 'http/1.1'),
    await served(node.ports.grpc, 'h2')];

describe('A node with a certificate', () => {
    test('serves a defguard gateway over TLS', async () => {
        const gateway = new DefguardGateway({ cluster, rng: new Random(),
            keys: [randomKey(), randomKey()], hostname: 'defguard',
            name: 'defguard', token });
        gateway.start();
        await gateway.settle(); // the baseline
        for (let i = 0; i < 5; i++) {
            gateway.tick();
            await sleep(50);
        }
        await gateway.settle({ pause: true });
        await assertExact(cluster, [gateway], { from, location: location.id });
    });

    test('answers over HTTPS, the page too, and says to stay there', async () => {
        const page = await node.get('/', { token: null });
        assert.equal(page.status, 200);
        assert.match(page.text, /<html/);
        assert.match(page.headers['strict-transport-security'], /max-age=\d+/);
        const { json } = await node.get('/api/v1/cluster');
        assert.equal(json.node, node.name);
        // A body that fills more than one record, on many connections at once.
        const answers = await Promise.all(Array.from({ length: 20 },
            () => node.get('/app.js', { token: null })));
        for (const { text } of answers) assert.equal(text, answers[0].text);
        assert.ok(answers[0].text.length > 10000);
    });

    test('sends a whole snapshot through TLS', async () => {
        const answer = await new Promise((resolve, reject) => https.get({
            ca: node.tls.ca, host: '127.0.0.1', port: node.ports.http,
            path: '/api/v1/snapshot', agent: false,
            headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
        }, (response) => {
            const hash = createHash('sha256');
            response.on('data', (piece) => hash.update(piece));
            response.on('error', reject);
            response.on('end', () => resolve({ headers: response.headers,
                sha256: hash.digest('hex') }));
        }).on('error', reject));
        assert.equal(answer.headers['holdfast-copy-sha256'], answer.sha256);
    });

    test('says until when its certificate is good', async () => {
        const metrics = await node.metrics();
        const until_s =
            metrics['holdfast_tls_cert_not_after_seconds{cert="server"}'];
        assert.ok(until_s > Date.now() / 1000 + 86400, `${until_s}`);
    });

    test('refuses plain HTTP with a sentence', async () => {
        const request = http.get({ host: '127.0.0.1', port: node.ports.http,
            path: '/livez', agent: false });
        const [response] = await once(request, 'response');
        assert.equal(response.statusCode, 400);
        let text = '';
        for await (const piece of response) text += piece;
        assert.equal(JSON.parse(text).code, 'tls_required');
    });

    test('refuses plain gRPC and goes on', async () => {
        authorities.delete(node.grpc);
        const plain = client(Health, node.grpc);
        const error = await new Promise((resolve) => plain.Check({},
            { deadline: Date.now() + 4000 }, (e) => resolve(e)));
        plain.close();
        authorities.set(node.grpc, node.tls.ca);
        assert.ok([status.UNAVAILABLE, status.DEADLINE_EXCEEDED]
            .includes(error?.code), `${error}`);
        const secure = client(Health, node.grpc);
        const answer = await new Promise((resolve, reject) => secure.Check({},
            { deadline: Date.now() + 8000 },
            (e, ok) => (e ? reject(e) : resolve(ok))));
        secure.close();
        assert.equal(answer.status, 'SERVING');
    });

    test('is not held up by handshakes that never end', async () => {
        const sockets = Array.from({ length: 150 }, () => {
            const socket = net.connect({ host: '127.0.0.1',
                port: node.ports.http, localAddress: '127.0.0.2' });
            socket.on('error', () => {});
            socket.write(Buffer.from([0x16, 3, 1, 2, 0]));
            return socket;
        });
        await Promise.all(sockets.map((s) => once(s, 'connect')));
        assert.equal((await node.get('/livez', { token: null })).status, 200);
        await until('they are all ended', () =>
            sockets.every((s) => s.destroyed || s.closed), 20000);
    });
});

// WireGuard's sockets lie where only root may make them.
describe('Our agent', { skip: process.getuid() !== 0 }, () => {
    let wg, agent;

    before(async () => {
        wg = new Interface();
        wg.peers.set('a', { tx: 1000, rx: 2000 });
        await wg.open();
    });
    after(async () => {
        await agent?.stop('SIGKILL');
        wg.close();
    });

    const start = (trusted) => new Agent(wg, [`https://${node.grpc}`],
        '--grpc-ca', trusted.cert, '--token', token, '--name', 'agent');

    test('says what to do about a CA that is not the node\'s', async () => {
        agent = start(new Authority(folder, 'stranger'));
        await until('advice', () => agent.output.includes('check --grpc-ca'));
        await agent.stop('SIGKILL');
    });

    test('reports over TLS', async () => {
        agent = start(ca);
        await until('reports', () => agent.output.includes('reporting to'));
        wg.peers.set('a', { tx: 1500, rx: 2700 });
        await until('the difference', async () => {
            const totals = await node.totals('device',
                { from, location: location.id });
            const mine = totals.get(Interface.key('a').toString('base64'));
            return mine?.upload === 500 && mine?.download === 700;
        });
    });

    test('stays connected while the certificate is renewed', async () => {
        const before = await bothServed();
        assert.equal(before[0], before[1]);
        const renewed = ca.issue('127.0.0.1', 'localhost');
        // Half of it does not fit: the old pair is served.
        replaceFile(renewed.cert, files.cert);
        await until('HTTPS says so', () =>
            /the old certificate stays in use/.test(node.log()));
        assert.deepEqual(await bothServed(), before);
        replaceFile(renewed.key, files.key);
        await until('the new one', async () => {
            const now = await bothServed();
            return now[0] !== before[0] && now[0] === now[1];
        });
        wg.peers.set('a', { tx: 1501, rx: 2700 });
        await until('the difference', async () => {
            const totals = await node.totals('device',
                { from, location: location.id });
            return totals.get(Interface.key('a').toString('base64'))
                ?.upload === 501;
        });
        assert.equal(agent.output.match(/reporting to/g).length, 1);
    });
});

describe('Certificates that cannot be used', () => {
    const refused = async (flags, pattern) => {
        const result = await run('holdfast-node', ['--data-dir',
            path.join(folder, 'refused'), '--grpc-bind', '127.0.0.1:0',
            '--http-bind', '127.0.0.1:0', ...flags]);
        assert.equal(result.code, 2, result.stderr);
        assert.match(result.stderr, pattern);
    };

    test('are named: not there, no PEM, of another key', async () => {
        const other = ca.issue('127.0.0.1');
        const text = path.join(folder, 'text.pem');
        fs.writeFileSync(text, 'nothing to see here\n');
        await refused(['--tls-cert', `${folder}/none.pem`, '--tls-key',
            files.key], /none\.pem/);
        await refused(['--tls-cert', text, '--tls-key', files.key],
            /text\.pem/);
        await refused(['--tls-cert', files.cert, '--tls-key', other.key],
            /key/);
        await refused(['--tls-cert', files.cert], /--tls-key/);
    });
});
