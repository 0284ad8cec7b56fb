// holdfast.v1.Stats/Report by hand: what is acknowledged, refused and counted
// (DESIGN, rules 1 and 3; CONTRACT, gRPC 2), each seen on every node.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster, expiry, GATEWAY_SECRET, sleep, until } from './cluster.mjs';
import { assertExact, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import {
    client, gatewayToken, metadata, randomKey, Stats, status,
} from './wire.mjs';

const rng = new Random();
const started = Date.now() - 120000;
let cluster, location, token, key, keyTwo;

before(async () => {
    cluster = await Cluster.start({ label: 'native' });
    const [node] = cluster.nodes;
    location = await cluster.createLocation(node, 'native');
    token = gatewayToken(GATEWAY_SECRET, location.id);
    key = randomKey();
    keyTwo = randomKey();
    await cluster.createDevice(node, 'alice', 'one', key);
    await cluster.createDevice(node, 'alice', 'two', keyTwo);
    for (const other of cluster.nodes) {
        await until('the devices are everywhere', async () =>
            (await other.call('GET', '/api/v1/device')).length === 2);
    }
});

after(() => cluster?.end());

// One Report stream: acks and the status in the order in which they come.
class Report {
    constructor(node, hostname, changes = {}) {
        this.connection = client(Stats, node.grpc);
        this.acks = [];
        this.call = this.connection.Report(metadata({
            authorization: token, hostname,
            'holdfast-gateway-id': `id-${hostname}`, ...changes,
        }));
        this.call.on('data', (ack) => this.acks.push(ack));
        this.status = new Promise((resolve) => {
            this.call.on('status', (result) => {
                this.result = result;
                resolve(result);
            });
        });
        this.call.on('error', () => {});
        this.status.then(() => this.connection.close());
    }

    send(session, sequence, peers = [], changes = {}) {
        this.call.write({
            session, sequence, sampled_at_ms: Date.now(), peers, ...changes,
        });
        return this;
    }

    async acked(sequence) {
        const acks = () => this.acks.find((ack) => ack.sequence >= sequence);
        await until(`an ack of ${sequence}`, () => acks() || this.result,
            5000, 2);
        assert.ok(acks(), `the stream ended before ${sequence} was ` +
            `acknowledged: ${this.result?.code} ${this.result?.details}`);
        return acks();
    }

    async ended(code, pattern) {
        const result = await Promise.race([
            this.status,
            expiry(5000).then(() => ({ code: 'none', details: 'still open' })),
        ]);
        assert.equal(result.code, code, result.details);
        if (pattern) assert.match(result.details, pattern);
        return result;
    }

    close() {
        this.call.end();
        return this.status;
    }
}

const sample = (upload, download, changes = {}) => ({
    public_key: key, upload, download, latest_handshake: 1700000000,
    endpoint: '192.0.2.1:5000', allowed_ips: ['10.77.0.2/32'],
    keepalive_interval: 25, ...changes,
});

async function counted(hostname, upload, download) {
    for (const node of cluster.nodes) {
        await until(`${node.name} has ${upload}/${download} of ${hostname}`,
            async () => {
                const totals = await node.totals('gateway',
                    { from: started, location: location.id });
                assert.deepEqual(
                    totals.get(hostname) ?? { upload: 0, download: 0 },
                    { upload, download });
                return true;
            }, 3000, 20);
    }
}

// Every outcome must be the same through any node.
const nodeOf = (i) => cluster.nodes[i % cluster.nodes.length];

describe('Report', () => {
    test('acknowledges each batch once it is durable', async () => {
        const stream = new Report(nodeOf(0), 'h-ack');
        stream.send(1, 1, [sample(1000, 2000)], { machine: Buffer.from('m') });
        const ack = await stream.acked(1);
        assert.equal(ack.sequence, 1);
        assert.ok(ack.applied_index > 0);
        stream.send(1, 2, [sample(1500, 2900)]);
        const second = await stream.acked(2);
        assert.ok(second.applied_index > ack.applied_index);
        await counted('h-ack', 500, 900);
        await stream.close();
    });

    test('an idle tick without peers is a batch too', async () => {
        const stream = new Report(nodeOf(1), 'h-idle');
        stream.send(1, 1, [sample(10, 10)]).send(1, 2).send(1, 3)
            .send(1, 4, [sample(11, 12)]);
        await stream.acked(4);
        await counted('h-idle', 1, 2);
        await stream.close();
    });

    test('a batch that awaits its answer may be followed before it',
        async () => {
            const stream = new Report(nodeOf(1), 'h-awaits');
            const awaits = { awaits_answer: true };
            stream.send(1, 1, [sample(10, 10)], awaits);
            await stream.acked(1);
            stream.send(1, 2, [sample(20, 20)]).send(1, 3, [], awaits)
                .send(1, 4, [sample(30, 30)]).send(1, 5, [], awaits)
                .send(1, 6, [], awaits).send(1, 7, [sample(41, 42)], awaits);
            await stream.acked(7);
            await counted('h-awaits', 31, 32);
            assert.equal((await stream.close()).code, status.OK);
        });

    test('a duplicate is acknowledged and counts nothing', async () => {
        for (let i = 0; i < 3; i++) {
            const stream = new Report(nodeOf(i), 'h-duplicate');
            stream.send(1, 1, [sample(100, 100)]);
            await stream.acked(1);
            stream.send(1, 2, [sample(300, 400)]);
            await stream.acked(2);
            stream.send(1, 1, [sample(100, 100)]);
            stream.send(1, 2, [sample(300, 400)]);
            await until('four acks', () => stream.acks.length >= 2, 3000, 2);
            await stream.close();
        }
        await counted('h-duplicate', 200, 300);
    });

    test('a duplicate sequence with other contents is not taken', async () => {
        const stream = new Report(nodeOf(2), 'h-other');
        stream.send(1, 1, [sample(100, 100)]).send(1, 2, [sample(200, 200)]);
        await stream.acked(2);
        stream.send(1, 2, [sample(900, 900)]);
        await sleep(200);
        stream.send(1, 3, [sample(250, 250)]);
        await stream.acked(3);
        await counted('h-other', 150, 150);
        await stream.close();
    });

    test('a gap is OUT_OF_RANGE with the sequence expected', async () => {
        for (let i = 0; i < 3; i++) {
            const host = `h-gap-${i}`;
            const stream = new Report(nodeOf(i), host);
            stream.send(1, 1, [sample(100, 100)]);
            await stream.acked(1);
            stream.send(1, 3, [sample(900, 900)]);
            await stream.ended(status.OUT_OF_RANGE, /\b2\b/);
            const again = new Report(nodeOf(i + 1), host);
            again.send(1, 2, [sample(200, 200)])
                .send(1, 3, [sample(900, 900)]);
            await again.acked(3);
            await counted(host, 800, 800);
            await again.close();
        }
    });

    test('a first session begins with batch 1', async () => {
        const stream = new Report(nodeOf(0), 'h-first');
        stream.send(7, 2, [sample(5, 5)]);
        await stream.ended(status.OUT_OF_RANGE, /\b1\b/);
    });

    test('batch 2 of a larger session is a gap', async () => {
        const stream = new Report(nodeOf(0), 'h-larger');
        stream.send(7, 1, [sample(5, 5)]);
        await stream.acked(1);
        stream.send(8, 2, [sample(50, 50)]);
        await stream.ended(status.OUT_OF_RANGE, /\b1\b/);
        await counted('h-larger', 0, 0);
    });

    test('a smaller session is ABORTED with the stored one', async () => {
        for (let i = 0; i < 3; i++) {
            const host = `h-superseded-${i}`;
            const stream = new Report(nodeOf(i), host);
            stream.send(1000000 + i, 1, [sample(100, 100)]);
            await stream.acked(1);
            const old = new Report(nodeOf(i + 1), host);
            old.send(999, 1, [sample(5, 5)]);
            await old.ended(status.ABORTED, new RegExp(`\\b${1000000 + i}\\b`));
            stream.send(1000000 + i, 2, [sample(101, 103)]);
            await stream.acked(2);
            await counted(host, 1, 3);
            await stream.close();
        }
    });

    test('both hosts of one agent id are named in the log', async () => {
        const node = nodeOf(0);
        const first = new Report(node, 'h-both');
        first.send(10, 1, [sample(1, 1)], { machine: Buffer.from('one') });
        await first.acked(1);
        const second = new Report(node, 'h-both');
        second.send(20, 1, [sample(1, 1)], { machine: Buffer.from('two') });
        await second.acked(1);
        first.send(10, 2, [sample(2, 2)]);
        await first.ended(status.ABORTED, /\b20\b/);
        const line = await until('the log names them', async () =>
            node.log().split('\n').find((text) => /two_hosts.*h-both/.test(text)));
        const [, one, address, two] = line.match(
            /machine (\w{16})\).* session 20 from (\S+) \(machine (\w{16})\)/);
        assert.ok(one !== two && !/^0+$/.test(one + two), line);
        assert.match(address, /^(127\.0\.0\.1|::1|::ffff:127\.0\.0\.1)$/);
        await second.close();
    });

    test('a new session goes on from the stored counters', async () => {
        const stream = new Report(nodeOf(0), 'h-session');
        stream.send(10, 1, [sample(100, 100)]);
        await stream.acked(1);
        await stream.close();
        const next = new Report(nodeOf(1), 'h-session');
        next.send(20, 1, [sample(170, 180)]);
        await next.acked(1);
        await counted('h-session', 70, 80);
        await next.close();
    });

    test('a new session of another machine is a baseline', async () => {
        const stream = new Report(nodeOf(0), 'h-machine');
        stream.send(10, 1, [sample(100, 100)], { machine: Buffer.from('A') });
        await stream.acked(1);
        const next = new Report(nodeOf(1), 'h-machine');
        next.send(20, 1, [sample(5000, 5000)], { machine: Buffer.from('B') });
        next.send(20, 2, [sample(5001, 5002)]);
        await next.acked(2);
        await counted('h-machine', 1, 2);
        await stream.close();
        await next.close();
    });

    test('from_zero counts in full, whatever is stored', async () => {
        const stream = new Report(nodeOf(1), 'h-zero');
        stream.send(1, 1, [sample(40, 50, { from_zero: true })]);
        stream.send(1, 2, [sample(45, 50)]);
        // Made anew, and past its old value already: a hidden reset.
        stream.send(1, 3, [sample(60, 70, { from_zero: true })]);
        await stream.acked(3);
        await counted('h-zero', 105, 120);
        await stream.close();
    });

    test('a fall of one counter is a reset of both', async () => {
        const stream = new Report(nodeOf(1), 'h-fall');
        stream.send(1, 1, [sample(100, 100)]);
        stream.send(1, 2, [sample(20, 300)]);
        await stream.acked(2);
        await counted('h-fall', 20, 300);
        await stream.close();
    });

    test('a pipeline of 200 batches is taken in order', async () => {
        const stream = new Report(nodeOf(2), 'h-pipeline');
        for (let n = 1; n <= 200; n++) {
            stream.send(1, n, [sample(n * 10, n * 100),
                sample(n, n, { public_key: keyTwo })]);
        }
        await stream.acked(200);
        const order = stream.acks.map((ack) => ack.sequence);
        assert.deepEqual(order, [...order].sort((a, b) => a - b));
        await counted('h-pipeline', 199 * 11, 199 * 101);
        await stream.close();
    });

    test('what was not acknowledged is resent through another node',
        async () => {
            for (let round = 0; round < 6; round++) {
                const host = `h-resent-${round}`;
                const first = new Report(nodeOf(round), host);
                for (let n = 1; n <= 50; n++) {
                    first.send(1, n, [sample(n * 7, n * 9)]);
                }
                await sleep(rng.below(25));
                first.call.cancel();
                const acked = first.acks.at(-1)?.sequence ?? 0;
                const second = new Report(nodeOf(round + 1), host);
                for (let n = acked + 1; n <= 60; n++) {
                    second.send(1, n, [sample(n * 7, n * 9)]);
                }
                await second.acked(60);
                await counted(host, 59 * 7, 59 * 9);
                await second.close();
            }
        });

    test('4,096 peers are a batch', async () => {
        const stream = new Report(nodeOf(0), 'h-many');
        const peers = Array.from({ length: 4095 }, () =>
            sample(1, 1, { public_key: randomKey() }));
        stream.send(1, 1, [...peers, sample(1, 1)]);
        stream.send(1, 2, [sample(9, 9)]);
        await stream.acked(2);
        await counted('h-many', 8, 8);
        await stream.close();
    });

    test('without a token or a hostname nothing is taken', async () => {
        await new Report(nodeOf(0), 'h-none', { authorization: undefined })
            .ended(status.UNAUTHENTICATED);
        await new Report(nodeOf(0), 'h-none', { authorization: 'x.y.z' })
            .ended(status.UNAUTHENTICATED);
        const anonymous = new Report(nodeOf(0), 'x', { hostname: undefined });
        anonymous.send(1, 1);
        const { code } = await anonymous.status;
        assert.notEqual(code, status.OK);
        assert.deepEqual(anonymous.acks, []);
    });
});

test('simulated agents move, restart and reset, and the totals are exact',
    async () => {
        const place = await cluster.createLocation(
            cluster.nodes[0], 'native-exact', { accept_unknown_peers: true });
        const keys = Array.from({ length: 5 }, () => randomKey());
        const fleet = [0, 1, 2].map((i) => new NativeGateway({
            cluster,
            token: gatewayToken(GATEWAY_SECRET, place.id),
            hostname: `agent-${i}`, id: `agent-id-${i}`, keys, rng,
        }));
        for (let i = 0; i < 150; i++) {
            for (const agent of fleet) {
                agent.tick();
                if (rng.chance(0.05)) agent.move();
                if (rng.chance(0.05)) agent.reset(rng.pick(agent.peers));
                if (rng.chance(0.02)) agent.addPeer(randomKey());
            }
            if (i % 50 === 25) {
                const agent = rng.pick(fleet);
                await agent.drained();
                agent.startSession(Date.now());
            }
            await sleep(10);
        }
        for (const agent of fleet) agent.tick({ quiet: true });
        await Promise.all(fleet.map((agent) => agent.drained()));
        await assertExact(cluster, fleet,
            { from: started, location: place.id });
        await cluster.digest();
    });
