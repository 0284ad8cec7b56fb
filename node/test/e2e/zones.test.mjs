// Three data centers of 2 + 2 + 1 nodes, 40 ms each way between the two large
// ones. Any one of them may vanish: the others go on after a moment, whose
// length is printed, and every node answers reads all the time, the lost ones
// too.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sleep } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const GAP_MS_MAX = 15000; // that it ends; how fast it does is printed
const skip = await enterLab(import.meta.url);

describe('Of three data centers', { skip }, () => {
    let ordeal, cluster;
    before(async () => {
        ordeal = await Ordeal.start({
            label: 'zones', zones: ['a', 'a', 'b', 'b', 'c'], delayMs: 40,
            far: (one, other) => [one, other].sort().join('') === 'ab',
        });
        cluster = ordeal.cluster;
    });
    after(() => ordeal?.end());

    const split = (zone) => {
        const lost = cluster.nodes.filter((node) => node.zone === zone);
        const rest = cluster.nodes.filter((node) => node.zone !== zone);
        return { lost, rest };
    };

    const measured = async (t, leader, rest, make) => {
        ordeal.forgetGaps(...rest);
        await make();
        await ordeal.progress(...rest);
        await sleep(2000);
        const gap = ordeal.longestGap(...rest);
        t.diagnostic(`led by ${leader.zone}: ${gap} ms without writes`);
        console.log(`  led by zone ${leader.zone}: longest gap ${gap} ms`);
        assert.ok(gap < GAP_MS_MAX, `${gap} ms`);
    };

    for (const zone of ['a', 'b', 'c']) {
        test(`${zone} is cut off`, (t) => ordeal.through((leader) => {
            const { lost, rest } = split(zone);
            return measured(t, leader, rest, () =>
                cluster.partition(lost, rest));
        }));

        test(`${zone} loses its power`, (t) => ordeal.through(
            async (leader) => {
                const { lost, rest } = split(zone);
                await measured(t, leader, rest, () =>
                    Promise.all(lost.map((node) => node.kill())));
                for (const node of lost) node.start();
                await Promise.all(lost.map((node) => node.ready()));
            }));
    }

    test('the line between the large ones breaks', (t) => ordeal.through(
        async (leader) => {
            const zones = (...names) => cluster.nodes.filter((node) =>
                names.includes(node.zone));
            await cluster.partition(zones('a', 'c'), zones('b', 'c'));
            await ordeal.progress(leader);
            await sleep(2000);
        }));
});
