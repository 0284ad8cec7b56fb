// Members come and go under load: nodes join, a follower and the leader lose
// their disks, a joining node is killed again and again, one is removed. Nobody
// does anything but start a process or send one request; reports go on, and
// every member ends with exactly the
// same data.
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { sleep, until } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const PATIENCE_MS = 120000;
const skip = await enterLab(import.meta.url);

describe('Members under load', { skip }, () => {
    let ordeal, cluster;
    before(async () => {
        ordeal = await Ordeal.start({ label: 'member', size: 3 });
        cluster = ordeal.cluster;
    });
    after(() => ordeal?.end());

    const roles = async () => {
        const leader = await cluster.leader();
        const { nodes } = await leader.call('GET', '/api/v1/cluster');
        return nodes.map((node) => `${node.name} ${node.role}`).sort();
    };

    const becomes = (...expected) => until(`members: ${expected.join(', ')}`,
        async () => {
            const found = await roles().catch((error) => [error.message]);
            if (found.join() === [...expected].sort().join()) return true;
            throw new Error(found.join(', '));
        }, PATIENCE_MS, 200);

    const loseDisk = async (node) => {
        await node.kill();
        fs.rmSync(node.dataDir, { recursive: true });
        node.start();
        await node.ready(PATIENCE_MS);
    };

    test('a fourth node joins and waits', () => ordeal.through(async () => {
        const node = ordeal.addNode();
        node.start();
        await node.ready(PATIENCE_MS);
        await becomes('n1 voter', 'n2 voter', 'n3 voter', 'n4 standby');
        await ordeal.progress(...cluster.nodes);
    }));

    test('a fifth joins: all vote', () => ordeal.through(async () => {
        const node = ordeal.addNode();
        node.start();
        await node.ready(PATIENCE_MS);
        await becomes('n1 voter', 'n2 voter', 'n3 voter', 'n4 voter',
            'n5 voter');
        await ordeal.progress(...cluster.nodes);
    }));

    const all = ['n1 voter', 'n2 voter', 'n3 voter', 'n4 voter', 'n5 voter'];

    test('a follower loses its disk', () => ordeal.through(
        async (leader, [one]) => {
            await loseDisk(one);
            await becomes(...all);
        }));

    test('the leader loses its disk', () => ordeal.through(async (leader) => {
        await loseDisk(leader);
        await becomes(...all);
    }));

    test('a joining node is killed, and a partition comes in between', () =>
        ordeal.through(async (leader, [one, two, ...others]) => {
            await one.kill();
            fs.rmSync(one.dataDir, { recursive: true });
            for (let i = 0; i < 3; i++) {
                one.start();
                await sleep(ordeal.rng.between(100, 1500));
                await one.kill();
            }
            await cluster.partition([two], [leader, one, ...others]);
            one.start();
            await sleep(1500);
            await cluster.heal();
            await one.ready(PATIENCE_MS);
            await becomes(...all);
        }));

    test('a node is removed for good', () => ordeal.through(
        async (leader, [gone, asked]) => {
            await until('the request is taken', async () => {
                const answer = await asked.request('DELETE',
                    `/api/v1/cluster/members/${gone.name}`, undefined,
                    { timeoutMs: 25000 });
                // 404: an earlier answer was lost.
                if (answer.status < 300 || answer.status === 404) return true;
                throw new Error(`${answer.status} ${answer.text}`);
            }, PATIENCE_MS, 500);
            await until(`${gone.name} is no member`, async () =>
                !(await roles()).some((role) => role.startsWith(
                    `${gone.name} `)), PATIENCE_MS, 200);
            await gone.kill('SIGTERM');
            ordeal.forget(gone);
        }));
});
