// A follower is away until the others have dropped the log that it needs. It
// comes back by itself: fetches a copy of the store while reports go on, is
// killed in the middle of it, and so is a node that gives it one; then it is a
// voter again, with exact totals and the digest of the others.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import {
    GATEWAY_SECRET, program, sleep, until, withCluster,
} from './cluster.mjs';
import { Load, makeFleet } from './fleet.mjs';
import { assertExact } from './gateways.mjs';
import { Random, seedFromEnvironment } from './random.mjs';
import { gatewayToken } from './wire.mjs';

// More than a leader keeps: a snapshot every 64 MiB, and 192 MiB before it.
const LOG_BYTES = 300e6;
const KILLS = Number(process.env.HOLDFAST_FETCH_KILLS || 4);

// Reports of many devices through @node until the log has grown by @bytes,
// whoever leads.
async function fill(cluster, node, token, bytes) {
    const grown = async () => {
        let sum = 0;
        for (const one of cluster.running) {
            sum += (await one.metrics()).holdfast_raft_entry_bytes_total;
        }
        return sum;
    };
    const before = await grown();
    while (await grown() < before + bytes) {
        const child = spawn(program('holdfast-load'), [
            '--targets', node.grpc, '--token', token, '--gateways', '4',
            '--devices', '60000', '--batch', '4096', '--in-flight', '4',
            '--warmup', '1', '--seconds', '8',
        ], { stdio: 'ignore' });
        const [code] = await once(child, 'exit');
        assert.equal(code, 0, 'holdfast-load');
    }
}

const count = (node, event) =>
    node.log().split('\n').filter((line) => line.includes(` ${event}: `)).length;

test('a node that was away too long fetches a copy and is back', async (t) => {
    const rng = new Random(seedFromEnvironment());
    t.diagnostic(`HOLDFAST_SEED=${rng.seed}`);
    const from = Date.now() - 120000;
    await withCluster({ label: 'behind' }, async (cluster) => {
        const { location, natives, legacies } = await makeFleet(cluster, rng);
        const load = new Load(natives, legacies, rng);
        const query = { from, location: location.id };
        for (const agent of natives) agent.tick();
        for (const gateway of legacies) gateway.start();
        await Promise.all(legacies.map((gateway) => gateway.settle()));
        load.start();
        await sleep(500);

        const leader = await cluster.leader();
        const away = cluster.nodes.find((node) => node !== leader);
        const third = cluster.nodes.find((node) =>
            node !== leader && node !== away);
        await away.kill();
        const many = await cluster.createLocation(leader, 'many',
            { accept_unknown_peers: true });
        await fill(cluster, leader, gatewayToken(GATEWAY_SECRET, many.id), LOG_BYTES);

        away.start();
        await until('it sees that it is behind',
            () => count(away, 'behind') > 0, 60000);
        assert.ok(away.running, 'the process stays');
        // Each start that still has to fetch says so first.
        let cuts = 0;
        for (; cuts < KILLS && count(away, 'fetched') === 0; cuts++) {
            await until('it fetches', () => count(away, 'fetched') > 0 ||
                count(away, 'fetching') > cuts, 60000, 2);
            await sleep(rng.between(0, 150));
            const victim = cuts % 2 === 0 ? away : third;
            await victim.kill();
            await sleep(rng.between(0, 300));
            victim.start();
        }
        console.log(`${cuts} kills while it fetched`);
        assert.ok(cuts > 0);
        await away.ready(120000);
        await third.ready(120000);
        assert.ok(count(away, 'fetched') > 0, 'it fetched');

        await load.drain(60000);
        await assertExact(cluster, load.all(), query);
        await cluster.digest();
        const { nodes } = await away.call('GET', '/api/v1/cluster');
        assert.deepEqual(nodes.map((node) => node.role),
            ['voter', 'voter', 'voter']);

        // It counts: without one of the others it makes the majority.
        load.start();
        await sleep(500);
        await third.kill();
        await sleep(500);
        await load.drain(60000);
        third.start();
        await third.ready();
        await assertExact(cluster, load.all(), query);
        await cluster.digest();
    });
});
