// One node's wall clock jumps, ahead and back, while it leads and while it
// follows. Log time is held to the median of the voters' clocks, so every byte
// stays in its minute: the totals of the last minutes must be exact.
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { sleep, until } from './cluster.mjs';
import { enterLab } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const HOUR_S = 3600;

// libfaketime, of the Debian package of this name.
function findLibrary() {
    for (const architecture of fs.readdirSync('/usr/lib')) {
        const file =
            `/usr/lib/${architecture}/faketime/libfaketime.so.1`;
        if (fs.existsSync(file)) return file;
    }
    return null;
}

const library = findLibrary();
const skip = await enterLab(import.meta.url) ||
    (library ? false : 'libfaketime is not installed');

describe('The clock of one of five nodes', { skip }, () => {
    let ordeal, cluster;
    before(async () => {
        ordeal = await Ordeal.start({
            label: 'clock',
            prepare(node) {
                node.clockFile = `${node.hostsFile}.clock`;
                setClock(node, 0);
                node.environment = [
                    `LD_PRELOAD=${library}`,
                    `FAKETIME_TIMESTAMP_FILE=${node.clockFile}`,
                    'FAKETIME_CACHE_DURATION=1',
                    'FAKETIME_DONT_FAKE_MONOTONIC=1',
                ];
            },
        });
        cluster = ordeal.cluster;
    });
    after(() => ordeal?.end());

    const setClock = (node, seconds) => fs.writeFileSync(node.clockFile,
        `${seconds < 0 ? '' : '+'}${seconds}\n`);

    // The Date of an answer is the wall clock: proof that it really jumps.
    const jump = async (node, seconds) => {
        setClock(node, seconds);
        await until(`the clock of ${node.name} jumps`, async () => {
            const { headers } = await node.get('/livez');
            const off = Date.parse(headers.date) - Date.now();
            return Math.abs(off - seconds * 1000) < 60000;
        });
        await sleep(800);
        await ordeal.progress(...cluster.nodes);
    };

    const way = (seconds) => `${seconds > 0 ? '+' : ''}${seconds / HOUR_S} h`;

    for (const seconds of [HOUR_S, -HOUR_S, 400 * 24 * HOUR_S]) {
        test(`of the leader: ${way(seconds)} and back`, () =>
            ordeal.through(async (leader) => {
                await jump(leader, seconds);
                await jump(leader, 0);
            }));
    }

    for (const seconds of [HOUR_S, -HOUR_S]) {
        test(`of a follower that becomes the leader: ${way(seconds)}`, () =>
            ordeal.through(async (leader, [one, ...others]) => {
                await jump(one, seconds);
                await cluster.partition([leader], [one, ...others]);
                await ordeal.progress(one, ...others);
                await cluster.heal();
                await jump(one, 0);
            }));
    }
});
