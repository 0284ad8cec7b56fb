// Disaster recovery with holdfastctl, as docs/operations.md describes it:
// a majority is lost for good; a backup is restored.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ADMIN_TOKEN, run, until, withCluster } from './cluster.mjs';
import { Load, makeFleet } from './fleet.mjs';
import { assertExact } from './gateways.mjs';
import { Random, seedFromEnvironment } from './random.mjs';

const PATIENCE_MS = 60000;

function ctl(words, nodes = []) {
    return run('holdfastctl', words, {
        env: {
            HOLDFASTCTL_ENDPOINTS: nodes.map((node) => node.http).join(','),
            HOLDFASTCTL_TOKEN: ADMIN_TOKEN,
        },
        timeoutMs: PATIENCE_MS,
    });
}

async function done(words, nodes) {
    const answer = await ctl(words, nodes);
    assert.equal(answer.code, 0,
        `${words.join(' ')}: ${answer.stderr}${answer.stdout}`);
    return answer;
}

const inspect = async (node) => JSON.parse((await done(
    ['recover', '--inspect', '--data-dir', node.dataDir, '-w', 'json'])).stdout);

const force = (node) => ctl(['recover', '--force-new-cluster', '--yes',
    '--data-dir', node.dataDir, '--member', `${node.name}=${node.peer}`]);

async function loaded(cluster) {
    const rng = new Random(seedFromEnvironment());
    console.log(`HOLDFAST_SEED=${rng.seed}`);
    const from = Date.now() - 120000;
    const fleet = await makeFleet(cluster, rng);
    const load = new Load(fleet.natives, fleet.legacies, rng);
    for (const gateway of fleet.legacies) gateway.start();
    await Promise.all(fleet.legacies.map((gateway) =>
        gateway.settle({ timeoutMs: PATIENCE_MS })));
    load.start();
    return { load, query: { from, location: fleet.location.id } };
}

// The others come back with empty directories and become voters.
async function rejoin(cluster, nodes) {
    for (const node of nodes) {
        fs.rmSync(node.dataDir, { recursive: true, force: true });
        node.start();
    }
    await cluster.ready();
    await until('three voters', async () => {
        const { nodes: members } = await cluster.nodes[0]
            .call('GET', '/api/v1/cluster');
        return members.length === 3 &&
            members.every((member) => member.role === 'voter');
    }, PATIENCE_MS);
}

const descending = (a, b) => Number(BigInt(b) - BigInt(a));

test('a survivor with the newest log goes on after a majority is lost', () =>
    withCluster({ label: 'recover' }, async (cluster) => {
        const { load, query } = await loaded(cluster);
        await until('some load', () => load.ticks > 50, PATIENCE_MS);
        const before = await cluster.nodes[0].call('GET', '/api/v1/cluster');

        // Refused while any other member lives.
        const alive = await cluster.follower();
        const victim = cluster.nodes.find((node) => node !== alive);
        await victim.kill();
        const refused = await force(victim);
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /is alive and of this cluster/);

        // Every acknowledged report is on two of three disks: of the two that
        // survive, the one with the newest log has it.
        await Promise.all(cluster.running.map((node) => node.kill()));
        const survivors = cluster.nodes.slice(0, 2);
        const reports = new Map();
        for (const node of survivors) reports.set(node, await inspect(node));
        survivors.sort((a, b) => {
            const x = reports.get(a);
            const y = reports.get(b);
            return descending(x.last_term, y.last_term) ||
                descending(x.last_index, y.last_index);
        });
        const [best] = survivors;
        assert.equal(reports.get(best).cluster_id, before.cluster_id);
        assert.equal(reports.get(best).members.length, 3);
        const forced = await force(best);
        assert.equal(forced.code, 0, forced.stderr);
        best.start();
        await best.ready(PATIENCE_MS);
        await rejoin(cluster, cluster.nodes.filter((node) => node !== best));
        const after = await best.call('GET', '/api/v1/cluster');
        assert.notEqual(after.cluster_id, before.cluster_id);

        await load.drain(PATIENCE_MS);
        await assertExact(cluster, load.all(), query);
        await cluster.digest();
    }));

test('a node of the old cluster cannot mix with the recovered one', () =>
    withCluster({ label: 'recover-old' }, async (cluster) => {
        const location = await cluster.createLocation(cluster.nodes[0], 'one');
        await Promise.all(cluster.nodes.map((node) => node.kill()));
        const [best, old, empty] = cluster.nodes;
        assert.equal((await force(best)).code, 0);
        best.start();
        await best.ready(PATIENCE_MS);
        old.start(); // with its old directory, against the runbook
        fs.rmSync(empty.dataDir, { recursive: true, force: true });
        empty.start();
        // Two clusters answer it: which one is meant is not for it to say.
        await until('the empty one asks for a decision', () =>
            /are in different clusters/.test(empty.log()), PATIENCE_MS);
        const metrics = await until(`${old.name} answers`, () =>
            old.metrics());
        assert.equal(metrics.holdfast_raft_is_leader, 0);
        await old.kill();
        await until('the empty one has joined', async () => {
            const { nodes } = await best.call('GET', '/api/v1/cluster');
            assert.ok(!nodes.some((node) => node.name === old.name));
            return nodes.some((node) => node.name === empty.name &&
                node.role !== 'joining');
        }, PATIENCE_MS);
        await until('it has the state', async () => {
            const answer = await empty.get(`/api/v1/network/${location.id}`);
            return answer.status === 200;
        }, PATIENCE_MS);
    }));

test('a backup becomes a new cluster with the state of its index', () =>
    withCluster({ label: 'restore' }, async (cluster) => {
        const { load, query } = await loaded(cluster);
        await until('some load', () => load.ticks > 50, PATIENCE_MS);
        await load.drain(PATIENCE_MS);
        await assertExact(cluster, load.all(), query); // every node has all
        const file = path.join(cluster.directory, 'backup');
        await done(['snapshot', 'save', file], [await cluster.follower()]);
        const saved = await cluster.nodes[0].totals('device', query);
        // What comes after the backup is gone with the old cluster.
        await cluster.createLocation(cluster.nodes[0], 'later');
        await Promise.all(cluster.nodes.map((node) => node.kill()));
        for (const gateway of cluster.gateways) gateway.stop();

        const [first, ...others] = cluster.nodes;
        const words = ['snapshot', 'restore', file,
            '--data-dir', first.dataDir,
            '--member', `${first.name}=${first.peer}`];
        const refused = await ctl(words);
        assert.notEqual(refused.code, 0);
        assert.match(refused.stderr, /not empty/);
        fs.rmSync(first.dataDir, { recursive: true, force: true });
        await done(words);
        first.start();
        await first.ready(PATIENCE_MS);
        await rejoin(cluster, others);
        for (const node of cluster.nodes) {
            assert.deepEqual(await node.totals('device', query), saved);
            const names = (await node.call('GET', '/api/v1/network'))
                .map((location) => location.name);
            assert.deepEqual(names, ['fleet']);
        }
        await cluster.digest();
    }));
