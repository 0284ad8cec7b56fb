// A fleet of simulated gateways under load, and a watcher of what the nodes
// answer meanwhile: what the tests of failures have in common.
import assert from 'node:assert/strict';
import { GATEWAY_SECRET, sleep, until } from './cluster.mjs';
import { DefguardGateway, NativeGateway } from './gateways.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

const TICK_MS = 40;

// The load: everybody ticks until stopped; agents move, restart and reset.
export class Load {
    constructor(natives, legacies, rng) {
        Object.assign(this, { natives, legacies, rng });
        this.resets = 0;
        this.resetPatienceMs = 20000; // without a quorum nothing commits
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
            const peer = this.rng.pick(gateway.peers);
            const patience = { timeoutMs: this.resetPatienceMs };
            if (await gateway.reset(peer, patience)) this.resets += 1;
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
    async drain(timeoutMs = 20000) {
        this.running = false;
        await this.done;
        for (const agent of this.natives) agent.tick({ quiet: true });
        await Promise.all([
            ...this.natives.map((agent) => agent.drained(timeoutMs)),
            ...this.legacies.map((gateway) =>
                gateway.settle({ pause: true, timeoutMs })),
        ]);
        for (const gateway of this.all()) gateway.assertClean();
    }
}

// Four gateways of each kind that go to any node; each device is on two of
// each. With @local also one agent per node that goes nowhere else, as .local
// says in the order of the nodes.
export async function makeFleet(cluster, rng, { local = false } = {}) {
    const location = await cluster.createLocation(cluster.nodes[0], 'fleet');
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
    const half = (i) => i % 2 === 0 ? keys.slice(0, 6) : keys.slice(6);
    const natives = [0, 1, 2, 3].map((i) => new NativeGateway({
        ...common, hostname: `agent-${i}`, id: `agent-id-${i}`, keys: half(i),
    }));
    const legacies = [0, 1, 2, 3].map((i) => new DefguardGateway({
        ...common, hostname: `defguard-${i}`, name: `gateway ${i}`,
        keys: half(i),
    }));
    const makeLocal = (node) => new NativeGateway({
        ...common, hostname: `local-${node.name}`, id: `local-${node.name}`,
        keys: half(cluster.nodes.indexOf(node)), nodes: [node],
    });
    const bound = local ? cluster.nodes.map(makeLocal) : [];
    return {
        location, natives: [...natives, ...bound], legacies, local: bound,
        makeLocal,
    };
}

// Reads of a node that runs always come, never go back, and never exceed what
// was moved.
export class Watcher {
    constructor(cluster, load, query) {
        Object.assign(this, { cluster, load, query });
        this.highest = new Map();
        this.reads = 0;
        this.slowestMs = 0;
        this.faults = [];
    }

    start() {
        this.running = true;
        this.watches = [];
        for (const node of this.cluster.nodes) this.add(node);
    }

    add(node) {
        this.watches.push(this.watch(node));
    }

    async watch(node) {
        while (this.running) {
            if (node.running && !node.frozen) await this.read(node);
            await sleep(100);
        }
    }

    async read(node) {
        const { child, freezes } = node;
        const asked = Date.now();
        try {
            const answer = await node.totals('none', this.query);
            if (node.child === child) {
                this.check(node, child.pid, [...answer.values()][0]);
            }
        } catch (error) {
            // Not yet listening, frozen or killed meanwhile: no fault.
            if (this.highest.has(child.pid) && node.child === child &&
                node.freezes === freezes && !node.frozen &&
                !node.expectedExit && this.running) {
                this.faults.push(`${node.name} does not answer: ` +
                    error.message);
            }
            return;
        }
        if (node.freezes === freezes) {
            this.slowestMs = Math.max(this.slowestMs, Date.now() - asked);
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

    assertClean() {
        assert.deepEqual(this.faults, []);
    }

    async stop() {
        this.running = false;
        await Promise.all(this.watches);
        this.assertClean();
    }
}
