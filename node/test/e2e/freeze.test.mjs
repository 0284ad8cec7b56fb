// Processes that stand still and come back: the machine was paused, the
// hypervisor moved it, the disk hung. A thawed node believes for a moment what
// was true before; it must not act on it.
import { after, before, describe, test } from 'node:test';
import { sleep } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const FROZEN_MS = 1800; // several election timeouts
const skip = await enterLab(import.meta.url);

describe('Of five nodes', { skip }, () => {
    let ordeal, cluster;
    before(async () => {
        ordeal = await Ordeal.start({ label: 'freeze' });
        cluster = ordeal.cluster;
    });
    after(() => ordeal?.end());

    const freeze = async (frozen, rest) => {
        for (const node of frozen) node.freeze();
        if (rest.length > 2) await ordeal.progress(...rest);
        await sleep(FROZEN_MS);
    };

    test('the leader freezes', () =>
        ordeal.through((leader, others) => freeze([leader], others)));

    test('a follower freezes', () =>
        ordeal.through((leader, [one, ...others]) =>
            freeze([one], [leader, ...others])));

    test('the leader and one more freeze', () =>
        ordeal.through((leader, [one, ...others]) =>
            freeze([leader, one], others)));

    test('three freeze: the rest waits', () =>
        ordeal.through(async (leader, [one, two, ...others]) => {
            await freeze([leader, one, two], others);
            await ordeal.silence(1000, ...others);
        }));

    test('all freeze at once', () =>
        ordeal.through(() => freeze(cluster.nodes, [])));

    test('the leader freezes for moments, again and again', () =>
        ordeal.through(async (leader, others) => {
            for (let i = 0; i < 6; i++) {
                leader.freeze();
                await sleep(ordeal.rng.between(100, 900));
                leader.thaw();
                await sleep(ordeal.rng.between(50, 400));
            }
            await ordeal.progress(...others);
        }));

    test('the leader freezes and wakes up alone', () =>
        ordeal.through(async (leader, others) => {
            await freeze([leader], others);
            await cluster.partition([leader], others);
            leader.thaw();
            await ordeal.silence(1500, leader);
        }));

    test('a follower freezes while the leader is cut off', () =>
        ordeal.through(async (leader, [one, ...others]) => {
            one.freeze();
            await cluster.partition([leader], [one, ...others]);
            await ordeal.progress(...others);
            await ordeal.silence(1000, leader);
        }));

    test('the only one that has everything freezes with the leader', () =>
        ordeal.through(async (leader, [one, two, ...others]) => {
            // Three have what is acknowledged now; two of them vanish.
            await cluster.partition([leader, one, two], others);
            await ordeal.progress(leader, one, two);
            leader.freeze();
            one.freeze();
            await cluster.partition([leader, one], [two, ...others]);
            await ordeal.progress(two, ...others);
        }));
});
