// The leader dies, retires, or everything dies at once: reports go on, and
// nothing that was acknowledged is lost.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
    expiry, GATEWAY_SECRET, sleep, until, withCluster,
} from './cluster.mjs';
import { assertExact, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

const OUTAGE_MS = 2000;

async function makeAgents(cluster, count, rng = new Random()) {
    const location = await cluster.createLocation(cluster.nodes[0], 'leader',
        { accept_unknown_peers: true });
    const keys = Array.from({ length: 20 }, () => randomKey());
    const agents = Array.from({ length: count }, (_, i) => new NativeGateway({
        cluster, rng, keys,
        token: gatewayToken(GATEWAY_SECRET, location.id),
        hostname: `agent-${i}`, id: `agent-id-${i}`,
    }));
    for (const agent of agents) agent.tick();
    await Promise.all(agents.map((agent) => agent.drained()));
    return { location, agents };
}

// Ticks until stopped.
function load(agents, everyMs = 20) {
    const timer = setInterval(() => {
        for (const agent of agents) agent.tick();
    }, everyMs);
    return async () => {
        clearInterval(timer);
        await Promise.all(agents.map((agent) => agent.drained()));
    };
}

// The longest time, over the agents, from @since to the acknowledgement of a
// batch that was sampled after it.
function recovery(agents, since) {
    return Promise.all(agents.map((agent) => new Promise((resolve) => {
        agent.onAcknowledged = (entry) => {
            if (entry.batch.sampled_at_ms <= since) return;
            agent.onAcknowledged = undefined;
            resolve(Date.now() - since);
        };
    }))).then((times) => Math.max(...times));
}

// A machine that stands still for a second spoils one round.
function assertShort(outages) {
    const [, second] = [...outages].sort((a, b) => b - a);
    assert.ok(second < OUTAGE_MS, `${outages.join(', ')} ms`);
}

const timeout = (ms, what) => expiry(ms).then(() => {
    throw new Error(`${what}: not within ${ms} ms`);
});

describe('The leader', () => {
    // Its death is seen, not waited for: no timer ends before 5 s.
    test('killed under load: reports go on within 2 s', async (t) => {
        await withCluster({
            label: 'leader', extraArgs: ['--election-timeout', '5s'],
        }, async (cluster) => {
            const from = Date.now() - 120000;
            const { location, agents } = await makeAgents(cluster, 6);
            const stop = load(agents);
            const outages = [];
            for (let round = 0; round < 3; round++) {
                await sleep(500);
                const leader = await cluster.leader();
                const since = Date.now();
                const back = recovery(agents, since);
                await leader.kill();
                const outage = await Promise.race([
                    back, timeout(30000, 'reports after the kill'),
                ]);
                t.diagnostic(`outage ${outage} ms`);
                outages.push(outage);
                leader.start();
                await leader.ready();
            }
            assertShort(outages);
            await stop();
            await assertExact(cluster, agents, { from, location: location.id });
            await cluster.digest();
        });
    });

    test('on SIGTERM hands over and exits 0', async (t) => {
        await withCluster({ label: 'handover' }, async (cluster) => {
            const from = Date.now() - 120000;
            const { location, agents } = await makeAgents(cluster, 6);
            const stop = load(agents);
            const outages = [];
            for (let round = 0; round < 3; round++) {
                await sleep(500);
                const leader = await cluster.leader();
                const since = Date.now();
                const back = recovery(agents, since);
                const result = await leader.kill('SIGTERM');
                assert.deepEqual(result, { code: 0, signal: null },
                    leader.logTail());
                const outage = await Promise.race([
                    back, timeout(30000, 'reports after the hand-over'),
                ]);
                t.diagnostic(`outage ${outage} ms, exit after ` +
                    `${Date.now() - since} ms`);
                outages.push(outage);
                assert.notEqual(await cluster.leader(), leader);
                leader.start();
                await leader.ready();
            }
            assertShort(outages);
            await stop();
            await assertExact(cluster, agents, { from, location: location.id });
            await cluster.digest();
        });
    });
});

describe('A frozen leader', () => {
    test('is replaced, and thawed it counts nothing twice', async (t) => {
        await withCluster({ label: 'frozen' }, async (cluster) => {
            const from = Date.now() - 120000;
            const { location, agents } = await makeAgents(cluster, 6);
            const stop = load(agents);
            const outages = [];
            for (let round = 0; round < 2; round++) {
                await sleep(500);
                const leader = await cluster.leader();
                // Those that report to it notice nothing until it thaws.
                const others = agents.filter((agent) =>
                    agent.stream?.address !== leader.grpc);
                const since = Date.now();
                const back = recovery(others, since);
                process.kill(leader.pid(), 'SIGSTOP');
                try {
                    const outage = await Promise.race([
                        back, timeout(30000, 'reports past a frozen leader'),
                    ]);
                    t.diagnostic(`outage ${outage} ms`);
                    outages.push(outage);
                    for (const agent of agents) agent.move();
                    await sleep(500);
                } finally {
                    process.kill(leader.pid(), 'SIGCONT');
                }
            }
            assertShort(outages);
            await stop();
            await assertExact(cluster, agents, { from, location: location.id });
            await cluster.digest();
        });
    });
});

describe('Everything dies at once', () => {
    test('nothing acknowledged is lost', async () => {
        await withCluster({ label: 'all' }, async (cluster) => {
            const from = Date.now() - 120000;
            const { location, agents } = await makeAgents(cluster, 6);
            for (let round = 0; round < 3; round++) {
                const timer = setInterval(() => {
                    for (const agent of agents) agent.tick();
                }, 10);
                await sleep(700);
                clearInterval(timer);
                for (const node of cluster.nodes) {
                    node.expectedExit = true;
                    process.kill(node.pid(), 'SIGKILL');
                }
                for (const agent of agents) agent.stopped = true;
                await Promise.all(cluster.nodes.map((node) => node.exited));
                const acknowledged = agents.map((agent) =>
                    agent.acknowledged.total());
                for (const node of cluster.nodes) node.start();
                await cluster.ready();
                // Nobody resends: what is there was there.
                for (const node of cluster.nodes) {
                    const totals = await node.totals('gateway',
                        { from, location: location.id });
                    for (const [i, agent] of agents.entries()) {
                        const have = totals.get(agent.hostname) ??
                            { upload: 0, download: 0 };
                        const most = agent.expected.total();
                        for (const way of ['upload', 'download']) {
                            assert.ok(have[way] >= acknowledged[i][way],
                                `${node.name} lost ${way} of ` +
                                `${agent.hostname}: ${have[way]} of ` +
                                `${acknowledged[i][way]}`);
                            assert.ok(have[way] <= most[way]);
                        }
                    }
                }
                for (const agent of agents) {
                    agent.stopped = false;
                    agent.stream = null;
                    agent.tick();
                }
                await Promise.all(agents.map((agent) => agent.drained()));
                await assertExact(cluster, agents,
                    { from, location: location.id });
                await cluster.digest();
            }
        });
    });

    test('without a quorum acknowledgements wait, and come', async () => {
        await withCluster({ label: 'quorum' }, async (cluster) => {
            const from = Date.now() - 120000;
            const { location, agents } = await makeAgents(cluster, 3);
            const [one, two, three] = cluster.nodes;
            const query = { from, location: location.id };
            for (const agent of agents) agent.tick();
            await Promise.all(agents.map((agent) => agent.drained()));
            await assertExact(cluster, agents, query);
            const before = await one.totals('gateway', query);
            await two.kill();
            await three.kill();
            await sleep(300);
            for (const agent of agents) agent.tick();
            await sleep(1500);
            const unacknowledged = agents.filter((agent) =>
                agent.spool.length > 0);
            assert.equal(unacknowledged.length, agents.length,
                'nothing is acknowledged by a minority');
            const { status } = await one.get('/livez');
            assert.equal(status, 200, 'liveness does not need the quorum');
            assert.deepEqual(await one.totals('gateway', query), before,
                'the overview does not need the quorum');
            two.start();
            await Promise.all(agents.map((agent) => agent.drained()));
            three.start();
            await cluster.ready();
            await assertExact(cluster, agents, query);
        });
    });

    test('a single node alone: kill, SIGTERM, all is there', async () => {
        await withCluster({ label: 'single', size: 1 }, async (cluster) => {
            const from = Date.now() - 120000;
            const [node] = cluster.nodes;
            const { location, agents } = await makeAgents(cluster, 2);
            const stop = load(agents);
            await sleep(500);
            await node.kill();
            node.start();
            await node.ready();
            await sleep(300);
            await stop();
            await assertExact(cluster, agents, { from, location: location.id });
            assert.deepEqual(await node.kill('SIGTERM'),
                { code: 0, signal: null });
            node.start();
            await node.ready();
            await until('the totals are back', async () => {
                await assertExact(cluster, agents,
                    { from, location: location.id });
                return true;
            });
        });
    });
});
