// What hostile, broken and mistaken input does to a running node: nothing. Each
// case sends its rubbish, then asserts that the process lives, that it serves,
// and that what was acknowledged before is there.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { after, before, describe, test } from 'node:test';
import {
    ADMIN_TOKEN, Cluster, expiry, GATEWAY_SECRET, sleep, until,
} from './cluster.mjs';
import {
    client, gatewayToken, metadata, randomKey, rawCall, ReportBatch, Stats,
    StatsMethod, status,
} from './wire.mjs';

const started = Date.now() - 120000;
const key = randomKey();
let cluster, node, location, token;
let sequence = 0;
let upload = 1000;

const sample = (changes = {}) => ({
    public_key: key, upload, download: upload, latest_handshake: 1700000000,
    endpoint: '192.0.2.1:1000', allowed_ips: ['10.77.0.2/32'], ...changes,
});

const identity = (hostname) => metadata({ authorization: token, hostname });

// One batch of an honest agent, acknowledged.
async function honestBatch() {
    const connection = client(Stats, node.grpc);
    const call = connection.Report(identity('honest'));
    const ack = new Promise((resolve, reject) => {
        call.on('data', resolve);
        call.on('error', reject);
    });
    upload += 100;
    sequence += 1;
    call.write({
        session: 1, sequence, sampled_at_ms: Date.now(), peers: [sample()],
    });
    assert.equal((await ack).sequence, sequence);
    call.on('error', () => {});
    call.cancel();
    connection.close();
}

// The process lives, takes reports, and has all that it acknowledged.
async function unharmed() {
    assert.equal(node.running, true, node.logTail());
    cluster.assertNoSurprises();
    await honestBatch();
    const counted = upload - 1100; // the first sample is the baseline
    for (const other of cluster.nodes) {
        await until(`${other.name} has what was acknowledged`, async () => {
            const totals = await other.totals('gateway',
                { from: started, location: location.id });
            assert.deepEqual(totals.get('honest') ?? { upload: 0, download: 0 },
                { upload: counted, download: counted });
            return true;
        }, 5000, 20);
    }
}

before(async () => {
    cluster = await Cluster.start({ label: 'bad' });
    node = await cluster.follower();
    location = await cluster.createLocation(node, 'bad-input',
        { accept_unknown_peers: true });
    token = gatewayToken(GATEWAY_SECRET, location.id);
    await honestBatch();
    await unharmed();
});

after(() => cluster?.end());

// --- bytes on ports ---------------------------------------------------------

// Sends @chunks with pauses, listens for a moment, hangs up.
async function blurt(port, chunks, { pauseMs = 5, listenMs = 150 } = {}) {
    const socket = net.connect(port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.resume();
    await new Promise((resolve) => {
        socket.once('connect', resolve);
        socket.once('close', resolve);
    });
    for (const chunk of chunks) {
        if (socket.destroyed) break;
        socket.write(chunk);
        await sleep(pauseMs);
    }
    await Promise.race([closed, sleep(listenMs)]);
    socket.destroy();
}

function tlsHello(port) {
    return new Promise((resolve) => {
        const socket = tls.connect({
            port, host: '127.0.0.1', rejectUnauthorized: false,
        });
        const end = () => {
            socket.destroy();
            resolve();
        };
        socket.once('error', end);
        socket.once('secureConnect', end);
        setTimeout(end, 500).unref();
    });
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const frame = (length, type, flags, stream, body = Buffer.alloc(0)) =>
    Buffer.concat([
        Buffer.from([length >> 16 & 255, length >> 8 & 255, length & 255,
            type, flags]),
        Buffer.from(new Uint32Array([stream]).buffer).swap32(), body,
    ]);
const SETTINGS = frame(0, 4, 0, 0);

const RUBBISH = {
    'nothing at all': [],
    'random bytes': [crypto.randomBytes(65536)],
    'random bytes one by one': [...crypto.randomBytes(20)]
        .map((byte) => Buffer.from([byte])),
    'zeros': [Buffer.alloc(65536)],
    'ones': [Buffer.alloc(65536, 255)],
    'a preface and junk': [PREFACE, crypto.randomBytes(4096)],
    'half a preface': [PREFACE.subarray(0, 10)],
    'settings and a huge frame': [PREFACE, SETTINGS,
        frame(0xffffff, 0, 0, 1, crypto.randomBytes(1000))],
    'headers of nonsense': [PREFACE, SETTINGS,
        frame(200, 1, 5, 1, crypto.randomBytes(200))],
    'a window update of zero': [PREFACE, SETTINGS,
        frame(4, 8, 0, 0, Buffer.alloc(4))],
    'a flood of pings': [PREFACE, SETTINGS,
        Buffer.concat(Array(2000).fill(frame(8, 6, 0, 0, Buffer.alloc(8))))],
    'a flood of settings': [PREFACE,
        Buffer.concat(Array(2000).fill(SETTINGS))],
    'half an HTTP request': [Buffer.from('GET /api/v1/over')],
    'an endless header': [Buffer.from('GET / HTTP/1.1\r\nX: '),
        Buffer.alloc(262144, 97)],
    'a thousand headers': [Buffer.from('GET / HTTP/1.1\r\n' +
        'X: y\r\n'.repeat(5000) + '\r\n')],
    'a body of exabytes': [Buffer.from('POST /api/v1/network HTTP/1.1\r\n' +
        'Host: x\r\nContent-Length: 18446744073709551615\r\n\r\n{')],
    'a negative body': [Buffer.from('POST /api/v1/network HTTP/1.1\r\n' +
        'Host: x\r\nContent-Length: -1\r\n\r\n{}')],
    'chunks of nonsense': [Buffer.from('POST /api/v1/network HTTP/1.1\r\n' +
        'Host: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx')],
};

// What looks like one of our own hellos, and is not.
function peerRubbish() {
    const hello = Buffer.alloc(400);
    const rubbish = {};
    for (const magic of ['HFPEER1', 'HOLDFAST', 'HFPEER', 'HFHELLO']) {
        hello.fill(255);
        hello.write(`${magic}\0`, 0);
        rubbish[`${magic} and ones`] = [Buffer.from(hello)];
    }
    rubbish['a raft message header'] = [
        Buffer.from(new BigUint64Array([1n, 0xffffffffffffn, 7n]).buffer)];
    return rubbish;
}

describe('Rubbish on a port', () => {
    for (const port of ['grpc', 'http', 'peer']) {
        test(`the ${port} port`, async () => {
            const all = port === 'peer'
                ? { ...RUBBISH, ...peerRubbish() } : RUBBISH;
            await Promise.all(Object.values(all).map((chunks) =>
                blurt(node.ports[port], chunks)));
            await tlsHello(node.ports[port]);
            await unharmed();
        });
    }

    test('true hellos of the peer port, mutated', async () => {
        const seen = await captureHello();
        for (let round = 0; round < 60; round++) {
            const copy = Buffer.from(seen);
            for (let i = 0; i <= round % 4; i++) {
                copy[crypto.randomInt(copy.length)] = crypto.randomInt(256);
            }
            const size = round % 5 === 0 ? crypto.randomInt(400) : copy.length;
            await blurt(node.ports.peer, [
                copy.subarray(0, size), crypto.randomBytes(512),
            ], { pauseMs: 0, listenMs: 10 });
        }
        await unharmed();
        await cluster.digest();
    });

    test('two hundred silent connections on each port', async () => {
        const sockets = [];
        for (const port of Object.values(node.ports)) {
            for (let i = 0; i < 200; i++) {
                const socket = net.connect(port, '127.0.0.1');
                socket.on('error', () => {});
                sockets.push(socket);
            }
        }
        await sleep(300);
        await unharmed();
        for (const socket of sockets) socket.destroy();
        await unharmed();
    });
});

// A node of another cluster dials us: its first bytes are a real hello.
async function captureHello() {
    const listener = net.createServer();
    await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const stranger = await Cluster.create({ size: 2, label: 'stranger' });
    stranger.nodes[1].peer = `127.0.0.1:${listener.address().port}`;
    const bytes = new Promise((resolve) => {
        listener.on('connection', (socket) => {
            socket.on('error', () => {});
            let all = Buffer.alloc(0);
            socket.on('data', (data) => {
                all = Buffer.concat([all, data]);
                if (all.length >= 400) resolve(all);
            });
        });
    });
    stranger.nodes[0].start();
    try {
        return await Promise.race([bytes, expiry(10000).then(() => {
            throw new Error('nobody dialed');
        })]);
    } finally {
        await stranger.stop();
        listener.close();
    }
}

// --- gRPC -------------------------------------------------------------------

// Opens a call of @method, writes raw bytes, returns its status.
function sendRaw(method, messages, hostname = 'rubbish', options = {}) {
    const { channel, open } = rawCall(node.grpc, method, options);
    return new Promise((resolve) => {
        const acks = [];
        const call = open(identity(hostname), () => {});
        const end = (result) => {
            channel.close();
            resolve({ ...result, acks });
        };
        call.on('data', (ack) => acks.push(ack));
        call.on('error', () => {});
        call.on('status', end);
        for (const message of messages) call.write(message);
        call.end();
        setTimeout(() => {
            call.cancel();
            end({ code: 'none', details: 'still open after 5 s' });
        }, 5000).unref();
    });
}

const encode = (batch) => ReportBatch.requestSerialize(batch);
const batchOf = (peers, changes = {}) => encode({
    session: 1, sequence: 1, sampled_at_ms: Date.now(), peers, ...changes,
});

// Raw fields, for what an encoder refuses to write.
const field = (number, type, ...bytes) =>
    Buffer.from([number << 3 | type, ...bytes]);
const nested = (number, body) =>
    Buffer.concat([field(number, 2, ...varint(body.length)), body]);
function varint(value) {
    const bytes = [];
    while (value > 127) {
        bytes.push(value & 127 | 128);
        value = Math.floor(value / 128);
    }
    return [...bytes, value];
}
const head = Buffer.concat([field(1, 0, 1), field(2, 0, 1)]);

describe('Health', () => {
    test('watchers without a token leave room for agents', async () => {
        const connect = () => {
            const session = http2.connect(`http://${node.grpc}`);
            session.on('error', () => {});
            return session;
        };
        const watch = (session) => new Promise((resolve) => {
            const stream = session.request({
                ':method': 'POST', ':path': '/grpc.health.v1.Health/Watch',
                'content-type': 'application/grpc', te: 'trailers',
            });
            const answer = (headers) => {
                if ('grpc-status' in headers) {
                    resolve(Number(headers['grpc-status']));
                }
            };
            stream.on('response', answer);
            stream.on('trailers', answer);
            stream.on('data', () => resolve('watching'));
            stream.on('error', () => resolve('reset'));
            stream.end(Buffer.alloc(5)); // an empty request
        });
        const [one, two] = [connect(), connect()]; // 1024 streams are the most
        const ask = async (session, count) => {
            const answers = [];
            for (let i = 0; i < count; i++) answers.push(await watch(session));
            return answers;
        };
        assert.ok((await ask(one, 1020)).every((a) => a === 'watching'));
        const more = await ask(two, 10);
        assert.equal(more.filter((a) => a === 'watching').length, 4,
            more.join());
        assert.equal(more.filter((a) => a === status.RESOURCE_EXHAUSTED).length,
            6, more.join());
        assert.ok((await node.metrics())
            ['holdfast_ingest_rejected_total{reason="calls"}'] >= 6);
        await unharmed();
        one.destroy();
        two.destroy();
    });

    test('a connection without a call is closed after a minute', {
        skip: process.env.HOLDFAST_MINUTES ? false : 'HOLDFAST_MINUTES=1',
    }, async () => {
        const session = http2.connect(`http://${node.grpc}`);
        session.on('error', () => {});
        const opened = Date.now();
        await Promise.race([
            new Promise((resolve) => session.on('close', resolve)),
            expiry(100000).then(() => { throw new Error('still open'); }),
        ]);
        assert.ok(Date.now() - opened > 50000);
    });

    test('requests that never end are few, and not for long', async () => {
        const session = http2.connect(`http://${node.grpc}`);
        session.on('error', () => {});
        const beginning = Buffer.alloc(105);
        beginning.writeUInt32BE(4000000, 1); // says 4 MB, sends 100 bytes
        const ends = Array.from({ length: 70 }, () => new Promise((resolve) => {
            const stream = session.request({
                ':method': 'POST', ':path': '/grpc.health.v1.Health/Check',
                'content-type': 'application/grpc', te: 'trailers',
            });
            stream.on('trailers', (t) => resolve(Number(t['grpc-status'])));
            stream.resume();
            stream.on('error', () => resolve('reset'));
            stream.write(beginning);
        }));
        const late = sleep(15000).then(() => ['still open after 15 s']);
        const codes = await Promise.race([Promise.all(ends), late]);
        session.destroy();
        const count = (code) => codes.filter((c) => c === code).length;
        assert.equal(count(status.DEADLINE_EXCEEDED), 64, codes.join());
        assert.equal(count(status.RESOURCE_EXHAUSTED), 6, codes.join());
        await unharmed();
    });
});

describe('Report', () => {
    const malformed = {
        'random bytes': () => [crypto.randomBytes(200), /./],
        'a batch that is cut': () => [
            batchOf([sample()]).subarray(0, -3), /./],
        'a key of 31 bytes': () => [
            batchOf([sample({ public_key: Buffer.alloc(31, 1) })]), /key/],
        'no key': () => [
            batchOf([sample({ public_key: Buffer.alloc(0) })]), /key/],
        '4,097 peers': () => [
            batchOf(Array.from({ length: 4097 }, () => sample())), /4,?09[67]/],
        'no session': () => [batchOf([], { session: 0 }), /session/],
        'no sequence': () => [batchOf([], { sequence: 0 }), /sequence/],
        'an endpoint that is not UTF-8': () => [Buffer.concat([head,
            nested(5, Buffer.concat([nested(1, key),
                nested(5, Buffer.from([0xff, 0xfe, 0xc0]))]))]), /endpoint/],
        'allowed_ips that are not UTF-8': () => [Buffer.concat([head,
            nested(5, Buffer.concat([nested(1, key),
                nested(6, Buffer.from([0xed, 0xa0, 0x80]))]))]),
        /allowed_ips/],
        'a varint of 11 bytes': () => [Buffer.concat([
            field(1, 0, ...Array(10).fill(255), 1), field(2, 0, 1)]), /./],
        'a wrong wire type': () => [Buffer.concat([
            nested(1, Buffer.from('x')), field(2, 0, 1)]), /session/],
        'a length beyond the message': () => [Buffer.concat([head,
            field(5, 2, 255, 255, 255, 255, 7), Buffer.from('x')]), /./],
    };
    for (const [name, make] of Object.entries(malformed)) {
        test(`${name}: INVALID_ARGUMENT`, async () => {
            const [message, pattern] = make();
            const result = await sendRaw(ReportBatch, [message]);
            assert.equal(result.code, status.INVALID_ARGUMENT, result.details);
            assert.match(result.details, pattern);
            assert.deepEqual(result.acks, []);
            await unharmed();
        });
    }

    test('an empty message is INVALID_ARGUMENT', async () => {
        const result = await sendRaw(ReportBatch, [Buffer.alloc(0)]);
        assert.equal(result.code, status.INVALID_ARGUMENT, result.details);
    });

    test('more than 4 MiB is refused', async () => {
        const result = await sendRaw(ReportBatch,
            [Buffer.alloc(5 * 1024 * 1024)]);
        assert.ok([status.RESOURCE_EXHAUSTED, status.INVALID_ARGUMENT]
            .includes(result.code), `${result.code} ${result.details}`);
        await unharmed();
    });

    // Little on the wire, 64 MiB in memory: libgrpc unpacks before it measures,
    // so a refusal for the size comes too late.
    test('a compressed message is not unpacked', async () => {
        const bomb = nested(15, Buffer.alloc(64 * 1024 * 1024));
        const gzip = { 'grpc.default_compression_algorithm': 2 };
        const result = await sendRaw(ReportBatch, [bomb], 'rubbish', gzip);
        assert.equal(result.code, status.UNIMPLEMENTED, result.details);
        await unharmed();
    });

    test('a fuzzed batch never harms', async () => {
        const good = batchOf([sample(), sample({ public_key: randomKey() })]);
        for (let round = 0; round < 100; round++) {
            const copy = Buffer.from(good);
            for (let i = 0; i < 3; i++) {
                copy[crypto.randomInt(copy.length)] = crypto.randomInt(256);
            }
            await sendRaw(ReportBatch, [copy], `fuzz-${round}`);
        }
        await unharmed();
        await cluster.digest();
    });

    test('unknown fields are skipped', async () => {
        const extended = Buffer.concat([batchOf([sample()]),
            field(77 & 15, 0, 5), nested(15, Buffer.from('future'))]);
        const result = await sendRaw(ReportBatch, [extended], 'future-agent');
        assert.equal(result.code, status.OK, result.details);
        assert.equal(result.acks.at(-1)?.sequence, 1);
    });

    test('a token without a location of ours, or of another cluster',
        async () => {
            for (const foreign of [
                gatewayToken('the secret of another cluster', location.id),
                gatewayToken(GATEWAY_SECRET, 999999),
                gatewayToken(GATEWAY_SECRET, location.id,
                    { client_id: '-1' }),
                gatewayToken(GATEWAY_SECRET, location.id,
                    { client_id: '99999999999999999999' }),
                gatewayToken(GATEWAY_SECRET, location.id,
                    { client_id: '1; DROP TABLE' }),
                'a'.repeat(4000), '..', 'e30.e30.e30',
            ]) {
                const connection = client(Stats, node.grpc);
                const call = connection.Report(
                    metadata({ authorization: foreign, hostname: 'x' }));
                const acks = [];
                call.on('data', (ack) => acks.push(ack));
                call.on('error', () => {});
                const ended = new Promise((resolve) =>
                    call.on('status', resolve));
                call.write({ session: 1, sequence: 1, peers: [sample()] });
                const result = await Promise.race([ended, expiry(5000)]);
                assert.ok(result && result.code !== status.OK, foreign);
                assert.deepEqual(acks, []);
                connection.close();
            }
            await unharmed();
        });

    test('a hostname of 253 bytes is taken, a longer one is not', async () => {
        const run = async (hostname) => {
            const { channel, open } = rawCall(node.grpc, ReportBatch);
            const call = open(identity(hostname));
            const ended = new Promise((resolve) => call.on('status', resolve));
            call.on('data', () => {});
            call.on('error', () => {});
            call.write(batchOf([]));
            call.end();
            const result = await ended;
            channel.close();
            return result.code;
        };
        assert.equal(await run('h'.repeat(253)), status.OK);
        assert.notEqual(await run('h'.repeat(254)), status.OK);
        await unharmed();
    });
});

describe('Samples', () => {
    const report = async (hostname, batches) => {
        const connection = client(Stats, node.grpc);
        const call = connection.Report(identity(hostname));
        const acks = [];
        call.on('data', (ack) => acks.push(ack));
        call.on('error', () => {});
        for (const batch of batches) call.write(batch);
        await until(`acks for ${hostname}`, () =>
            acks.at(-1)?.sequence === batches.at(-1).sequence, 5000, 5);
        call.cancel();
        connection.close();
    };
    const totalsOf = async (hostname) => (await node.totals('gateway',
        { from: started, location: location.id })).get(hostname);

    test('falling and largest counters', async () => {
        const most = 2 ** 52;
        await report('counters', [
            [most, 5], [7, 9], [6, 10], [6, 10],
        ].map(([up, down], i) => ({
            session: 1, sequence: i + 1, sampled_at_ms: Date.now(),
            peers: [sample({ upload: up, download: down })],
        })));
        await until('the resets are counted', async () => {
            assert.deepEqual(await totalsOf('counters'),
                { upload: 13, download: 19 });
            return true;
        }, 3000);
        await unharmed();
    });

    test('counters of 64 bits do not break the sums of others', async () => {
        const huge = Buffer.concat([head, nested(5, Buffer.concat([
            nested(1, randomKey()),
            field(2, 0, ...Array(9).fill(255), 1),
            field(3, 0, ...Array(9).fill(255), 1),
            field(8, 0, 1),
        ]))]);
        const result = await sendRaw(ReportBatch, [huge], 'huge');
        assert.ok([status.OK, status.INVALID_ARGUMENT].includes(result.code),
            result.details);
        await unharmed();
    });

    test('a sample time of the future appears now', async () => {
        const later = Date.now() + 10 * 365 * 86400000;
        await report('future', [
            { session: 1, sequence: 1, sampled_at_ms: later,
                peers: [sample({ upload: 100, download: 100 })] },
            { session: 1, sequence: 2, sampled_at_ms: later + 30000,
                peers: [sample({ upload: 150, download: 170 })] },
        ]);
        await until('the bytes of the future are here', async () => {
            assert.deepEqual(await totalsOf('future'),
                { upload: 50, download: 70 });
            return true;
        }, 3000);
    });

    test('a sample time of 1970 appears within its session', async () => {
        await report('past', [
            { session: 1, sequence: 1, sampled_at_ms: Date.now(),
                peers: [sample({ upload: 100, download: 100 })] },
            { session: 1, sequence: 2, sampled_at_ms: 1,
                peers: [sample({ upload: 150, download: 170 })] },
        ]);
        await until('the bytes of the past are here', async () => {
            assert.deepEqual(await totalsOf('past'),
                { upload: 50, download: 70 });
            return true;
        }, 3000);
        await unharmed();
    });
});

describe('Stats of defguard', () => {
    const update = (changes) => StatsMethod.requestSerialize({
        id: 2, peer_stats: {
            public_key: key.toString('base64'), endpoint: '192.0.2.1:1',
            upload: 1, download: 1, latest_handshake: 1, ...changes,
        },
    });
    test('keys, endpoints and bytes of nonsense harm nothing', async () => {
        const messages = [
            update({ public_key: '' }),
            update({ public_key: 'not base64!' }),
            update({ public_key: 'A'.repeat(100000) }),
            update({ public_key: Buffer.alloc(31).toString('base64') }),
            update({ endpoint: 'x'.repeat(100000) }),
            update({ endpoint: '999.1.1.1:99999' }),
            update({ latest_handshake: Number.MAX_SAFE_INTEGER }),
            crypto.randomBytes(100),
            Buffer.alloc(0),
        ];
        for (const message of messages) {
            await sendRaw(StatsMethod, [message], 'nonsense');
        }
        await unharmed();
        await cluster.digest();
    });
});

describe('HTTP', () => {
    test('no token, a wrong one, the wrong method, unknown paths', async () => {
        for (const [method, target, options, expected] of [
            ['GET', '/api/v1/cluster', { token: null }, 401],
            ['GET', '/api/v1/cluster', { token: 'wrong' }, 401],
            ['GET', '/api/v1/nothing', {}, 404],
            ['GET', '/api/v1/network/abc', {}, 404],
            ['GET', '/api/v1/network/4294967297', {}, 404],
            ['GET', '/api/v1/overview?location=-1', {}, 400],
            ['GET', '/api/v1/overview?from=yesterday', {}, 400],
            ['GET', '/api/v1/overview?by=mood', {}, 400],
            ['GET', '/api/v1/overview?resolution=second', {}, 400],
            ['GET', '/api/v1/../../../etc/passwd', {}, 404],
        ]) {
            const answer = await node.get(target, options);
            const fits = expected === 404 ? [400, 404] : [expected];
            assert.ok(fits.includes(answer.status),
                `${method} ${target}: ${answer.status} ${answer.text}`);
            assert.ok(answer.json?.msg && answer.json?.code,
                `${target}: ${answer.text}`);
        }
        const wrong = await node.request('DELETE', '/api/v1/overview');
        assert.ok([404, 405].includes(wrong.status), String(wrong.status));
        await unharmed();
    });

    test('bodies that are not JSON, not objects, or too large', async () => {
        const post = (body) => new Promise((resolve, reject) => {
            const socket = net.connect(node.ports.http, '127.0.0.1');
            let text = '';
            socket.on('error', reject);
            socket.on('data', (data) => {
                text += data;
                const found = /^HTTP\/1.1 (\d+)/.exec(text);
                if (found) {
                    socket.destroy();
                    resolve(Number(found[1]));
                }
            });
            socket.on('end', () => resolve(0));
            socket.write(`POST /api/v1/network HTTP/1.1\r\nHost: x\r\n` +
                `Authorization: Bearer ${ADMIN_TOKEN}\r\n` +
                `Content-Length: ${body.length}\r\n\r\n`);
            socket.write(body);
        });
        const deep = '['.repeat(20000);
        for (const body of ['', '{', 'null', '[]', '"x"', deep,
            '{"name":5}', '{"name":"x","name":"y"}', '{"name":""}',
            `{"name":"${'n'.repeat(5000)}","address":"10.0.0.1/8","port":1}`,
            '{"name":"x","address":"not an address","port":1}',
            '{"name":"x","address":"10.0.0.1/8","port":70000}',
            '{"name":"\\u0000","address":"10.0.0.1/8","port":1}']) {
            const code = await post(Buffer.from(body));
            assert.ok(code >= 400 && code < 500,
                `${body.slice(0, 60)}: ${code}`);
        }
        const bytes = await post(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22,
            0x3a, 0x31, 0x7d]));
        assert.ok(bytes >= 400 && bytes < 500, `invalid UTF-8: ${bytes}`);
        const large = await post(Buffer.alloc(8 * 1024 * 1024, 32))
            .catch(() => 413);
        assert.ok(large >= 400 && large < 500, `8 MiB: ${large}`);
        await unharmed();
    });

    test('a device key of 31 bytes, twice the same, for no location',
        async () => {
            const make = (wireguard_pubkey, name = 'x') => node.request('POST',
                '/api/v1/device/eve', { name, wireguard_pubkey });
            assert.equal((await make(
                Buffer.alloc(31, 7).toString('base64'))).status, 400);
            assert.equal((await make('%%%')).status, 400);
            const twice = randomKey().toString('base64');
            assert.equal((await make(twice)).status, 201);
            assert.ok([400, 409].includes((await make(twice)).status));
            await unharmed();
        });
});

test('the data of the nodes is the same after all this', async () => {
    await unharmed();
    await cluster.digest();
    assert.ok(fs.existsSync(path.join(node.dataDir, 'store')));
});
