// Raw reports and buckets out of a running node, as CSV and JSON lines; and the
// store made anew of the raw reports of a stopped one.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import {
    ADMIN_TOKEN, Cluster, GATEWAY_SECRET, run, until,
} from './cluster.mjs';
import { assertExact, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

const PEERS = 300;
const TICKS = 60;
const started = Date.now() - 120000;

let cluster, node, location, agent, other, keys;
const sent = []; // what the raw rows must be, in order: [key, upload, download]

function ctl(words, options = {}) {
    return run('holdfastctl', words, {
        env: {
            HOLDFASTCTL_ENDPOINTS: node.http, HOLDFASTCTL_TOKEN: ADMIN_TOKEN,
        },
        timeoutMs: 60000, ...options,
    });
}

const lines = (text) => text.split('\n').filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const rows = async (what, query = '') => {
    const answer = await node.get(
        `/api/v1/export?what=${what}&format=json${query}`,
        { timeoutMs: 30000 });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.headers['content-type'], 'application/x-ndjson');
    return lines(answer.text);
};

before(async () => {
    cluster = await Cluster.create({ label: 'export', size: 1 });
    [node] = cluster.nodes;
    node.start();
    await node.ready();
    location = await cluster.createLocation(node, 'a "quoted", place');
    const rest = await cluster.createLocation(node, 'elsewhere',
        { accept_unknown_peers: true, address: '10.78.0.1/16' });
    keys = Array.from({ length: PEERS }, () => randomKey());
    for (const [i, key] of keys.entries()) {
        await cluster.createDevice(node, 'ann', `d${i}`, key);
    }
    const rng = new Random(7);
    const make = (place, hostname, peers) => new NativeGateway({
        cluster, hostname, id: `id-${hostname}`, keys: peers, rng,
        token: gatewayToken(GATEWAY_SECRET, place.id),
    });
    agent = make(location, 'gw,1', keys);
    other = make(rest, 'gw2', [randomKey()]);
    for (let i = 0; i < TICKS; i++) {
        for (const peer of agent.tick().peers) {
            sent.push([peer.public_key.toString('base64'),
                peer.upload, peer.download]);
        }
        await agent.drained();
    }
    other.tick();
    other.tick();
    await other.drained();
});

after(() => cluster?.end());

test('every report is a raw row, as it was sent and in its order', async () => {
    const all = await rows('raw');
    const mine = all.filter((row) => row.location === location.id);
    assert.deepEqual(
        mine.map((row) => [row.key, row.upload, row.download])
            .sort(), sent.slice().sort());
    assert.ok(mine.length < all.length);
    for (const [i, row] of all.entries()) {
        assert.ok(i === 0 || row.index >= all[i - 1].index);
        assert.match(row.taken_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    }
    const [first] = mine;
    assert.equal(first.hostname, 'gw,1');
    assert.equal(first.location_name, 'a "quoted", place');
    assert.equal(first.kind, 'native');
    assert.equal(first.sequence, 1);
    assert.equal(first.user, 'ann');
    assert.match(first.name, /^d\d+$/);
    assert.deepEqual((await rows('raw', `&location=${location.id}`)), mine);

    // From and to cut by the time at which the log took a report.
    const middle = mine[mine.length >> 1].taken_at;
    const before = await rows('raw', `&to=${middle}`);
    const later = await rows('raw', `&from=${middle}`);
    assert.ok(before.length > 0 && later.length > 0);
    assert.deepEqual([...before, ...later], all);
});

// A reader of RFC 4180 that shares nothing with the writer.
function parseCsv(text) {
    const table = [[]];
    for (let i = 0; i < text.length;) {
        let field = '';
        if (text[i] === '"') {
            for (i++; text[i] !== '"' || text[i + 1] === '"'; i++) {
                if (text[i] === '"') i++;
                field += text[i];
            }
            i++;
        } else {
            while (text[i] !== ',' && text[i] !== '\r') field += text[i++];
        }
        table.at(-1).push(field);
        if (text[i] === ',') {
            i++;
        } else {
            assert.equal(text.slice(i, i + 2), '\r\n');
            i += 2;
            if (i < text.length) table.push([]);
        }
    }
    return table;
}

test('CSV says the same as JSON', async () => {
    for (const what of ['raw', 'minute', 'hour', 'day']) {
        const answer = await node.get(`/api/v1/export?what=${what}`,
            { timeoutMs: 30000 });
        const json = await rows(what);
        assert.match(answer.headers['content-type'], /^text\/csv/);
        const [header, ...table] = parseCsv(answer.text);
        assert.deepEqual(header, Object.keys(json[0]));
        assert.deepEqual(table, json.map((row) =>
            Object.values(row).map((value) => value === null
                ? '' : String(value))));
    }
});

test('the buckets of every tier add up to what was sent', async () => {
    await until('all is counted', () => assertExact(cluster, [agent],
        { from: started, location: location.id }).then(() => true));
    const expected = agent.expected.total();
    for (const what of ['minute', 'hour', 'day']) {
        const sum = { upload: 0, download: 0 };
        const seen = new Set();
        for (const row of await rows(what, `&location=${location.id}`)) {
            sum.upload += row.upload;
            sum.download += row.download;
            const cell = `${row.time} ${row.gateway} ${row.device}`;
            assert.ok(!seen.has(cell), `${what}: ${cell} comes twice`);
            seen.add(cell);
        }
        assert.deepEqual(sum, expected, what);
    }
});

test('what cannot be exported is refused', async () => {
    for (const query of ['', '?what=all', '?what=raw&format=xml',
        '?what=raw&from=5&to=5', '?what=raw&from=soon', '?what=raw&x=1',
        '?what=raw&location=-1']) {
        assert.equal((await node.get(`/api/v1/export${query}`)).status, 400,
            query);
    }
    const open = await node.get('/api/v1/export?what=raw', { token: null });
    assert.equal(open.status, 401);
});

// Takes the head of an answer and then nothing more of it.
const stall = () => new Promise((resolve, reject) => {
    const [host, port] = node.http.split(':');
    http.get({
        host, port, path: '/api/v1/export?what=raw&format=json', agent: false,
        headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    }, (response) => {
        response.pause();
        response.on('error', () => {});
        resolve(response);
    }).on('error', reject);
});

test('a client that takes nothing keeps nobody waiting', async () => {
    const slow = [];
    for (let i = 0; i < 4; i++) slow.push(await stall());
    assert.ok(slow.every((response) => response.statusCode === 200));
    assert.equal((await node.get('/api/v1/overview')).status, 200);
    const more = await node.get('/api/v1/export?what=raw');
    assert.equal(more.status, 429);
    for (const response of slow) response.destroy();
    await until('the streams are over', async () =>
        (await rows('raw')).length >= sent.length);
});

test('holdfastctl exports to a file and to standard output', async () => {
    const file = path.join(cluster.directory, 'minutes.csv');
    const saved = await ctl(['export', 'minute', file]);
    assert.equal(saved.code, 0, saved.stderr);
    const { text } = await node.get('/api/v1/export?what=minute');
    assert.equal(fs.readFileSync(file, 'utf8'), text);
    const said = await ctl(['export', 'raw', '--format', 'json',
        '--location', 'elsewhere']);
    assert.equal(said.code, 0, said.stderr);
    assert.equal(lines(said.stdout).length, 2);
    assert.match(said.stderr, /raw reports of this node begin at/);
    const refused = await ctl(['export', 'weeks', file]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /raw, minute, hour or day/);
    assert.ok(!fs.existsSync(`${file}.part`));
});

test('a node that stops ends the streams that are open', async () => {
    const response = await stall();
    const ended = new Promise((resolve) => {
        response.on('aborted', resolve);
        response.on('close', resolve);
    });
    await node.kill('SIGTERM');
    response.resume();
    await ended;
    node.start();
    await node.ready();
});

test('a store made of the raw reports has the digest of the live one', async () => {
    const { index, digest } = await cluster.digest();
    const into = path.join(cluster.directory, 'again');
    const words = ['recover', '--from-raw', '--data-dir', node.dataDir,
        '--into', into, '-w', 'json'];
    const early = await ctl(words);
    assert.notEqual(early.code, 0, 'the node still runs');
    await node.kill();
    const made = await ctl(words);
    assert.equal(made.code, 0, made.stderr);
    const report = JSON.parse(made.stdout);
    assert.equal(report.digest_index, index);
    assert.equal(report.digest, digest);
    const twice = await ctl(words);
    assert.notEqual(twice.code, 0);
    assert.match(twice.stderr, /not empty/);
    const status = await ctl(['snapshot', 'status',
        path.join(into, 'data.mdb'), '-w', 'json']);
    assert.equal(JSON.parse(status.stdout).index, report.index);
    node.start();
    await node.ready();
});
