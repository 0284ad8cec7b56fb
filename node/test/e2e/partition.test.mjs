// Five nodes, and every way in which a network falls apart: what has a quorum
// goes on, what has none acknowledges nothing, everybody answers reads, and
// afterwards nothing is lost and nothing counted twice. HOLDFAST_PEER_TLS=1:
// the same between nodes that talk TLS.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sleep, until } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const HOLD_MS = 1000;
const skip = await enterLab(import.meta.url);

describe('A network of five nodes', { skip }, () => {
    let ordeal, cluster;
    before(async () => {
        ordeal = await Ordeal.start({
            label: 'partition', peerTls: Boolean(process.env.HOLDFAST_PEER_TLS),
        });
        cluster = ordeal.cluster;
    });
    after(() => ordeal?.end());

    const minority = async (group, rest) => {
        await cluster.partition(group, rest);
        await Promise.all([
            ordeal.silence(HOLD_MS, ...group), ordeal.progress(...rest),
        ]);
        await ordeal.silence(HOLD_MS / 2, ...group);
    };

    test('loses its leader: the others go on', () =>
        ordeal.through((leader, others) => minority([leader], others)));

    test('loses its leader and one more: three go on', () =>
        ordeal.through((leader, [one, ...others]) =>
            minority([leader, one], others)));

    test('loses a follower, which comes back', () =>
        ordeal.through((leader, [one, ...others]) =>
            minority([one], [leader, ...others])));

    test('loses two followers', () =>
        ordeal.through((leader, [one, two, ...others]) =>
            minority([one, two], [leader, ...others])));

    test('falls into three parts without a quorum: all wait', () =>
        ordeal.through(async (leader, [one, two, three, four]) => {
            await cluster.partition([leader, one], [two, three], [four]);
            await ordeal.silence(2 * HOLD_MS, ...cluster.nodes);
        }));

    test('has a leader that hears and is not heard', () =>
        ordeal.through(async (leader, others) => {
            await cluster.allow((from) => from !== leader);
            await ordeal.progress(...others);
            await sleep(HOLD_MS);
        }));

    test('has a leader that is heard and does not hear', () =>
        ordeal.through(async (leader, others) => {
            await cluster.allow((from, to) => to !== leader);
            await ordeal.progress(...others);
            await sleep(HOLD_MS);
        }));

    test('has a follower that hears and is not heard', () =>
        ordeal.through(async (leader, [one, ...others]) => {
            await cluster.allow((from) => from !== one);
            await ordeal.progress(leader, ...others);
            await sleep(HOLD_MS);
        }));

    test('has a follower that is heard and does not hear', () =>
        ordeal.through(async (leader, [one, ...others]) => {
            await cluster.allow((from, to) => to !== one);
            await ordeal.progress(leader, ...others);
            await sleep(HOLD_MS);
        }));

    test('has a follower that the leader alone cannot reach', () =>
        ordeal.through(async (leader, [one, ...others]) => {
            await cluster.partition([leader, ...others], [one, ...others]);
            await ordeal.progress(leader, ...others);
            await until(`${one.name} says so`, () =>
                /unheard.* has a leader, but that has not reached/
                    .test(one.log()), 30000);
        }));

    test('is two halves that share one node, which does not lead', () =>
        ordeal.through(async (leader, [bridge, one, two, three]) => {
            await cluster.partition([leader, one, bridge],
                [two, three, bridge]);
            await ordeal.progress(bridge);
            await sleep(HOLD_MS);
        }));

    test('is two halves that share their leader', () =>
        ordeal.through(async (leader, [one, two, three, four]) => {
            await cluster.partition([one, two, leader], [three, four, leader]);
            await ordeal.progress(...cluster.nodes);
            await sleep(HOLD_MS);
        }));

    test('is a ring in which each sees its neighbours', () =>
        ordeal.through(async (leader, others) => {
            const ring = [leader, ...others];
            await cluster.partition(...ring.map((node, i) =>
                [node, ring[(i + 1) % ring.length]]));
            await ordeal.progress(leader, others[0], others[3]);
            await sleep(HOLD_MS);
        }));

    test('has a link to its leader that comes and goes', () =>
        ordeal.through(async (leader, [one, ...others]) => {
            for (let i = 0; i < 12; i++) {
                await cluster.partition([leader, ...others],
                    i % 2 === 0 ? [one, ...others] : cluster.nodes);
                await sleep(ordeal.rng.between(50, 500));
            }
        }));

    test('has a leader that comes and goes', () =>
        ordeal.through(async (leader, others) => {
            for (let i = 0; i < 8; i++) {
                await cluster.partition(others,
                    i % 2 === 0 ? [leader] : cluster.nodes);
                await sleep(ordeal.rng.between(100, 1200));
            }
        }));

    test('has firewalls that refuse its leader', () =>
        ordeal.through(async (leader, others) => {
            await cluster.allow((from, to) => from !== leader && to !== leader,
                'reject with tcp reset');
            await Promise.all([
                ordeal.silence(HOLD_MS, leader), ordeal.progress(...others),
            ]);
        }));

    test('has a firewall between its leader and two others', () =>
        ordeal.through(async (leader, [one, two, ...others]) => {
            await cluster.allow((from, to) => ![from, to].includes(leader) ||
                others.includes(from) || others.includes(to),
            'reject with tcp reset');
            await ordeal.progress(...others);
            await sleep(HOLD_MS);
        }));

    test('loses every fifth packet', () =>
        ordeal.through(async () => {
            await cluster.allow(() => false,
                'numgen random mod 100 < 20 drop');
            await sleep(2 * HOLD_MS);
        }));

    test('is over after long without a false alarm', () =>
        ordeal.through(async (leader, [one, ...others]) => {
            const said = () => one.log().match(/unheard/g)?.length ?? 0;
            const before = said();
            await cluster.partition([leader, ...others], [one]);
            await ordeal.progress(leader, ...others);
            await sleep(11000);
            await cluster.heal();
            await ordeal.progress(one);
            assert.equal(said(), before);
        }));
});
