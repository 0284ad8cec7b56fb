// Two of three nodes stand still (SIGSTOP) while hundreds of streams push as
// fast as the third takes it: it holds bounded memory, says RESOURCE_EXHAUSTED,
// answers reads, and afterwards every report counts exactly once. The pressure
// is holdfast-load's; the exact ledger that of simulated agents beside it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { GATEWAY_SECRET, program, sleep, until, withCluster } from './cluster.mjs';
import { assertExact, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

const FROZEN_S = Number(process.env.HOLDFAST_FROZEN_S ?? 8);
const STREAMS = 512;
// 48 MiB of reports (node/ingest.h), 136 that libgrpc may take for so many
// streams (node/rpc_server.c), and 40 for the log and what else that costs.
const GROWTH_MIB_MAX = 48 + 136 + 40;

function anonMib(node) {
    const status = fs.readFileSync(`/proc/${node.pid()}/status`, 'utf8');
    return Number(/RssAnon:\s+(\d+) kB/.exec(status)[1]) / 1024;
}

// Large batches of few devices each: bytes, not slots, are what is in the way.
function press(node, token, seconds) {
    const child = spawn(program('holdfast-load'), [
        '--targets', node.grpc, '--token', token, '--gateways', `${STREAMS}`,
        '--devices', '32', '--batch', '4096', '--in-flight', '32',
        '--warmup', '1', '--seconds', `${seconds}`,
    ], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (data) => { output += data; });
    return {
        child,
        done: once(child, 'close').then(([code]) => ({
            code,
            value: (name) =>
                Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(output)?.[1]),
        })),
    };
}

async function overload(t, cluster, survivor, frozen) {
    const from = Date.now() - 120000;
    const [exact, pressed] = await Promise.all(['exact', 'pressed'].map((name) =>
        cluster.createLocation(survivor, name, { accept_unknown_peers: true })));
    const rng = new Random();
    const agents = Array.from({ length: 8 }, (_, i) => new NativeGateway({
        cluster, rng, nodes: [survivor],
        keys: Array.from({ length: 50 }, () => randomKey()),
        token: gatewayToken(GATEWAY_SECRET, exact.id),
        hostname: `agent-${i}`, id: `agent-id-${i}`,
    }));
    const before = anonMib(survivor);
    const timer = setInterval(() => {
        for (const agent of agents) {
            if (agent.spool.length < 64) agent.tick();
        }
    }, 20);
    const load = press(survivor, gatewayToken(GATEWAY_SECRET, pressed.id),
        FROZEN_S + 6);
    try {
        await until('the streams are open', async () => (await
            survivor.metrics()).holdfast_gateways_connected > STREAMS, 30000);
        let most = before;
        let slowestMs = 0;
        for (const node of frozen) process.kill(node.pid(), 'SIGSTOP');
        try {
            const end = Date.now() + FROZEN_S * 1000;
            while (Date.now() < end) {
                await sleep(100);
                most = Math.max(most, anonMib(survivor));
                const asked = Date.now();
                await survivor.totals('none', { from, location: exact.id });
                slowestMs = Math.max(slowestMs, Date.now() - asked);
            }
        } finally {
            for (const node of frozen) process.kill(node.pid(), 'SIGCONT');
        }
        const metrics = await survivor.metrics();
        t.diagnostic(`RssAnon ${before.toFixed(0)} MiB before, at most ` +
            `${most.toFixed(0)} in ${FROZEN_S} s; slowest read ${slowestMs} ms`);
        t.diagnostic(JSON.stringify(Object.fromEntries(Object.entries(metrics)
            .filter(([name]) => /rejected|waiting|calls|connected/.test(name)))));
        assert.ok(most - before < GROWTH_MIB_MAX, `${most - before} MiB`);
        assert.ok(metrics['holdfast_ingest_rejected_total{reason="overload"}'] >
            0);
    } catch (error) {
        load.child.kill('SIGKILL');
        throw error;
    } finally {
        clearInterval(timer);
    }
    for (const agent of agents) agent.tick({ quiet: true });
    await Promise.all(agents.map((agent) => agent.drained(30000)));
    const result = await load.done;
    t.diagnostic(`load: exit ${result.code}, ${result.value('refused_streams')} ` +
        `refused, ${result.value('reports_per_s')} reports/s`);
    assert.equal(result.code, 0);
    assert.ok(result.value('refused_streams') > 0);
    await assertExact(cluster, agents, { from, location: exact.id });
    await cluster.digest();
}

describe('Under full load two of three nodes stand still:', () => {
    test('the third, a follower, holds bounded memory', (t) =>
        withCluster({ label: 'overload' }, async (cluster) => {
            const survivor = await cluster.follower();
            await overload(t, cluster, survivor,
                cluster.nodes.filter((node) => node !== survivor));
        }));

    test('the third, the leader, holds bounded memory', (t) =>
        withCluster({ label: 'overload' }, async (cluster) => {
            const survivor = await cluster.leader();
            await overload(t, cluster, survivor,
                cluster.nodes.filter((node) => node !== survivor));
        }));
});
