// A cluster in the lab under load, and one fault after the other: each is made,
// held and healed; then everything drains and the totals must be exact, the
// digests equal, one leader followed by all, and no log may tell of an error.
import assert from 'node:assert/strict';
import { sleep, until } from './cluster.mjs';
import { Load, makeFleet, Watcher } from './fleet.mjs';
import { assertExact } from './gateways.mjs';
import { LabCluster } from './netlab.mjs';
import { Random, seedFromEnvironment } from './random.mjs';

const PATIENCE_MS = 60000; // nothing here is about speed on a busy machine

export class Ordeal {
    // @options: of LabCluster.create.
    static async start(options) {
        const ordeal = new Ordeal();
        ordeal.rng = new Random(seedFromEnvironment());
        console.log(`HOLDFAST_SEED=${ordeal.rng.seed}`);
        const from = Date.now() - 120000;
        ordeal.cluster = await LabCluster.start(options);
        try {
            const fleet = await makeFleet(ordeal.cluster, ordeal.rng,
                { local: true });
            ordeal.local = fleet.local;
            ordeal.load = new Load(fleet.natives, fleet.legacies, ordeal.rng);
            ordeal.query = { from, location: fleet.location.id };
            ordeal.makeLocal = (node) => {
                const agent = fleet.makeLocal(node);
                ordeal.noteAcks(agent);
                return agent;
            };
            for (const agent of fleet.local) ordeal.noteAcks(agent);
            for (const agent of fleet.natives) agent.tick();
            for (const gateway of fleet.legacies) gateway.start();
            await Promise.all(fleet.legacies.map((gateway) =>
                gateway.settle({ timeoutMs: PATIENCE_MS })));
            ordeal.watcher = new Watcher(ordeal.cluster, ordeal.load,
                ordeal.query);
            ordeal.watcher.start();
        } catch (error) {
            await ordeal.cluster.stop({ keep: true });
            throw error;
        }
        return ordeal;
    }

    noteAcks(agent) {
        agent.newestAcked = 0; // sampled_at_ms
        agent.onAcknowledged = (entry) => {
            const now = Date.now();
            if (agent.lastAckMs) {
                agent.longestGapMs = Math.max(agent.longestGapMs ?? 0,
                    now - agent.lastAckMs);
            }
            agent.lastAckMs = now;
            agent.newestAcked = Math.max(agent.newestAcked,
                entry.batch.sampled_at_ms);
        };
    }

    // A node that will join, with an agent of its own from now on.
    addNode(zone) {
        const node = this.cluster.addNode(zone);
        this.local.push(this.makeLocal(node));
        this.load.natives.push(this.local.at(-1));
        this.watcher.add(node);
        this.tellAddresses();
        return node;
    }

    // A node that left for good: its agent reports to the others.
    forget(node) {
        const { nodes } = this.cluster;
        const index = nodes.indexOf(node);
        nodes.splice(index, 1);
        this.local.splice(index, 1);
        node.unplug();
        for (const gateway of this.load.all()) {
            gateway.addresses = gateway.addresses
                .filter((address) => address !== node.grpc);
            if (gateway.addresses.length === 0) {
                gateway.addresses = nodes.map((other) => other.grpc);
            }
        }
    }

    // Gateways learn where the nodes are now.
    tellAddresses() {
        const { nodes } = this.cluster;
        for (const gateway of this.load.all()) {
            gateway.addresses = nodes.map((node) => node.grpc);
        }
        for (const node of nodes) this.localOf(node).addresses = [node.grpc];
    }

    forgetGaps(...nodes) {
        for (const node of nodes) this.localOf(node).longestGapMs = 0;
    }

    // The longest time between two acknowledgements at any of @nodes.
    longestGap(...nodes) {
        return Math.max(...nodes.map((node) =>
            this.localOf(node).longestGapMs));
    }

    localOf(node) {
        return this.local[this.cluster.nodes.indexOf(node)];
    }

    // The agents at @nodes get something acknowledged that is sampled from now
    // on.
    async progress(...nodes) {
        const since = Date.now();
        await Promise.all(nodes.map((node) => until(
            `reports to ${node.name} are acknowledged`,
            () => this.localOf(node).newestAcked > since, PATIENCE_MS, 5)));
        return Date.now() - since;
    }

    // For @ms nothing that is sampled from now on is acknowledged at @nodes.
    async silence(ms, ...nodes) {
        const since = Date.now();
        await sleep(ms);
        for (const node of nodes) {
            const { newestAcked } = this.localOf(node);
            assert.ok(newestAcked <= since, `${node.name} acknowledged ` +
                `without a quorum what was sampled ${newestAcked - since} ms ` +
                'after the cut');
        }
    }

    // @fault(leader, others) makes and holds it; healing is ours.
    async through(fault) {
        const { cluster, load } = this;
        const leader = await cluster.settled(PATIENCE_MS);
        const others = this.rng.shuffle(
            cluster.nodes.filter((node) => node !== leader));
        load.start();
        try {
            await sleep(300);
            await fault(leader, others);
        } finally {
            await cluster.heal();
            for (const node of cluster.nodes) {
                if (node.frozen) node.thaw();
                if (!node.running) node.start();
            }
        }
        await Promise.all(cluster.nodes.map((node) =>
            node.ready(PATIENCE_MS)));
        await this.recovered();
    }

    async recovered() {
        const { cluster, load, watcher } = this;
        const healed = Date.now();
        await cluster.settled(PATIENCE_MS);
        const settledMs = Date.now() - healed;
        await this.progress(...cluster.running);
        await load.drain(PATIENCE_MS);
        await assertExact(cluster, load.all(), this.query);
        await cluster.digest();
        watcher.assertClean();
        cluster.assertNoSurprises();
        console.log(`  settled ${settledMs} ms after the fault; ` +
            `${load.ticks} ticks, ${watcher.reads} reads, slowest ` +
            `${watcher.slowestMs} ms`);
    }

    async end() {
        let failure = null;
        try {
            await this.watcher.stop();
        } catch (error) {
            failure = error;
        }
        await this.cluster.end();
        if (failure) throw failure;
    }
}
