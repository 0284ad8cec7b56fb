// Nodes that come back at other addresses behind their old names, as pods do:
// names are asked at every connect, and a node that answers at an address which
// was another's before is not taken for it.
import { after, before, describe, test } from 'node:test';
import { sleep } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const skip = await enterLab(import.meta.url);

describe('Names with other addresses', { skip }, () => {
    let ordeal, cluster;
    before(async () => {
        ordeal = await Ordeal.start({ label: 'address' });
        cluster = ordeal.cluster;
    });
    after(() => ordeal?.end());

    // Gives @nodes the addresses @last (10.90.0.x) while none of them runs.
    const move = async (nodes, last, signal) => {
        await Promise.all(nodes.map((node) => node.kill(signal)));
        nodes.forEach((node, i) => node.readdress(last[i]));
        cluster.writeHosts();
        ordeal.tellAddresses();
        for (const node of nodes) node.start();
        await Promise.all(nodes.map((node) => node.ready()));
    };

    test('all at once, after a power cut', () =>
        ordeal.through(() =>
            move(cluster.nodes, [11, 12, 13, 14, 15], 'SIGKILL')));

    test('all at once, each with the address of another', () =>
        ordeal.through(() =>
            move(cluster.nodes, [12, 13, 14, 15, 11], 'SIGKILL')));

    test('one after the other', () =>
        ordeal.through(async (leader, others) => {
            for (const [i, node] of [...others, leader].entries()) {
                await move([node], [21 + i], 'SIGTERM');
                await ordeal.progress(node);
            }
        }));

    test('two that change places', () =>
        ordeal.through(async (leader, [one]) => {
            const at = (node) => Number(node.host.split('.')[3]);
            await move([leader, one], [at(one), at(leader)], 'SIGKILL');
            await ordeal.progress(...cluster.nodes);
        }));

    test('a name that means nothing for a while', () =>
        ordeal.through(async (leader, [one]) => {
            cluster.writeHosts((node) => node !== one);
            await cluster.partition([one], cluster.nodes
                .filter((node) => node !== one));
            await sleep(3500); // until the links to it are given up
            await cluster.heal();
            await sleep(500);
            cluster.writeHosts();
            await ordeal.progress(one);
        }));
});
