// kill -9 of a random node at random moments, HOLDFAST_KILLS times, under the
// load of native and defguard gateways that share their devices, with resets,
// moves and restarts of agents among them. After each kill the gateways drain
// and every running node must answer the exact totals by device and gateway,
// and all digests must be equal. HOLDFAST_SEED repeats a run's choices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, withCluster } from './cluster.mjs';
import { Load, makeFleet, Watcher } from './fleet.mjs';
import { assertExact } from './gateways.mjs';
import { Random, seedFromEnvironment } from './random.mjs';

const KILLS = Number(process.env.HOLDFAST_KILLS || 50);

test(`${KILLS} kills of random nodes lose and invent nothing`, async (t) => {
    const rng = new Random(seedFromEnvironment());
    t.diagnostic(`HOLDFAST_SEED=${rng.seed} HOLDFAST_KILLS=${KILLS}`);
    console.log(`HOLDFAST_SEED=${rng.seed} HOLDFAST_KILLS=${KILLS}`);
    const started = Date.now();
    const from = started - 120000;
    await withCluster({ label: 'kill' }, async (cluster) => {
        const { location, natives, legacies } = await makeFleet(cluster, rng);
        const load = new Load(natives, legacies, rng);
        const query = { from, location: location.id };
        const watcher = new Watcher(cluster, load, query);
        for (const agent of natives) agent.tick();
        for (const gateway of legacies) gateway.start();
        await Promise.all(legacies.map((gateway) => gateway.settle()));
        watcher.start();
        let leaders = 0;
        for (let kill = 1; kill <= KILLS; kill++) {
            load.start();
            await sleep(rng.between(150, 900));
            const victim = rng.pick(cluster.nodes);
            const leads = (await victim.metrics().catch(() => ({})))
                .holdfast_raft_is_leader === 1;
            leaders += leads ? 1 : 0;
            try {
                await victim.kill();
                await sleep(rng.chance(0.5) ? 0 : rng.between(0, 800));
                victim.start();
                await sleep(rng.between(100, 700));
                await load.drain();
                await victim.ready();
                await assertExact(cluster, load.all(), query);
                await cluster.digest();
                cluster.assertNoSurprises();
            } catch (error) {
                error.message = `kill ${kill} (${victim.name}` +
                    `${leads ? ', leader' : ''}), seed ${rng.seed}: ` +
                    error.message;
                throw error;
            }
            if (kill % 10 === 0 || kill === KILLS) {
                console.log(`${kill} kills (${leaders} of leaders), ` +
                    `${load.ticks} ticks, ${load.resets} resets, ` +
                    `${watcher.reads} reads, ` +
                    `${Math.round((Date.now() - started) / 1000)} s`);
            }
        }
        await watcher.stop();
        assert.ok(load.ticks > KILLS, 'there was load');
    });
});
