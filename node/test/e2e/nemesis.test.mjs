// Random faults: partitions, one-way cuts, lost packets, frozen and killed
// nodes; after each round everything heals and the books must balance: bytes
// into the gateways = bytes in the buckets of every tier, by device, gateway
// and location, on every node. HOLDFAST_SEED repeats a run's choices.
//   HOLDFAST_FAULTS=6        rounds of one to three faults at once (the default)
//   HOLDFAST_SCHEDULES=10 HOLDFAST_SCHEDULE_SECONDS=60
//                            instead: rounds of one fault after the other, for
//                            so long, none healed but by another fault
import { after, before, describe, test } from 'node:test';
import { sleep } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const SCHEDULES = Number(process.env.HOLDFAST_SCHEDULES || 0);
const SCHEDULE_MS =
    1000 * Number(process.env.HOLDFAST_SCHEDULE_SECONDS || 60);
const FAULTS = SCHEDULES ? 0 : Number(process.env.HOLDFAST_FAULTS || 6);
const skip = await enterLab(import.meta.url);

describe(SCHEDULES
    ? `${SCHEDULES} schedules of ${SCHEDULE_MS / 1000} s for five nodes`
    : `${FAULTS} random faults of five nodes`, { skip }, () => {
    let ordeal, cluster, rng;
    before(async () => {
        ordeal = await Ordeal.start({ label: 'nemesis' });
        ({ cluster, rng } = ordeal);
        if (SCHEDULES) ordeal.load.resetPatienceMs = SCHEDULE_MS + 60000;
    });
    after(() => ordeal?.end());

    const some = () => rng.shuffle(cluster.nodes).slice(0, 1 + rng.below(4));

    // Each returns what it did.
    const faults = {
        async partition() {
            const side = some();
            await cluster.partition(side,
                cluster.nodes.filter((node) => !side.includes(node)));
            return side.map((node) => node.name).join('+');
        },
        async oneWay() {
            const cuts = cluster.pairs().filter(() => rng.chance(0.3));
            await cluster.allow((from, to) =>
                !cuts.some(([a, b]) => a === from && b === to));
            return cuts.map(([a, b]) => `${a.name}>${b.name}`).join(' ');
        },
        async loss() {
            const percent = 5 + rng.below(30);
            await cluster.allow(() => false,
                `numgen random mod 100 < ${percent} drop`);
            return `${percent} %`;
        },
        async freeze() {
            const nodes = some().filter((node) => node.running);
            for (const node of nodes) node.freeze();
            return nodes.map((node) => node.name).join(' ');
        },
        async thaw() {
            for (const node of cluster.nodes) if (node.frozen) node.thaw();
            return '';
        },
        async kill() {
            const nodes = some().filter((node) => node.running);
            await Promise.all(nodes.map((node) => node.kill()));
            if (rng.chance(0.5)) for (const node of nodes) node.start();
            return nodes.map((node) => node.name).join(' ');
        },
        async revive() {
            const nodes = cluster.nodes.filter((node) => !node.running);
            for (const node of nodes) node.start();
            return nodes.map((node) => node.name).join(' ');
        },
        async heal() {
            await cluster.heal();
            return '';
        },
    };

    const anyFault = async () => {
        const kind = rng.pick(Object.keys(faults));
        return `${kind} ${await faults[kind]()}`;
    };

    for (let round = 1; round <= SCHEDULES; round++) {
        test(`schedule ${round}`, () => ordeal.through(async () => {
            const end = Date.now() + SCHEDULE_MS;
            const told = [];
            while (Date.now() < end) {
                told.push(await anyFault());
                await sleep(Math.min(rng.between(50, 5000),
                    Math.max(0, end - Date.now())));
            }
            console.log(`  ${told.join(', ')}`);
        }));
    }

    for (let round = 1; round <= FAULTS; round++) {
        test(`fault ${round}`, () => ordeal.through(async () => {
            const told = [];
            for (let i = 1 + rng.below(3); i > 0; i--) {
                told.push(await anyFault());
                await sleep(rng.between(50, 2000));
            }
            console.log(`  ${told.join(', ')}`);
        }));
    }
});
