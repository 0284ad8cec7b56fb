// A gateway of defguard 1.3-1.6 against a follower: configuration, updates,
// statistics and every refusal of the reference's section 1.5. grpc-js and our
// .proto files only.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Cluster, GATEWAY_SECRET, sleep, until } from './cluster.mjs';
import { assertExact, DefguardGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import {
    client, gatewayToken, GatewayService, Health, metadata, randomKey, status,
} from './wire.mjs';

const rng = new Random();
let cluster, follower, leader, location, token, keys;
const started = Date.now() - 120000;

before(async () => {
    cluster = await Cluster.start({ label: 'defguard' });
    leader = await cluster.leader();
    follower = await cluster.follower();
    location = await cluster.createLocation(leader, 'defguard-client');
    keys = [randomKey(), randomKey(), randomKey()];
    for (const [i, key] of keys.entries()) {
        await cluster.createDevice(leader, 'alice', `laptop-${i}`, key);
    }
    token = (await leader.call('GET',
        `/api/v1/network/${location.id}/token`)).token;
    for (const node of cluster.nodes) {
        await until(`${node.name} knows the devices`, async () =>
            (await node.call('GET', '/api/v1/device')).length === 3);
    }
});

after(() => cluster?.end());

const headersOf = (changes = {}) => metadata({
    authorization: token, hostname: 'gw-plain', ...changes,
});

const VERSION = {
    'defguard-component-version': '1.6.5+deadbee',
    'defguard-component-system': 'Linux;6.1.0;x86_64',
};

function config(meta, node = follower) {
    const connection = client(GatewayService, node.grpc);
    return new Promise((resolve, reject) => {
        let headers;
        const call = connection.Config({ name: 'gateway one' }, meta,
            { deadline: Date.now() + 5000 }, (error, answer) => {
                connection.close();
                if (error) reject(error);
                else resolve({ answer, headers });
            });
        call.on('metadata', (m) => { headers = m.getMap(); });
    });
}

function updatesError(meta) {
    const connection = client(GatewayService, follower.grpc);
    return new Promise((resolve) => {
        const call = connection.Updates({}, meta,
            { deadline: Date.now() + 3000 });
        call.on('data', () => {});
        call.on('error', (error) => {
            connection.close();
            resolve(error);
        });
        call.on('end', () => resolve(null));
    });
}

function stats(meta, messages, node = follower) {
    const connection = client(GatewayService, node.grpc);
    return new Promise((resolve, reject) => {
        const call = connection.Stats(meta, { deadline: Date.now() + 8000 },
            (error, empty) => {
                connection.close();
                if (error) reject(error);
                else resolve(empty);
            });
        call.on('error', () => {});
        for (const message of messages) call.write(message);
        call.end();
    });
}

function gateway(hostname, changes = {}) {
    return new DefguardGateway({
        cluster, nodes: [follower], token, hostname,
        name: `name of ${hostname}`,
        keys, rng, ...changes,
    });
}

async function refused(promise, code, details) {
    await assert.rejects(promise, (error) => {
        assert.equal(error.code, code, `${error.code} ${error.details}`);
        if (details) assert.match(error.details, details);
        return true;
    });
}

describe('Config', () => {
    test('answers what the location is, with version headers', async () => {
        const { answer, headers } = await config(headersOf(VERSION));
        assert.equal(answer.name, 'defguard-client');
        assert.equal(Buffer.from(answer.prvkey, 'base64').length, 32);
        assert.equal(answer.port, 51820);
        assert.deepEqual(answer.addresses, ['10.77.0.1/16']);
        assert.deepEqual(
            answer.peers.map((peer) => peer.pubkey).sort(),
            keys.map((key) => key.toString('base64')).sort());
        for (const peer of answer.peers) {
            assert.equal(peer.allowed_ips.length, 1);
            assert.match(peer.allowed_ips[0], /^10\.77\.\d+\.\d+$/,
                'a host address without a mask');
            assert.equal(peer.keepalive_interval, 25);
        }
        const addresses = answer.peers.map((peer) => peer.allowed_ips[0]);
        assert.equal(new Set(addresses).size, 3, 'each device its own address');
        const [major, minor] = headers['defguard-component-version']
            .split('.').map(Number);
        assert.ok(major > 1 || (major === 1 && minor >= 5),
            headers['defguard-component-version']);
        assert.equal(headers['defguard-component-system'].split(';').length, 3);
    });

    test('answers a gateway of 1.3 and 1.4, which has no version', async () => {
        const { answer, headers } = await config(headersOf());
        assert.equal(answer.peers.length, 3);
        assert.ok(headers['defguard-component-version']);
    });

    test('is the same on every node', async () => {
        const [first, ...rest] = await Promise.all(cluster.nodes.map(
            async (node) => (await config(headersOf(), node)).answer));
        for (const other of rest) assert.deepEqual(other, first);
    });

    test('takes a token that the secret signs, whoever made it', async () => {
        const own = gatewayToken(GATEWAY_SECRET, location.id);
        const { answer } = await config(headersOf({ authorization: own }));
        assert.equal(answer.name, 'defguard-client');
    });
});

describe('Refusals', () => {
    const bad = /invalid token/i;

    test('no authorization', () => refused(
        config(headersOf({ authorization: undefined })),
        status.UNAUTHENTICATED, /missing authorization header/i));
    test('a token that is none', () => refused(
        config(headersOf({ authorization: 'garbage' })),
        status.UNAUTHENTICATED, bad));
    test('a token of another secret', () => refused(
        config(headersOf({
            authorization: gatewayToken('another secret', location.id),
        })), status.UNAUTHENTICATED, bad));
    test('another issuer', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, location.id,
                { iss: 'SomebodyElse' }),
        })), status.UNAUTHENTICATED, bad));
    test('algorithm none', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, location.id, {},
                'none'),
        })), status.UNAUTHENTICATED, bad));
    test('algorithm HS384 with the right secret', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, location.id, {},
                'HS384'),
        })), status.UNAUTHENTICATED, bad));
    test('an expired token', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, location.id,
                { exp: Math.floor(Date.now() / 1000) - 3600 }),
        })), status.UNAUTHENTICATED, bad));
    test('a token without exp', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, location.id,
                { exp: undefined }),
        })), status.UNAUTHENTICATED, bad));
    test('a token of the future', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, location.id,
                { nbf: Math.floor(Date.now() / 1000) + 3600 }),
        })), status.UNAUTHENTICATED, bad));
    test('no hostname', () => refused(
        config(headersOf({ hostname: undefined })), status.INTERNAL));
    test('a location that is not there', () => refused(
        config(headersOf({
            authorization: gatewayToken(GATEWAY_SECRET, 424242),
        })), status.INTERNAL));
    test('Updates before Config', async () => {
        const error = await updatesError(headersOf({ hostname: 'never-seen' }));
        assert.equal(error?.code, status.INTERNAL, error?.details);
    });
    test('Updates and Stats without a token', async () => {
        const meta = headersOf({ authorization: undefined });
        assert.equal((await updatesError(meta))?.code, status.UNAUTHENTICATED);
        await refused(stats(meta, []), status.UNAUTHENTICATED);
    });
});

describe('Updates', () => {
    test('brings a device made and deleted on another node', async () => {
        const one = gateway('gw-updates');
        one.start();
        await until('connected', () => one.stream);
        const key = randomKey();
        const name = key.toString('base64');
        const device = await cluster.createDevice(leader, 'bob', 'phone', key);
        const created = await until('the new peer arrives', () =>
            one.updates.find((update) => update.update === 'peer' &&
                update.peer.pubkey === name), 3000, 10);
        assert.equal(created.update_type, 'CREATE');
        assert.match(created.peer.allowed_ips[0], /^10\.77\.\d+\.\d+$/);
        await leader.call('DELETE', `/api/v1/device/${device.id}`);
        await until('its end arrives', () => one.updates.find((update) =>
            update.update_type === 'DELETE' &&
            update.peer.pubkey === name), 3000, 10);
        assert.equal(one.connects, 1, 'the stream stayed open');
        one.stop();
    });

    test('a device made while a gateway connects is in Config or Updates',
        async () => {
            for (let round = 0; round < 10; round++) {
                const one = gateway(`gw-race-${round}`);
                const key = randomKey();
                one.start();
                await sleep(rng.below(30));
                const device = await cluster.createDevice(
                    leader, 'carol', `race-${round}`, key);
                const name = key.toString('base64');
                await until('the gateway knows the peer', () =>
                    one.config?.peers.some((peer) => peer.pubkey === name) ||
                    one.updates.some((update) => update.update === 'peer' &&
                        update.peer.pubkey === name), 3000, 10);
                one.stop();
                await leader.call('DELETE', `/api/v1/device/${device.id}`);
            }
        });

    test('brings a change of the location', async () => {
        const one = gateway('gw-change');
        one.start();
        await until('connected', () => one.stream);
        await leader.call('PUT', `/api/v1/network/${location.id}`,
            cluster.locationBody(location.name, { port: 51999 }));
        const update = await until('the change arrives', () =>
            one.updates.find((u) => u.update === 'network'), 3000, 10);
        assert.equal(update.update_type, 'MODIFY');
        assert.equal(update.network.port, 51999);
        one.stop();
    });
});

describe('Stats', () => {
    const peerStats = (key, upload, download, handshake) => ({
        id: 2,
        peer_stats: {
            public_key: key.toString('base64'), endpoint: '192.0.2.7:4000',
            upload, download, keepalive_interval: 25,
            latest_handshake: handshake, allowed_ips: '10.77.0.2/32fd00::2/128',
        },
    });
    const now = Math.floor(Date.now() / 1000) - 60;
    const totalsOf = async (node, hostname) =>
        (await node.totals('gateway', { from: started, location: location.id }))
            .get(hostname) ?? { upload: 0, download: 0 };
    const everywhere = async (hostname, expected) => {
        for (const node of cluster.nodes) {
            await until(`${node.name} has the bytes of ${hostname}`,
                async () => {
                    const have = await totalsOf(node, hostname);
                    assert.deepEqual(have, expected);
                    return true;
                }, 3000, 20);
        }
    };

    test('its bytes are on every node when the Empty comes', async () => {
        const meta = headersOf({ hostname: 'gw-bytes', ...VERSION });
        await stats(meta, [peerStats(keys[0], 1000, 5000, now)]);
        const answer = await stats(meta, [
            peerStats(keys[0], 1400, 5000, now),
            peerStats(keys[0], 1700, 5900, now + 5),
        ]);
        assert.deepEqual(answer, {});
        // Committed: the leader has it already.
        assert.deepEqual(await totalsOf(await cluster.leader(), 'gw-bytes'),
            { upload: 700, download: 900 });
        await everywhere('gw-bytes', { upload: 700, download: 900 });
    });

    test('a resent sample through another node counts nothing', async () => {
        const meta = headersOf({ hostname: 'gw-resent' });
        await stats(meta, [peerStats(keys[0], 10, 10, now)]);
        await stats(meta, [peerStats(keys[0], 110, 60, now + 1)]);
        for (const node of cluster.nodes) {
            await stats(meta, [
                peerStats(keys[0], 10, 10, now),
                peerStats(keys[0], 110, 60, now + 1),
            ], node);
        }
        await everywhere('gw-resent', { upload: 100, download: 50 });
    });

    test('a reset with a newer handshake counts in full', async () => {
        const meta = headersOf({ hostname: 'gw-reset' });
        await stats(meta, [peerStats(keys[1], 5000, 9000, now)]);
        await stats(meta, [peerStats(keys[1], 300, 400, now + 9)]);
        await everywhere('gw-reset', { upload: 300, download: 400 });
    });

    test('a fall within one handshake is dropped', async () => {
        const meta = headersOf({ hostname: 'gw-fall' });
        await stats(meta, [peerStats(keys[1], 5000, 9000, now)]);
        await stats(meta, [peerStats(keys[1], 300, 400, now)]);
        await everywhere('gw-fall', { upload: 0, download: 0 });
    });

    test('unknown keys are skipped and the stream goes on', async () => {
        const meta = headersOf({ hostname: 'gw-unknown' });
        const before = await follower.metrics();
        await stats(meta, [
            peerStats(randomKey(), 1, 1, now),
            peerStats(keys[2], 100, 100, now),
        ]);
        await stats(meta, [
            peerStats(randomKey(), 2, 2, now),
            { id: 9, empty: {} },
            peerStats(keys[2], 150, 170, now + 2),
        ]);
        await everywhere('gw-unknown', { upload: 50, download: 70 });
        await until('the metric counts them', async () => {
            const metrics = await follower.metrics();
            return metrics.holdfast_ingest_unknown_keys_total -
                (before.holdfast_ingest_unknown_keys_total ?? 0) >= 2;
        }, 3000);
    });

    test('two gateways of one device are not subtracted', async () => {
        for (let i = 0; i < 4; i++) {
            await stats(headersOf({ hostname: 'gw-big' }),
                [peerStats(keys[0], 8e9 + i * 10, 9e9 + i * 10, now + i)]);
            await stats(headersOf({ hostname: 'gw-small' }),
                [peerStats(keys[0], 100 + i, 200 + i, now + i)]);
        }
        await everywhere('gw-big', { upload: 30, download: 30 });
        await everywhere('gw-small', { upload: 3, download: 3 });
    });

    test('a deleted one loses its stream and comes back as another', async () => {
        await until('the level is there', async () =>
            (await leader.call('GET', '/api/v1/cluster')).level >= 4);
        const idOf = async () => (await follower.call('GET',
            `/api/v1/network/${location.id}/gateways?consistency=linearizable`))
            .find(({ hostname }) => hostname === 'gw-deleted')?.id;
        const meta = headersOf({ hostname: 'gw-deleted' });
        await stats(meta, [peerStats(keys[0], 100, 100, now)]);
        const connection = client(GatewayService, follower.grpc);
        let ended;
        const call = connection.Stats(meta, { deadline: Date.now() + 8000 },
            (error) => { ended = error; });
        call.on('error', () => {});
        call.write(peerStats(keys[0], 150, 100, now + 1));
        await everywhere('gw-deleted', { upload: 50, download: 0 });
        const id = await idOf();
        await leader.call('DELETE', `/api/v1/gateway/${id}`);
        assert.equal(await idOf(), undefined);
        call.write(peerStats(keys[0], 170, 100, now + 2));
        await until('the stream ends', () => ended);
        connection.close();
        assert.equal(ended.code, status.NOT_FOUND, ended.details);
        await stats(meta, [peerStats(keys[0], 180, 100, now + 3)]);
        await stats(meta, [peerStats(keys[0], 190, 100, now + 4)]);
        assert.ok(await idOf() > id);
        await everywhere('gw-deleted', { upload: 10, download: 0 });
        await everywhere(String(id), { upload: 50, download: 0 });
    });

    test('two hosts of one name are both named in the log', async () => {
        const [host, port] = follower.grpc.split(':');
        const relay = net.createServer((near) => {
            const far = net.connect({ host, port, localAddress: '127.0.0.2' });
            near.pipe(far).pipe(near);
            near.on('error', () => far.destroy());
            far.on('error', () => near.destroy());
        });
        await new Promise((resolve) => { relay.listen(0, '127.0.0.1', resolve); });
        const second = { grpc: `127.0.0.1:${relay.address().port}` };
        const meta = headersOf({ hostname: 'gw-twice' });
        const line = await until('the log names them', async () => {
            for (const node of [follower, second]) {
                await stats(meta, [peerStats(keys[0], 1, 1, now)], node);
            }
            return follower.log().split('\n').find((text) =>
                /two_hosts.*gw-twice/.test(text));
        }, 5000);
        assert.match(line, /127\.0\.0\.1\b/);
        assert.match(line, /127\.0\.0\.2\b/);
        relay.close();
    });

    test('the overview shows the key, name and both directions', async () => {
        const query = `location=${location.id}&by=device&resolution=minute` +
            `&from=${encodeURIComponent(new Date(started).toISOString())}`;
        const answer = await follower.call('GET', `/api/v1/overview?${query}`);
        const series = answer.series.find((s) =>
            s.key === keys[0].toString('base64'));
        assert.ok(series, 'a series with the public key');
        assert.equal(series.name, 'laptop-0');
        assert.ok(series.upload > 0 && series.download > 0);
        assert.ok(answer.applied_index > 0);
    });

    test('an open stream is told to the log as heard', async () => {
        const one = gateway('gw-heard');
        one.start();
        one.tick();
        await one.settle();
        for (const node of cluster.nodes) {
            await until(`${node.name} applies who is heard`, async () =>
                (await node.metrics()).holdfast_ingest_presence_total > 0,
            5000, 50);
        }
        one.stop();
    });

    // HOLDFAST_MINUTES=1: in real time, so not in the ordinary run.
    const slow = process.env.HOLDFAST_MINUTES ? false : 'takes two minutes';
    test('the minutes of an idle gateway are 0', { skip: slow }, async () => {
        const one = gateway('gw-idle');
        one.start();
        one.tick();
        await one.settle();
        const from = Math.floor(Date.now() / 60000) * 60;
        await sleep(60000 * 2.7);
        const answer = await follower.call('GET', '/api/v1/overview?' +
            `location=${location.id}&by=gateway&resolution=minute` +
            `&from=${from - 60}&to=${from + 120}`);
        const { points } = answer.series.find((s) => s.key === 'gw-idle');
        assert.equal(points[0], null);
        assert.deepEqual(points.slice(1).map((point) => point?.upload),
            [0, 0]);
        one.stop();
    });

    test('gateways that run a while are counted exactly', async () => {
        const one = await cluster.createLocation(leader, 'exact');
        const exactToken = gatewayToken(GATEWAY_SECRET, one.id);
        const exactKeys = [randomKey(), randomKey()];
        for (const [i, key] of exactKeys.entries()) {
            await cluster.createDevice(leader, 'dave', `exact-${i}`, key);
        }
        await until('the devices are on all nodes', async () => {
            for (const node of cluster.nodes) {
                const devices = await node.call('GET', '/api/v1/device');
                if (!exactKeys.every((key) => devices.some((d) =>
                    d.wireguard_pubkey === key.toString('base64')))) {
                    return false;
                }
            }
            return true;
        });
        const fleet = [0, 1].map((i) => gateway(`gw-exact-${i}`, {
            keys: exactKeys, token: exactToken,
            nodes: cluster.nodes,
        }));
        for (const one of fleet) one.start();
        await Promise.all(fleet.map((one) => one.settle()));
        for (let i = 0; i < 20; i++) {
            for (const one of fleet) one.tick();
            await sleep(20);
            if (i % 7 === 3) await fleet[i % 2].settle();
        }
        assert.ok(await fleet[0].reset(fleet[0].peers[0]));
        await Promise.all(fleet.map((one) => one.settle({ pause: true })));
        await assertExact(cluster, fleet, { from: started, location: one.id });
        await cluster.digest();
        for (const one of fleet) one.stop();
    });
});

describe('Health', () => {
    test('Check says SERVING', async () => {
        const connection = client(Health, follower.grpc);
        const answer = await new Promise((resolve, reject) =>
            connection.Check({ service: '' }, (error, value) =>
                error ? reject(error) : resolve(value)));
        connection.close();
        assert.equal(answer.status, 'SERVING');
    });

    test('Watch says SERVING at once and stays open', async () => {
        const connection = client(Health, follower.grpc);
        const call = connection.Watch({ service: '' });
        const seen = [];
        let ended = false;
        call.on('data', (value) => seen.push(value.status));
        call.on('error', () => { ended = true; });
        await until('the first status', () => seen.length > 0, 3000, 10);
        await sleep(300);
        assert.deepEqual(seen, ['SERVING']);
        assert.equal(ended, false);
        call.cancel();
        connection.close();
    });
});
