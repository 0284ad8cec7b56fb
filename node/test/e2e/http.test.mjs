// HTTP on one node right after HTTP on another. A follower learns what is
// committed with the leader's next message, so it lags for a moment each time:
// no write may fail for what the follower does not know yet.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ADMIN_TOKEN, Cluster, until } from './cluster.mjs';
import { randomKey } from './wire.mjs';

let cluster, leader, follower;
let token = ADMIN_TOKEN; // that of the two which was not revoked, at the end

const deviceBody = (name, changes = {}) => ({
    name, wireguard_pubkey: randomKey().toString('base64'), ...changes,
});

function locationBody(name, number) {
    const address = `10.${number}.0.1/16`;
    return cluster.locationBody(name, { address });
}

before(async () => {
    cluster = await Cluster.start({ label: 'http' });
    leader = await cluster.leader();
    follower = await cluster.follower();
});

after(() => cluster?.end());

describe('What was made on the leader, on a follower at once', () => {
    test('the first location takes a device', async () => {
        await leader.call('POST', '/api/v1/network',
            locationBody('first', 80));
        const { configs } = await follower.call('POST', '/api/v1/device/ada',
            deviceBody('laptop'));
        assert.equal(configs.length, 1);
    });

    test('a location is changed', async () => {
        for (let i = 0; i < 5; i++) {
            const { id } = await leader.call('POST', '/api/v1/network',
                locationBody(`made-${i}`, 81 + i));
            const changed = await follower.call('PUT', `/api/v1/network/${id}`,
                locationBody(`changed-${i}`, 81 + i));
            assert.equal(changed.name, `changed-${i}`);
        }
    });

    test('a location whose addresses cannot be is refused, and why', async () => {
        const put = (id, address) => follower.request('PUT',
            `/api/v1/network/${id}`,
            cluster.locationBody('strict', { address }));
        const { id } = await leader.call('POST', '/api/v1/network',
            cluster.locationBody('strict', { address: '10.89.0.1/16' }));
        const seventeen = Array.from({ length: 17 }, (_, i) => `10.89.${i}.1/24`);
        for (const address of ['10.89.0.1/24,10.89.0.1/16', seventeen.join()]) {
            const body = cluster.locationBody('strict', { address });
            for (const answer of [await put(id, address),
                await follower.request('POST', '/api/v1/network', body)]) {
                assert.equal(answer.status, 400, answer.text);
                assert.match(answer.json.msg, /at most 16 .* no two .* overlap/);
            }
        }
        const { device, configs: [{ address }] } = await leader.call('POST',
            '/api/v1/device/network', deviceBody('meter', { location_id: id }));
        const taken = await put(id, `${address[0]}/16`);
        assert.equal(taken.status, 409, taken.text);
        assert.equal(taken.json.msg,
            `address: device ${device.id} has this address`);
    });

    test('a device is changed and keeps what was not named', async () => {
        for (let i = 0; i < 5; i++) {
            const body = deviceBody(`made-${i}`, { description: `no ${i}` });
            const { device } = await leader.call('POST', '/api/v1/device/ada',
                body);
            delete body.description;
            const changed = await follower.call('PUT',
                `/api/v1/device/${device.id}`,
                { ...body, name: `changed-${i}` });
            assert.equal(changed.name, `changed-${i}`);
            assert.equal(changed.description, `no ${i}`);
        }
    });

    test('a network device is deleted', async () => {
        const [{ id }] = await leader.call('GET', '/api/v1/network');
        for (let i = 0; i < 5; i++) {
            const { device } = await leader.call('POST',
                '/api/v1/device/network',
                deviceBody(`printer-${i}`, { location_id: id }));
            const path = `/api/v1/device/network/${device.id}`;
            await follower.call('DELETE', path);
            const gone = await follower.request('DELETE', path);
            assert.equal(gone.status, 404);
        }
    });

    test('a network device outlives its location and goes nowhere', async () => {
        const { id } = await leader.call('POST', '/api/v1/network',
            locationBody('short-lived', 90));
        const body = deviceBody('scanner', { location_id: id });
        const { device } = await leader.call('POST', '/api/v1/device/network',
            body);
        await leader.call('DELETE', `/api/v1/network/${id}`);
        delete body.location_id;
        const refused = await follower.request('PUT',
            `/api/v1/device/${device.id}`, { ...body, name: 'renamed' });
        assert.equal(refused.status, 409, refused.text);
        assert.equal(refused.json.code, 'no_location');
        await leader.call('DELETE', `/api/v1/device/${device.id}`);
    });
});

describe('Settings', () => {
    const path = '/api/v1/settings';
    const put = (node, body) => node.request('PUT', path, body);

    test('are those that the cluster was founded with', async () => {
        assert.deepEqual(await follower.call('GET', path), {
            retain_minute: '168h', retain_minute_s: 604800,
            retain_hour: '9600h', retain_hour_s: 34560000,
            retain_day: '87600h', retain_day_s: 315360000,
        });
    });

    test('grow on one node, and are in force on all', async () => {
        await until('the level is there', async () =>
            (await leader.call('GET', '/api/v1/cluster')).level >= 3);
        const grown = await follower.call('PUT', path,
            { retain_minute: '14d', retain_day: 0 });
        assert.equal(grown.retain_minute, '336h');
        assert.equal(grown.retain_day, '0');
        for (const node of cluster.nodes) {
            const seen = await node.call('GET',
                `${path}?consistency=linearizable`);
            assert.deepEqual(seen, grown);
        }
    });

    test('shrink only when it is confirmed that history goes', async () => {
        const shorter = { retain_minute: '24h' };
        const refused = await put(follower, shorter);
        assert.equal(refused.status, 409, refused.text);
        assert.equal(refused.json.code, 'confirm');
        assert.match(refused.json.msg,
            /retain_minute: from 336h to 24h, all minutes older .* --yes/);
        assert.equal((await follower.call('GET', path)).retain_minute, '336h');
        const done = await put(follower, { ...shorter, confirm: true });
        assert.equal(done.json.retain_minute, '24h');
    });

    test('that make no sense are refused, and why', async () => {
        const wrong = [
            [{ retain_minute: '5m' }, /retain_minute: must be at least 1h/],
            [{ retain_hour: '48h', retain_minute: '72h' },
                /retain_hour: must be at least as long as .* 72h/],
            [{ retain_hour: 'long' }, /retain_hour: "long" is no duration/],
            [{ retain_hour: '90000500ms' }, /whole seconds/],
            [{ retain_day: -1 }, /retain_day: must be a whole number/],
            [{ gateway_secret: 'mine' }, /gateway_secret: unknown field/],
            [{ cluster_id: '00' }, /cluster_id: unknown field/],
        ];
        for (const [body, why] of wrong) {
            const answer = await put(leader, { ...body, confirm: true });
            assert.equal(answer.status, 400, answer.text);
            assert.match(answer.json.msg, why);
        }
    });
});

describe('Tokens', () => {
    test('revoked at once, each by itself, leave the last one', async () => {
        await until('the level is there', async () =>
            (await leader.call('GET', '/api/v1/cluster')).level >= 4);
        const [first] = await leader.call('GET', '/api/v1/token');
        const second = await leader.call('POST', '/api/v1/token',
            { name: 'second' });
        const revoke = (node, id, by) => node.request('DELETE',
            `/api/v1/token/${id}`, undefined, { token: by });
        await until('the follower knows it', async () =>
            (await follower.request('GET', '/api/v1/token', undefined,
                { token: second.token })).status === 200);
        const answers = await Promise.all([
            revoke(leader, first.id, ADMIN_TOKEN),
            revoke(follower, second.id, second.token),
        ]);
        const refused = answers.findIndex(({ status }) => status !== 200);
        assert.deepEqual(answers.map(({ status }) => status).sort(),
            [200, 409]);
        assert.equal(answers[refused].json.code, 'last_token');
        token = [ADMIN_TOKEN, second.token][refused];
        const left = await leader.call('GET', '/api/v1/token', undefined,
            { token });
        assert.deepEqual(left.map(({ id }) => id),
            [[first.id, second.id][refused]]);
    });
});

describe('Without a leader', () => {
    test('a change is not done, and says so', async () => {
        const [{ id }] = await follower.call('GET', '/api/v1/network',
            undefined, { token });
        for (const node of cluster.nodes)
            if (node !== follower) await node.kill('SIGKILL');
        const answer = await follower.request('PUT', `/api/v1/network/${id}`,
            locationBody('changed', 80), { token, timeoutMs: 20000 });
        assert.equal(answer.status, 503, answer.text);
        assert.match(answer.json.code, /no_leader|outcome_unknown/);
    });
});
