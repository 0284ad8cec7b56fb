// kill -9 of a random node at random moments, HOLDFAST_KILLS times, under the
// load of native and defguard gateways that share their devices, with resets,
// moves and restarts of agents among them. After each kill the gateways drain
// and every running node must answer the exact totals by device and gateway,
// and all digests must be equal. HOLDFAST_SEED repeats a run's choices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GATEWAY_SECRET, sleep, until, withCluster } from './cluster.mjs';
import { assertExact, DefguardGateway, NativeGateway } from './gateways.mjs';
import { Random, seedFromEnvironment } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

const KILLS = Number(process.env.HOLDFAST_KILLS || 50);
const TICK_MS = 40;

// The load: everybody ticks until stopped; agents move, restart and reset.
class Load {
    constructor(natives, legacies, rng) {
        Object.assign(this, { natives, legacies, rng });
        this.resets = 0;
        this.ticks = 0;
    }

    all() {
        return [...this.natives, ...this.legacies];
    }

    async run() {
        this.running = true;
        this.error = null;
        const resets = [];
        while (this.running) {
            for (const agent of this.natives) this.tickNative(agent);
            for (const gateway of this.legacies) {
                if (!gateway.resetting) gateway.tick();
            }
            if (this.rng.chance(0.02)) resets.push(this.resetLegacy());
            this.ticks += 1;
            await sleep(TICK_MS);
        }
        await Promise.all(resets);
        if (this.error) throw this.error;
    }

    tickNative(agent) {
        if (this.rng.chance(0.03)) agent.reset(this.rng.pick(agent.peers));
        agent.tick();
        if (this.rng.chance(0.01)) agent.move();
        if (this.rng.chance(0.01) && agent.spool.length === 0) {
            agent.startSession(Date.now());
        }
    }

    async resetLegacy() {
        const gateway = this.rng.pick(this.legacies);
        if (gateway.resetting) return;
        gateway.resetting = true;
        try {
            if (await gateway.reset(this.rng.pick(gateway.peers))) {
                this.resets += 1;
            }
        } catch (error) {
            this.error = error;
        } finally {
            gateway.resetting = false;
        }
    }

    start() {
        this.done = this.run();
        this.done.catch(() => {});
    }

    // Stops the traffic and waits until all of it is acknowledged.
    async drain() {
        this.running = false;
        await this.done;
        for (const agent of this.natives) agent.tick({ quiet: true });
        await Promise.all([
            ...this.natives.map((agent) => agent.drained()),
            ...this.legacies.map((gateway) => gateway.settle({ pause: true })),
        ]);
        for (const gateway of this.all()) gateway.assertClean();
    }
}

async function makeFleet(cluster, rng) {
    const location = await cluster.createLocation(cluster.nodes[0], 'kill');
    const keys = Array.from({ length: 12 }, () => randomKey(rng));
    for (const [i, key] of keys.entries()) {
        await cluster.createDevice(rng.pick(cluster.nodes), `user-${i % 4}`,
            `device-${i}`, key);
    }
    for (const node of cluster.nodes) {
        await until(`${node.name} knows the devices`, async () =>
            (await node.call('GET', '/api/v1/device')).length === keys.length);
    }
    const common = {
        cluster, rng,
        token: gatewayToken(GATEWAY_SECRET, location.id),
    };
    // Each device is on two gateways of each kind.
    const half = (i) => i % 2 === 0 ? keys.slice(0, 6) : keys.slice(6);
    const natives = [0, 1, 2, 3].map((i) => new NativeGateway({
        ...common, hostname: `agent-${i}`, id: `agent-id-${i}`, keys: half(i),
    }));
    const legacies = [0, 1, 2, 3].map((i) => new DefguardGateway({
        ...common, hostname: `defguard-${i}`, name: `gateway ${i}`,
        keys: half(i),
    }));
    return { location, natives, legacies };
}

// Reads of a running node never go back and never exceed what was moved.
class Watcher {
    constructor(cluster, load, query) {
        Object.assign(this, { cluster, load, query });
        this.highest = new Map();
        this.reads = 0;
        this.faults = [];
    }

    start() {
        this.running = true;
        this.done = this.run();
    }

    async run() {
        while (this.running) {
            for (const node of this.cluster.running) {
                const pid = node.pid();
                const answer = await node.totals('none', this.query)
                    .catch(() => null);
                if (!answer || node.pid() !== pid) continue;
                this.check(node, pid, [...answer.values()][0]);
            }
            await sleep(100);
        }
    }

    check(node, pid, total = { upload: 0, download: 0 }) {
        const moved = this.load.all().reduce((sum, gateway) =>
            sum + gateway.expected.total().upload, 0);
        const before = this.highest.get(pid) ?? 0;
        this.reads += 1;
        if (total.upload < before) {
            this.faults.push(`${node.name} went back: ${before} -> ` +
                `${total.upload}`);
        }
        if (total.upload > moved) {
            this.faults.push(`${node.name} counts ${total.upload}, ` +
                `moved ${moved}`);
        }
        this.highest.set(pid, Math.max(before, total.upload));
    }

    async stop() {
        this.running = false;
        await this.done;
        assert.deepEqual(this.faults, []);
    }
}

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
