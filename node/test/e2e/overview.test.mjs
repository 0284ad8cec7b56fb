// What the overview, the activity and the lists of peers say of three days of
// reports, in every tier and on every node (CONTRACT, HTTP).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
    ADMIN_TOKEN, Cluster, GATEWAY_SECRET, run, until,
} from './cluster.mjs';
import {
    client, gatewayToken, metadata, randomKey, Stats,
} from './wire.mjs';

const HOUR = 3600;
const DAY = 24 * HOUR;
const now = Math.floor(Date.now() / 1000);
const today = Math.floor(now / DAY) * DAY;
const noon = today - 2 * DAY + 12 * HOUR; // the day before yesterday

let cluster, leader, follower, location, index;
const keys = { laptop: null, phone: null, desk: null };
const text = (name) => keys[name].toString('base64');

// One agent's session: batches of [when, {name: [upload, download]}].
async function report(hostname, batches) {
    const connection = client(Stats, leader.grpc);
    const call = connection.Report(metadata({
        authorization: gatewayToken(GATEWAY_SECRET, location.id), hostname,
        'holdfast-gateway-id': `id-${hostname}`,
    }));
    let acked = { sequence: 0 };
    call.on('data', (ack) => { acked = ack; });
    call.on('error', () => {});
    batches.forEach(([when, peers], i) => call.write({
        session: 1, sequence: i + 1, sampled_at_ms: when * 1000,
        peers: Object.entries(peers).map(([name, [upload, download]]) => ({
            public_key: keys[name], upload, download, latest_handshake: when,
            endpoint: `192.0.2.${keys[name][0]}:4242`, from_zero: i === 0,
        })),
    }));
    await until('all is acknowledged',
        () => Number(acked.sequence) === batches.length);
    call.end();
    connection.close();
    return Number(acked.applied_index);
}

before(async () => {
    cluster = await Cluster.start({ label: 'overview' });
    leader = await cluster.leader();
    follower = await cluster.follower();
    location = await cluster.createLocation(leader, 'overview');
    for (const name of Object.keys(keys)) keys[name] = randomKey();
    await cluster.createDevice(leader, 'ann', 'laptop', keys.laptop);
    await cluster.createDevice(leader, 'ann', 'phone', keys.phone);
    await cluster.createDevice(leader, 'bob', 'desk', keys.desk);
    await report('gw-a', [
        [noon + 30, { laptop: [100, 10], phone: [40, 4] }],
        [noon + 90, { laptop: [300, 30] }],
        [noon + 2 * HOUR, { laptop: [600, 60] }],
        [today - DAY, { laptop: [1000, 100] }],
        [now, { laptop: [1500, 150] }],
    ]);
    index = await report('gw-b', [
        [noon + 60, { desk: [7000, 700] }],
        [noon + DAY, { desk: [7001, 701] }],
    ]);
});

after(() => cluster?.end());

async function overview(query, node = follower) {
    const all = new URLSearchParams({
        location: String(location.id), from: String(noon),
        to: String(today + DAY), ...query,
    });
    if (!all.has('consistency')) all.set('at_least', String(index));
    return node.call('GET', `/api/v1/overview?${all}`);
}

const sums = ({ series }) => Object.fromEntries(
    series.map(({ name, upload, download }) => [name, [upload, download]]));

describe('The overview', () => {
    test('has the same sums in every tier, on every node', async () => {
        for (const node of cluster.nodes) {
            for (const resolution of ['minute', 'hour', 'day']) {
                for (const points of ['0', '1']) {
                    const answer = await overview(
                        { by: 'device', resolution, points }, node);
                    assert.equal(answer.resolution, resolution);
                    assert.deepEqual(sums(answer), {
                        laptop: [1500, 150], phone: [40, 4],
                        desk: [7001, 701],
                    }, `${node.name} ${resolution}`);
                }
            }
        }
    });

    test('has gaps as null, in whole buckets', async () => {
        const hours = await overview({ to: String(noon + 3 * HOUR) });
        assert.equal(hours.resolution, 'minute');
        const { series: [byHour], from } = await overview(
            { to: String(noon + 2.5 * HOUR), resolution: 'hour' });
        assert.equal(from, noon);
        assert.deepEqual(byHour.points, [
            { t: noon, upload: 7340, download: 734 }, null,
            { t: noon + 2 * HOUR, upload: 300, download: 30 },
        ]);
        const { series: [byDay] } = await overview({ resolution: 'day' });
        assert.deepEqual(byDay.points.map((p) => p?.upload ?? null),
            [7640, 401, 500]);
        const { series: [minutes] } = await overview({
            to: String(noon + 180), resolution: 'minute', by: 'gateway',
            gateway: 'gw-a',
        });
        assert.deepEqual(minutes.points.map((p) => p?.upload ?? null),
            [140, 200, null]);
    });

    test('picks the finest tier that fits', async () => {
        const picked = async (from, to) => (await overview(
            { from: String(from), to: String(to) })).resolution;
        assert.equal(await picked(now - HOUR, now), 'minute');
        assert.equal(await picked(now - 6 * HOUR, now), 'minute');
        assert.equal(await picked(now - 24 * HOUR, now), 'hour');
        assert.equal(await picked(now - 7 * DAY, now), 'hour');
        assert.equal(await picked(now - 30 * DAY, now), 'day');
        // Few minutes, but of a time whose minutes have expired.
        assert.equal(await picked(now - 10 * DAY, now - 10 * DAY + HOUR),
            'hour');
        assert.equal(await picked(now - 500 * DAY, now - 499 * DAY), 'day');
    });

    test('takes a gateway, a device or a user alone', async () => {
        const [one] = (await overview({ device: text('laptop') })).series;
        assert.equal(one.upload, 1500);
        const ann = await overview({ user: 'ann', by: 'gateway' });
        assert.deepEqual(sums(ann), { 'gw-a': [1540, 154] });
        const { series: [b] } = await overview({ by: 'gateway', points: '0' });
        assert.equal(b.key, 'gw-b');
        assert.deepEqual(b.points, []);
        const byId = await overview({ gateway: String(b.id), by: 'device' });
        assert.deepEqual(sums(byId), { desk: [7001, 701] });
        const refused = [
            ['gateway=nobody', 404], ['gateway=0', 404], ['gateway=999', 404],
            ['device=0', 404], ['device=999', 404], [`device=${randomKey().toString('hex')}`,
                400], ['user=nobody', 404], ['user=ann&device=x', 400],
            [`device=${encodeURIComponent(randomKey().toString('base64'))}`,
                404],
        ];
        for (const [query, status] of refused) {
            const answer = await leader.get(`/api/v1/overview?${query}`);
            assert.equal(answer.status, status, `${query}: ${answer.text}`);
        }
    });

    test('adds devices up by user, page by page', async () => {
        const first = await overview({ by: 'user', limit: '1' });
        assert.deepEqual(sums(first), { bob: [7001, 701] });
        assert.equal(first.series_total, 2);
        const second = await overview(
            { by: 'user', limit: '1', after: String(first.next) });
        assert.deepEqual(sums(second), { ann: [1540, 154] });
        assert.equal(second.next, null);
        const whole = await overview({ by: 'user', resolution: 'day' });
        assert.deepEqual(whole.series[1].points.map((p) => p?.upload ?? null),
            [640, 400, 500]);
    });
});

const ctl = async (...words) => run('holdfastctl', words, {
    env: {
        HOLDFASTCTL_ENDPOINTS: cluster.nodes.map((n) => n.http).join(','),
        HOLDFASTCTL_TOKEN: ADMIN_TOKEN,
    },
    timeoutMs: 30000,
});

describe('holdfastctl', () => {
    test('finds every total exact, on every node', async () => {
        const file = path.join(cluster.nodes[0].dataDir, '..', 'expect.csv');
        const line = (gateway, device, upload, download) =>
            `${location.id},${gateway},${text(device)},${upload},${download}\n`;
        const lines = line('gw-a', 'laptop', 1500, 150) +
            line('gw-a', 'phone', 40, 4);
        fs.writeFileSync(file, lines + line('gw-b', 'desk', 7001, 701));
        const exact = await ctl('check', 'totals', '--expect', file);
        assert.equal(exact.code, 0, exact.stdout + exact.stderr);
        assert.match(exact.stdout, /^exact: \d+ sums .* on 3 nodes/);
        fs.writeFileSync(file, lines + line('gw-b', 'desk', 7001, 700));
        const off = await ctl('check', 'totals', '--expect', file);
        assert.equal(off.code, 1, off.stderr);
        assert.match(off.stdout,
            /cluster and file .*gw-b .* 7001 +7001 +701 +700$/m);
    });

    test('shows who moved the most', async () => {
        const top = await ctl('device', 'top', '--from', String(noon),
            '--by', 'user');
        assert.equal(top.code, 0, top.stderr);
        assert.match(top.stdout, /^bob +6\.8 KiB +701 B\nann +1\.5 KiB +154 B$/m);
    });
});

describe('Who is there', () => {
    test('is counted now and in a window', async () => {
        const ask = (query) => follower.call('GET',
            `/api/v1/activity?location=${location.id}&at_least=${index}` +
            `&${query}`);
        const recent = await ask('');
        assert.deepEqual(recent.now, {
            users: 1, user_devices: 1, network_devices: 0, gateways: 2,
        });
        assert.deepEqual(recent.window, {
            users: 1, user_devices: 1, network_devices: 0, gateways: 1,
        });
        const old = await ask(`from=${noon}&to=${noon + HOUR}`);
        assert.deepEqual(old.window, {
            users: 2, user_devices: 3, network_devices: 0, gateways: 2,
        });
    });

    test('is listed with what its gateway says of it', async () => {
        const list = await follower.call('GET',
            `/api/v1/connected?location=${location.id}&at_least=${index}`);
        assert.equal(list.total, 1);
        assert.equal(list.next, null);
        const [peer] = list.connected;
        assert.equal(peer.key, text('laptop'));
        assert.equal(peer.user, 'ann');
        assert.equal(peer.gateway, 'gw-a');
        assert.equal(peer.endpoint, `192.0.2.${keys.laptop[0]}:4242`);
        assert.equal(peer.last_handshake, now);
        assert.equal(peer.connected_since, now);
        assert.deepEqual([peer.upload, peer.download], [1500, 150]);
        const wrong = await leader.get('/api/v1/connected?after=1-2-x');
        assert.equal(wrong.status, 400);
    });

    test('comes in pages that neither repeat nor skip', async () => {
        const office = await cluster.createLocation(leader, 'office',
            { accept_unknown_peers: true });
        const all = Object.fromEntries(
            Array.from({ length: 25 }, (_, i) => [`p${i}`, randomKey()]));
        Object.assign(keys, all);
        const home = location;
        location = office;
        const at = await report('gw-c', [[now, Object.fromEntries(
            Object.keys(all).map((name) => [name, [1, 1]]))]]);
        location = home;
        const seen = [];
        let after = '';
        for (let pages = 0; after !== null; pages++) {
            assert.ok(pages < 4);
            const page = await leader.call('GET', '/api/v1/connected?limit=10' +
                `&at_least=${at}&location=${office.id}${after && `&after=${after}`}`);
            seen.push(...page.connected.map(({ key }) => key));
            after = page.next;
        }
        assert.equal(seen.length, 25);
        assert.equal(new Set(seen).size, 25);
    });

    test('is told to defguard\'s page, by user', async () => {
        const get = (path) => follower.call('GET',
            `/api/v1/network/${location.id}/stats${path}`);
        const from = new Date(noon * 1000).toISOString();
        const users = await get(`/users?from=${from}`);
        assert.deepEqual(users.network_devices, []);
        assert.equal(users.user_devices.length, 1);
        const [{ user, devices: [device] }] = users.user_devices;
        assert.equal(user.username, 'ann');
        assert.equal(device.name, 'laptop');
        assert.equal(device.public_ip, `192.0.2.${keys.laptop[0]}`);
        assert.equal(device.wireguard_ips.length, 1);
        const upload = (rows) => rows.reduce((sum, row) => sum + row.upload, 0);
        assert.equal(upload(device.stats), 1500);
        const stats = await get(`?from=${from}`);
        assert.equal(stats.upload, 8541);
        assert.equal(upload(stats.transfer_series), 8541);
        assert.ok(stats.transfer_series.every(
            ({ collected_at: at }) => at.endsWith(':00:00.000')));
        assert.equal(stats.current_active_user_devices, 1);
        assert.equal(stats.active_user_devices, 3);
    });
});

// Last: what is deleted here, others above need.
describe('What was deleted', () => {
    // holdfastctl does not say at which index it deleted.
    const fresh = { consistency: 'linearizable' };
    const ids = async (by) => Object.fromEntries(
        (await overview({ by, ...fresh })).series
            .map(({ key, id }) => [key, id]));

    test('stays in every sum, and can be asked for by its id', async () => {
        const gateway = (await ids('gateway'))['gw-b'];
        const device = (await ids('device'))[text('desk')];
        for (const command of [['gateway', 'delete', 'gw-b', '--yes'],
            ['device', 'delete', text('desk'), '--yes']]) {
            const gone = await ctl(...command);
            assert.equal(gone.code, 0, gone.stderr);
        }
        assert.equal((await ids('gateway'))[gateway], gateway);
        assert.equal((await ids('device'))[device], device);
        for (const query of [{ gateway: String(gateway) },
            { device: String(device) }]) {
            const { series: [one] } = await overview({ ...query, ...fresh });
            assert.deepEqual([one.upload, one.download], [7001, 701]);
        }
        const exact = await ctl('check', 'totals');
        assert.equal(exact.code, 0, exact.stdout + exact.stderr);
        assert.match(exact.stdout, /^exact: \d+ sums .* on 3 nodes/);
    });
});
