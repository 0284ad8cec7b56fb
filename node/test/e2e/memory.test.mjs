// A follower that stands still costs the leader bounded memory: under load its
// anonymous memory is measured while one follower is stopped (SIGSTOP), and
// again when it has caught up.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { GATEWAY_SECRET, sleep, withCluster } from './cluster.mjs';
import { assertExact, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

const FROZEN_S = Number(process.env.HOLDFAST_FROZEN_S ?? 20);
const BESIDE_LOG_MIB_MAX = 48;

function anonMib(node) {
    const status = fs.readFileSync(`/proc/${node.pid()}/status`, 'utf8');
    return Number(/RssAnon:\s+(\d+) kB/.exec(status)[1]) / 1024;
}

describe('A frozen follower', () => {
    test('costs the leader bounded memory', async (t) => {
        await withCluster({ label: 'memory' }, async (cluster) => {
            const from = Date.now() - 120000;
            const location = await cluster.createLocation(cluster.nodes[0],
                'memory', { accept_unknown_peers: true });
            const rng = new Random();
            const keys = Array.from({ length: 300 }, () => randomKey());
            const leader = await cluster.leader();
            const frozen = await cluster.follower();
            const agents = Array.from({ length: 6 }, (_, i) =>
                new NativeGateway({
                    cluster, rng, keys, nodes: [leader],
                    token: gatewayToken(GATEWAY_SECRET, location.id),
                    hostname: `agent-${i}`, id: `agent-id-${i}`,
                }));
            const timer = setInterval(() => {
                for (const agent of agents) {
                    if (agent.spool.length < 32) agent.tick();
                }
            }, 10);
            try {
                await sleep(3000);
                const before = anonMib(leader);
                const entriesBefore = (await leader.metrics())
                    .holdfast_raft_entry_bytes_total;
                let most = before;
                process.kill(frozen.pid(), 'SIGSTOP');
                try {
                    for (let s = 0; s < FROZEN_S; s++) {
                        await sleep(1000);
                        most = Math.max(most, anonMib(leader));
                    }
                } finally {
                    process.kill(frozen.pid(), 'SIGCONT');
                }
                const bytes = (await leader.metrics())
                    .holdfast_raft_entry_bytes_total - entriesBefore;
                t.diagnostic(`RssAnon of the leader: ${before.toFixed(1)} MiB ` +
                    `before, at most ${most.toFixed(1)} in ${FROZEN_S} s ` +
                    `with ${(bytes / 1048576).toFixed(1)} MiB of entries`);
                // The newest 64 to 256 MiB of the log are in memory anyway.
                assert.ok(most - before <
                    BESIDE_LOG_MIB_MAX + bytes / 1048576, `${most - before} MiB`);
            } finally {
                clearInterval(timer);
            }
            await Promise.all(agents.map((agent) => agent.drained(30000)));
            await assertExact(cluster, agents, { from, location: location.id });
            await cluster.digest();
        });
    });
});
