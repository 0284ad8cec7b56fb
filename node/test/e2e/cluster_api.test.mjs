// What operators ask a cluster over HTTP: every node's facts, copies of the
// store, members, leadership, draining.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ADMIN_TOKEN, Cluster, until } from './cluster.mjs';

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
