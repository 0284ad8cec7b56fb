// The agent's spool on disk: kill -9, full disks, directories that are not
// right, hours without a node, and a real cluster at the other end.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test as always } from 'node:test';
import {
    Agent, Core, Interface, acknowledge, ignore, refuse, sleep, status, until,
} from './fakes.mjs';
import { GATEWAY_SECRET, until as eventually, withCluster } from '../../../node/test/e2e/cluster.mjs';
import { gatewayToken } from '../../../node/test/e2e/wire.mjs';

// WireGuard's sockets lie where only root may make them.
const test = process.getuid() === 0 ? always : always.skip;
const libfaketime = ['x86_64', 'aarch64']
    .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`)
    .find((file) => fs.existsSync(file));
const MINUTE = 60000;
let wg, agent, core, folder, spool;

beforeEach(async () => {
    wg = new Interface();
    wg.peers.set('a', { tx: 1000, rx: 2000 });
    wg.peers.set('b', { tx: 0, rx: 0 });
    await wg.open();
    core = await new Core().open(acknowledge);
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-spool-'));
    spool = path.join(folder, 'spool');
});

afterEach(async () => {
    await agent?.stop('SIGKILL');
    agent = undefined;
    core.close();
    wg.close();
    fs.rmSync(folder, { recursive: true, force: true });
});

const start = (...flags) => {
    agent = new Agent(wg, [core.url], ...flags, '--spool-dir', spool);
};

// Every number once, with one content: { sequence: batch }. Whether an answer is
// awaited depends on what waits behind a batch when it is sent.
function bySequence(batches) {
    const seen = new Map();
    for (const { awaits_answer, ...batch } of batches) {
        const known = seen.get(batch.sequence);
        if (known) assert.deepEqual(batch, known);
        seen.set(batch.sequence, batch);
    }
    return seen;
}

// At the interface, from now on.
function looks(count) {
    const end = wg.looks + count;
    return until(`${count} looks`, () => wg.looks >= end, 15000);
}

test('killed again and again the agent goes on with its session', async () => {
    core.behave = ignore;
    for (let life = 0; life < 5; life++) {
        start();
        await looks(4);
        wg.peers.get('a').tx += 100;
        await looks(2); // after the second the first is saved
        await agent.stop('SIGKILL');
        wg.peers.get('a').tx += 10; // seen by nobody at that time
    }
    core.behave = acknowledge;
    start();
    await until('all of it', () => core.batches.some((b) =>
        b.peers.some((p) => p.upload === 1550)));
    await sleep(300);
    assert.match(agent.output, /going on with session \d+: \d+ reports wait/);
    assert.equal(new Set(core.batches.map((b) => b.session)).size, 1);
    const all = bySequence(core.batches);
    const times = [...all.keys()].sort((x, y) => x - y).map((n, i) => {
        assert.equal(n, i + 1);
        return all.get(n).sampled_at_ms;
    });
    // The shape stays: each batch has the time of its look.
    assert.ok(times.length > 20);
    assert.ok(times.at(-1) - times[0] > 2500);
    times.forEach((t, i) => assert.ok(i === 0 || t > times[i - 1]));
    assert.ok([...all.values()].every((b) => b.peers.every((p) => !p.from_zero)));
});

test('a batch is in the spool before a node sees it', async () => {
    let torn;
    core.behave = (stream, batch) => {
        // What is there now must be enough to go on.
        if (batch.sequence === 5 && !torn) {
            torn = path.join(folder, 'copy');
            fs.cpSync(spool, torn, { recursive: true });
        }
        acknowledge(stream, batch);
    };
    start();
    await until('five batches', () => torn && core.batches.length > 5);
    await agent.stop('SIGKILL');
    const first = core.batches[0].session;
    core.batches.length = 0;
    spool = torn;
    start();
    await until('more', () => core.batches.some((b) => b.sequence >= 6));
    assert.ok(core.batches.every((b) => b.session === first));
    assert.ok(core.batches.every((b) => b.sequence > 4 || b.sequence === core.sequences[0]));
});

test('two agents with one directory: the second is refused', async () => {
    start();
    await until('reports', () => core.batches.length > 1);
    const second = new Agent(wg, [core.url], '--spool-dir', spool, '--gateway-id', 'x');
    assert.equal(await second.ended, 2);
    assert.match(second.output, /is used by another agent/);
});

test('the directory of another gateway, of a node, or none at all, is refused', async () => {
    start();
    await until('reports', () => core.batches.length > 1);
    await agent.stop();
    start('--gateway-id', 'another');
    assert.equal(await agent.ended, 2);
    assert.match(agent.output, /belongs to the gateway/);
    spool = path.join(folder, 'data'); // of a node that is stopped
    fs.mkdirSync(path.join(spool, 'raft'), { recursive: true });
    fs.writeFileSync(path.join(spool, 'lock'), '');
    start();
    assert.equal(await agent.ended, 2);
    assert.match(agent.output, /holds other files \(raft\) and no spool/);
    spool = '/proc/spool';
    start();
    assert.equal(await agent.ended, 2);
    assert.match(agent.output, /--spool-dir: create \/proc\/spool/);
});

test('damage is told, and a new session loses nothing', async () => {
    start();
    await until('the baseline', () => core.batches.length > 2);
    core.behave = ignore;
    await sleep(500);
    await agent.stop('SIGKILL');
    const [file] = fs.readdirSync(spool).filter((name) => name.endsWith('.spool'));
    const bytes = fs.readFileSync(path.join(spool, file));
    bytes[70] ^= 1;
    fs.writeFileSync(path.join(spool, file), bytes);
    const old = core.batches[0].session;
    core.behave = acknowledge;
    start();
    await until('a new session', () => core.batches.some((b) => b.session > old));
    assert.match(agent.output, /damaged at byte 32.*going on as session/);
    const first = core.batches.find((b) => b.session > old);
    assert.equal(first.sequence, 1);
    assert.equal(first.peers.length, 2);
});

test('a full disk: memory goes on, and the disk when there is room', async (t) => {
    spool = path.join(folder, 'small');
    fs.mkdirSync(spool);
    try {
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', spool]);
    } catch {
        t.skip('nothing can be mounted here');
        return;
    }
    try {
        start();
        await until('kept', () => agent.output.includes('reports are kept in'));
        const filler = path.join(spool, 'filler');
        const fd = fs.openSync(filler, 'w');
        try {
            for (;;) fs.writeSync(fd, Buffer.alloc(4096));
        } catch (error) {
            assert.equal(error.code, 'ENOSPC');
        }
        fs.closeSync(fd);
        core.behave = ignore;
        // The page that the file ends in has some room.
        await until('the disk is full', () =>
            agent.output.includes('No space left'), 20000);
        assert.match(agent.output, /a restart begins a new session/);
        await sleep(500);
        fs.rmSync(filler);
        core.behave = acknowledge;
        await until('kept again', () =>
            agent.output.match(/reports are kept in/g).length === 2);
        assert.equal(new Set(core.batches.map((b) => b.session)).size, 1);
        const numbers = [...bySequence(core.batches).keys()];
        assert.equal(Math.max(...numbers), numbers.length);
        await agent.stop('SIGKILL');
    } finally {
        execFileSync('umount', ['-l', spool]);
    }
});

test('a directory that is gone costs one session, and the agent lives', async () => {
    const sessions = () => new Set(core.batches.map((b) => b.session)).size;
    start('--spool-bytes', '1MiB');
    await until('reports', () => core.batches.length > 1);
    fs.rmSync(spool, { recursive: true });
    // So many fill a file with one look, and the next cannot be made.
    for (let i = 0; i < 1000; i++) wg.peers.set(`peer${i}`, { tx: 0, rx: 0 });
    const moving = setInterval(() => wg.peers.forEach((p) => { p.tx++; }), 50);
    try {
        await until('it is missed', () =>
            agent.output.includes('reports wait in memory alone'));
        await until('a new session', () => sessions() === 2);
        await sleep(1000);
        assert.equal(sessions(), 2);
        assert.doesNotMatch(agent.output, /full/);
        core.behave = ignore; // the memory fills, in a dozen looks
        await until('full', () => agent.output.includes('full (--spool-bytes 1048576)'));
    } finally {
        clearInterval(moving);
    }
    core.behave = acknowledge;
    fs.mkdirSync(spool);
    await until('kept again', () =>
        agent.output.match(/reports are kept in/g).length === 2);
    assert.equal(await agent.stop(), 0);
});

test('an overloaded node is asked less and less often', async () => {
    core.behave = refuse(status.RESOURCE_EXHAUSTED, 'try again');
    start();
    await sleep(6500);
    const asked = core.streams.length;
    assert.ok(asked >= 2 && asked <= 5, `${asked} streams in 6.5 s`);
    core.behave = acknowledge;
    await until('all of it', () => core.batches.at(-1)?.sequence > 60, 15000);
});

// --- a real cluster ----------------------------------------------------------

const realAgent = (cluster, location, flags = {}) => {
    agent = new Agent(wg, cluster.nodes.map((n) => `http://${n.grpc}`), flags,
        '--spool-dir', spool, '--token', gatewayToken(GATEWAY_SECRET, location.id));
};

async function assertTotals(cluster, location, from, expected) {
    for (const node of cluster.nodes) {
        await eventually(`exact totals on ${node.name}`, async () => {
            const totals = await node.totals('gateway', { from, location: location.id });
            assert.deepEqual([...totals.values()], [expected]);
            return true;
        });
    }
}

test('agents and nodes are killed, and each byte counts once', async () => {
    await withCluster({ label: 'spool' }, async (cluster) => {
        const from = Date.now() - 2 * MINUTE;
        const location = await cluster.createLocation(cluster.nodes[0], 'spool',
            { accept_unknown_peers: true });
        const moved = { upload: 0, download: 0 };
        const traffic = () => {
            for (const peer of wg.peers.values()) {
                peer.tx += 7; peer.rx += 11;
                moved.upload += 7; moved.download += 11;
            }
        };
        realAgent(cluster, location);
        await until('the baseline', () => agent.output.includes('reporting to'), 10000);
        for (let round = 0; round < 8; round++) {
            const victim = cluster.nodes[round % 3];
            if (round % 2 === 0) await victim.kill();
            for (let i = 0; i < 4; i++) { traffic(); await sleep(60 + 37 * (round % 3)); }
            await agent.stop('SIGKILL');
            traffic();
            realAgent(cluster, location);
            if (round % 2 === 0) { victim.start(); await victim.ready(); }
        }
        await until('it hears signals', () => agent.output.includes('observing '));
        assert.equal(await agent.stop(), 0);
        await assertTotals(cluster, location, from, moved);
        await cluster.digest();
    });
});

test('hours without a node keep their shape, over a restart too', {
    // The address sanitizer's library wants to be the first that is loaded.
    skip: process.env.ASAN_OPTIONS ? 'not under a sanitizer' :
        libfaketime ? false : 'libfaketime is not installed',
}, async () => {
    await withCluster({ label: 'shape' }, async (cluster) => {
        const now = Date.now();
        const location = await cluster.createLocation(cluster.nodes[0], 'shape',
            { accept_unknown_peers: true });
        const lives = [[180, 0], [120, 500], [60, 300]]; // minutes ago, bytes
        for (const [ago, bytes] of lives) {
            wg.peers.get('a').tx += bytes;
            agent = new Agent(wg, ['http://127.0.0.1:1'], {
                env: {
                    LD_PRELOAD: libfaketime, FAKETIME: `-${ago}m`,
                    FAKETIME_DONT_FAKE_MONOTONIC: '1',
                    NO_FAKE_STAT: '1', // the socket is no other one
                },
            }, '--spool-dir', spool);
            await looks(2);
            await agent.stop('SIGKILL');
        }
        wg.peers.get('a').tx += 100;
        realAgent(cluster, location);
        await until('reports', () => agent.output.includes('reporting to'), 10000);
        await assertTotals(cluster, location, now - 240 * MINUTE, { upload: 900, download: 0 });
        const query = new URLSearchParams({
            location: String(location.id), resolution: 'minute',
            from: new Date(now - 240 * MINUTE).toISOString(),
            to: new Date(now + MINUTE).toISOString(),
        });
        const { series } = await cluster.nodes[0].call('GET', `/api/v1/overview?${query}`);
        const points = series[0].points.filter((p) => p?.upload > 0);
        assert.deepEqual(points.map((p) => p.upload), [500, 300, 100]);
        const ages = points.map((p) => Math.round((now - p.t * 1000) / MINUTE));
        [120, 60, 0].forEach((ago, i) => assert.ok(Math.abs(ages[i] - ago) <= 1, `${ages}`));
    });
});
