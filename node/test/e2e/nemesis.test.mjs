// A random schedule of faults, HOLDFAST_FAULTS times: one to three at once of
// partitions, one-way cuts, lost packets, frozen and killed nodes; a killed
// node may stay away until the end of its round. HOLDFAST_SEED repeats a run's
// choices.
import { after, before, describe, test } from 'node:test';
import { sleep } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const FAULTS = Number(process.env.HOLDFAST_FAULTS || 6);
const skip = await enterLab(import.meta.url);

describe(`${FAULTS} random faults of five nodes`, { skip }, () => {
    let ordeal, cluster, rng;
    before(async () => {
        ordeal = await Ordeal.start({ label: 'nemesis' });
        ({ cluster, rng } = ordeal);
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
        async heal() {
            await cluster.heal();
            return '';
        },
    };

    for (let round = 1; round <= FAULTS; round++) {
        test(`fault ${round}`, () => ordeal.through(async () => {
            const told = [];
            for (let i = 1 + rng.below(3); i > 0; i--) {
                const kind = rng.pick(Object.keys(faults));
                told.push(`${kind} ${await faults[kind]()}`);
                await sleep(rng.between(50, 2000));
            }
            console.log(`  ${told.join(', ')}`);
        }));
    }
});
