// What operators ask a cluster over HTTP: every node's facts, copies of the
// store, members, leadership, draining.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
    ADMIN_TOKEN, Cluster, GATEWAY_SECRET, until, withCluster,
} from './cluster.mjs';
import { assertExact, DefguardGateway, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { client, gatewayToken, Health, randomKey } from './wire.mjs';

let cluster, leader, follower;

before(async () => {
    cluster = await Cluster.start({ label: 'operate',
        extraArgs: ['--zone', 'here'] });
    leader = await cluster.leader();
    follower = await cluster.follower();
    await cluster.createLocation(leader, 'operated');
});

after(() => cluster?.end());

const seen = async (by, name) => (await by.call('GET', '/api/v1/cluster'))
    .nodes.find((node) => node.name === name);

// A request to which another change, or an election, may be in the way.
async function ask(node, method, target, body) {
    return until(`${method} ${target}`, async () => {
        const answer = await node.request(method, target, body,
            { timeoutMs: 25000 });
        return answer.status === 503 ? null : answer;
    }, 30000);
}

const transfer = (node, name) =>
    ask(node, 'POST', '/api/v1/cluster/leader', { name });

describe('The cluster', () => {
    test('is told with the facts of every node, on every node', async () => {
        for (const by of cluster.nodes) {
            await until(`${by.name} knows everybody`, async () => {
                const { nodes } = await by.call('GET', '/api/v1/cluster');
                return nodes.length === 3 &&
                    nodes.every((node) => node.applied > 0 &&
                        node.age_ms !== null &&
                        (node.self || node.clock_offset_ms !== null));
            });
            const answer = await by.call('GET', '/api/v1/cluster');
            assert.equal(answer.fetch, null);
            for (const node of answer.nodes) {
                assert.equal(node.role, 'voter');
                assert.equal(node.connected, true);
                assert.equal(node.zone, 'here');
                assert.match(node.version, /^\d+\.\d+/);
                for (const number of ['term', 'commit', 'applied', 'flushed',
                    'lag', 'age_ms', 'level', 'db_bytes', 'disk_free_bytes']) {
                    assert.ok(Number.isInteger(node[number]),
                        `${node.name} ${number}: ${node[number]}`);
                }
                assert.equal(node.disk_low, false);
                assert.equal(node.draining, false);
                const self = node.name === by.name;
                assert.equal(node.self, self);
                assert.equal(node.clock_offset_ms === null, self);
                assert.ok(self || Math.abs(node.clock_offset_ms) < 5000);
            }
        }
    });

    test('is in the metrics too', async () => {
        const metrics = await leader.metrics();
        assert.equal(metrics.holdfast_draining, 0);
        assert.equal(metrics.holdfast_disk_low, 0);
        assert.ok(metrics.holdfast_disk_free_bytes > 0);
        assert.equal(metrics.holdfast_fetch_total_bytes, 0);
        const peer = `{peer="${follower.name}"}`;
        assert.equal(metrics[`holdfast_peer_connected${peer}`], 1);
        assert.ok(metrics[`holdfast_peer_applied_index${peer}`] > 0);
        assert.ok(Math.abs(
            metrics[`holdfast_peer_clock_offset_seconds${peer}`]) < 5);
    });
});

// --- copies -----------------------------------------------------------------

function download(node, { token = ADMIN_TOKEN } = {}) {
    return new Promise((resolve, reject) => {
        const request = http.get({ host: '127.0.0.1', port: node.ports.http,
            path: '/api/v1/snapshot', agent: false, timeout: 20000,
            headers: token ? { authorization: `Bearer ${token}` } : {},
        }, (response) => {
            const pieces = [];
            response.on('data', (piece) => pieces.push(piece));
            response.on('error', reject);
            response.on('end', () => resolve({ status: response.statusCode,
                headers: response.headers, data: Buffer.concat(pieces) }));
        });
        request.on('error', reject);
        request.on('timeout', () => request.destroy(new Error('no answer')));
    });
}

const LMDB_MAGIC = 0xbeefc0de; // in the first page, behind its header

describe('A snapshot', () => {
    const left = (node) => {
        const folder = path.join(node.dataDir, 'copies');
        return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
    };

    test('is a whole store with its hash, and leaves nothing behind', async () => {
        for (const node of [leader, follower]) {
            const { cluster_id: id } = await node.call('GET',
                '/api/v1/cluster');
            const { applied } = await node.call('GET', '/api/v1/cluster');
            const { status, headers, data } = await download(node);
            assert.equal(status, 200, data.toString());
            assert.equal(data.readUInt32LE(16), LMDB_MAGIC);
            assert.equal(headers['content-type'], 'application/octet-stream');
            assert.equal(Number(headers['content-length']), data.length);
            assert.equal(headers['holdfast-copy-sha256'],
                createHash('sha256').update(data).digest('hex'));
            assert.equal(headers['holdfast-cluster-id'], id);
            assert.ok(Number(headers['holdfast-copy-index']) >= applied);
            assert.deepEqual(left(node), []);
        }
    });

    test('is made for one at a time, and wants a token', async () => {
        assert.equal((await download(leader, { token: null })).status, 401);
        await until('one is told to wait', async () => {
            const answers = await Promise.all(Array.from({ length: 6 },
                () => download(leader)));
            const busy = answers.filter(({ status }) => status === 429);
            assert.ok(answers.some(({ status }) => status === 200));
            for (const { data } of busy) {
                assert.equal(JSON.parse(data).code, 'busy');
            }
            return busy.length > 0;
        });
    });

    test('whose client goes away makes room for the next', async () => {
        for (let i = 0; i < 5; i++) {
            const request = http.get({ host: '127.0.0.1',
                port: leader.ports.http, path: '/api/v1/snapshot',
                agent: false,
                headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
            request.on('error', () => {});
            await new Promise((resolve) => setTimeout(resolve, 3 * i));
            request.destroy();
        }
        await until('the next one', async () =>
            (await download(leader)).status === 200);
        assert.deepEqual(left(leader), []);
    });
});

// --- draining ---------------------------------------------------------------

async function serving(node) {
    const health = client(Health, node.grpc);
    try {
        return await new Promise((resolve, reject) => health.Check({},
            { deadline: Date.now() + 5000 },
            (error, answer) => (error ? reject(error)
                : resolve(answer.status === 'SERVING'))));
    } finally {
        health.close();
    }
}

describe('A node that is drained', () => {
    const rng = new Random();
    const from = Date.now() - 120000;
    let location, agent, defguard, drained;

    const drain = (node, on) =>
        node.call('POST', '/api/v1/drain', { drain: on });

    before(async () => {
        drained = await cluster.leader();
        location = await cluster.createLocation(drained, 'drained',
            { accept_unknown_peers: true });
        const token = gatewayToken(GATEWAY_SECRET, location.id);
        const nodes = [drained, ...cluster.nodes.filter((n) => n !== drained)];
        const about = { cluster, nodes, token, rng };
        agent = new NativeGateway({ ...about, hostname: 'agent', id: 'agent',
            keys: [randomKey(), randomKey()] });
        defguard = new DefguardGateway({ ...about, hostname: 'defguard',
            name: 'defguard', keys: [randomKey(), randomKey()] });
        agent.target = defguard.target = 0;
        defguard.start();
        await defguard.settle();
        agent.tick();
        await agent.drained();
        await until('a stream', () => defguard.stream);
    });

    test('needs the token for that', async () => {
        const answer = await drained.request('POST', '/api/v1/drain',
            { drain: true }, { token: null });
        assert.equal(answer.status, 401);
        assert.equal((await drained.get('/readyz', { token: null })).status,
            200);
    });

    test('gives leadership and gateways away and loses nothing', async () => {
        assert.deepEqual(await drain(drained, true), { draining: true });
        const { status, text } = await drained.get('/readyz', { token: null });
        assert.equal(status, 503);
        assert.match(text, /not-draining failed/);
        await until('the idle agent is told', () =>
            /drained/.test(agent.lastError?.details ?? ''));
        await until('another leader', async () =>
            (await cluster.leader()) !== drained);
        await until('not serving', async () => !(await serving(drained)));
        await until('streams elsewhere', () => {
            agent.tick();
            return agent.stream && agent.stream.address !== drained.grpc &&
                defguard.stream && defguard.stream.address !== drained.grpc;
        });
        for (let i = 0; i < 3; i++) {
            agent.tick();
            defguard.tick();
        }
        await agent.drained();
        await defguard.settle();
        await assertExact(cluster, [agent, defguard],
            { from, location: location.id });
        const [other] = cluster.nodes.filter((n) => n !== drained);
        await until('the others know', async () =>
            (await seen(other, drained.name)).draining === true);
        const answer = await drained.get('/api/v1/cluster');
        assert.equal(answer.status, 200, 'it still answers readers');
    });

    test('turns gateways away that come again', async () => {
        const lost = new NativeGateway({ cluster, nodes: [drained], rng,
            hostname: 'lost', id: 'lost', keys: [randomKey()],
            token: agent.token });
        lost.tick();
        await until('a refusal', () =>
            /drained/.test(lost.lastError?.details ?? ''));
        // Until it is over: then it is served, and may lead.
        assert.deepEqual(await drain(drained, false), { draining: false });
        await lost.drained();
        await until('serving', () => serving(drained));
        assert.equal((await drained.get('/readyz', { token: null })).status,
            200);
        const [other] = cluster.nodes.filter((n) => n !== drained);
        assert.equal((await transfer(other, drained.name)).status, 200);
        await until('it leads', async () =>
            (await cluster.leader()) === drained);
    });
});

// --- members ----------------------------------------------------------------

describe('Members', () => {
    const member = (node, name, action) =>
        ask(node, 'POST', `/api/v1/cluster/members/${name}`, { action });

    test('lead when they are asked to, by any node', async () => {
        for (const wanted of cluster.nodes) {
            const [by] = cluster.nodes.filter((n) => n !== wanted);
            const answer = await transfer(by, wanted.name);
            assert.equal(answer.status, 200, answer.text);
            await until(`${wanted.name} leads`, async () =>
                (await cluster.leader()) === wanted);
        }
        const before = await cluster.leader();
        await until('somebody else leads', async () => {
            if ((await cluster.leader()) !== before) return true;
            const answer = await before.request('POST',
                '/api/v1/cluster/leader', { name: '' }, { timeoutMs: 25000 });
            assert.ok([200, 503].includes(answer.status), answer.text);
            return false;
        }, 60000);
    });

    test('that are not there are not found', async () => {
        for (const method of ['POST', 'DELETE']) {
            const answer = await ask(leader, method,
                '/api/v1/cluster/members/nobody',
                method === 'POST' ? { action: 'promote' } : undefined);
            assert.equal(answer.status, 404, answer.text);
            assert.equal(answer.json.code, 'not_found');
            assert.match(answer.json.msg, /nobody/);
        }
    });

    test('are demoted, stay so, and are promoted again', async () => {
        leader = await cluster.leader();
        follower = await cluster.follower();
        const changes = async () => (await leader.metrics())
            .holdfast_raft_membership_changes_total;
        const before = await changes();
        const role = async () => (await seen(leader, follower.name)).role;
        let answer = await member(follower, follower.name, 'demote');
        assert.equal(answer.status, 200, answer.text);
        await until('a standby', async () => (await role()) === 'standby');
        answer = await member(leader, follower.name, 'promote');
        assert.equal(answer.status, 200, answer.text);
        await until('a voter', async () => (await role()) === 'voter');
        await until('both were counted', async () =>
            await changes() >= before + 2);
    });

    test('are removed, but not below a quorum', async () => {
        await withCluster({ label: 'remove' }, async (three) => {
            const first = await three.leader();
            const [second, third] = three.nodes.filter((n) => n !== first);
            await third.kill();
            await until('it is missed', async () =>
                (await seen(first, third.name)).connected === false);
            let answer = await ask(first, 'DELETE',
                `/api/v1/cluster/members/${second.name}`);
            assert.equal(answer.status, 409, answer.text);
            assert.equal(answer.json.code, 'denied');
            answer = await ask(second, 'DELETE',
                `/api/v1/cluster/members/${third.name}`);
            // 404: an earlier answer was lost.
            assert.ok([200, 404].includes(answer.status), answer.text);
            for (const node of [first, second]) {
                await until(`${node.name} has forgotten it`, async () =>
                    (await seen(node, third.name)) === undefined);
            }
            await three.createLocation(second, 'two are enough');
        });
    });

    test('cannot be changed without a leader', async () => {
        await withCluster({ label: 'lone' }, async (three) => {
            const [lone, ...others] = three.nodes;
            for (const node of others) await node.kill();
            await until('no leader', async () =>
                (await lone.call('GET', '/api/v1/cluster')).has_leader ===
                    false);
            const answer = await lone.request('POST',
                '/api/v1/cluster/leader', {}, { timeoutMs: 25000 });
            assert.equal(answer.status, 503, answer.text);
            assert.equal(answer.json.code, 'no_leader');
        });
    });
});
