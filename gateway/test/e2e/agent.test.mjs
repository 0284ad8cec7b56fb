// The real agent between a made-up interface and made-up nodes.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test as always } from 'node:test';
import {
    Agent, Core, Interface, acknowledge, ignore, refuse, sleep, status, until,
} from './fakes.mjs';
import { Authority, replaceFile } from '../../../node/test/e2e/certs.mjs';

// WireGuard's sockets lie where only root may make them.
const test = process.getuid() === 0 ? always : always.skip;
const started = [];
let wg, agent;

beforeEach(async () => {
    wg = new Interface();
    wg.peers.set('a', { tx: 1000, rx: 2000 });
    wg.peers.set('b', { tx: 0, rx: 0 });
    await wg.open();
});

afterEach(async () => {
    await agent?.stop('SIGKILL');
    agent = undefined;
    for (const one of started.splice(0)) one.close();
    wg.close();
});

async function core(behave, tls) {
    const made = await new Core().open(behave, tls);
    started.push(made);
    return made;
}

const letters = (batch) =>
    batch.peers.map((p) => String.fromCharCode(p.public_key[0])).join('');

test('the first batch is the baseline of every peer, with the headers', async () => {
    const one = await core(acknowledge);
    agent = new Agent(wg, [one.url], '--print-baseline');
    await until('three batches', () => one.batches.length >= 3);
    const [first, second] = one.batches;
    assert.equal(letters(first), 'ab');
    assert.equal(first.sequence, 1);
    assert.equal(first.machine.length, 16);
    assert.ok(Math.abs(first.session - Date.now()) < 20000);
    assert.ok(Math.abs(first.sampled_at_ms - Date.now()) < 20000);
    assert.deepEqual(first.peers[0].public_key, Interface.key('a'));
    assert.equal(first.peers[0].upload, 1000);
    assert.equal(first.peers[0].download, 2000);
    assert.equal(first.peers[0].endpoint, '192.0.2.1:51820');
    assert.deepEqual(first.peers[0].allowed_ips, ['10.0.0.2/32']);
    assert.equal(first.peers[0].from_zero, false);
    assert.equal(second.sequence, 2); // idle, and sent all the same
    assert.equal(letters(second), '');
    assert.equal(second.machine.length, 0);
    await until('one that none waits behind',
        () => one.batches.slice(1).some((batch) => batch.awaits_answer));
    const headers = one.streams[0].metadata.getMap();
    assert.equal(headers.authorization, 'secret');
    assert.equal(headers.hostname, os.hostname());
    assert.equal(headers['holdfast-gateway-id'], `${os.hostname()}/${wg.name}`);
    assert.match(agent.output, /^observing ifname=\S+ node=\S+ session=\d+ machine=[0-9a-f]{16}$/m);
    assert.match(agent.output, /"upload":1000,"download":2000,"from_zero":false/);
});

test('what changed is sent, and a new peer counts from zero once', async () => {
    const one = await core(acknowledge);
    agent = new Agent(wg, [one.url]);
    await until('the baseline', () => one.batches.length > 1);
    wg.peers.set('b', { tx: 5, rx: 0 });
    wg.peers.set('c', { tx: 7, rx: 7 });
    await until('the change', () => one.batches.some((b) => letters(b) === 'bc'));
    await sleep(300);
    const all = one.batches.flatMap((b) => b.peers);
    assert.equal(all.filter((p) => p.from_zero).length, 1);
    assert.equal(all.find((p) => p.from_zero).upload, 7);
});

test('a socket made anew counts every peer from zero', async () => {
    const one = await core(acknowledge);
    agent = new Agent(wg, [one.url]);
    await until('the baseline', () => one.batches.length > 1);
    wg.close();
    await until('somebody looked at nothing',
        () => agent.output.includes('cannot be read'));
    assert.match(agent.output, /no userspace WireGuard has this name.*kernel interfaces cannot/);
    wg.peers.set('a', { tx: 3000, rx: 3000 });
    await wg.open();
    await until('from zero', () => one.batches.some(
        (b) => b.peers.length === 2 && b.peers.every((p) => p.from_zero)));
});

test('a node that goes away is replaced, and nothing unacknowledged is lost', async () => {
    const seen = [];
    const one = await core(), two = await core();
    let died;
    for (const me of [one, two])
        me.behave = (stream, batch) => {
            if (me === died) return;
            seen.push([me, batch.sequence]);
            if (seen.length === 5) { died = me; me.close(); return; }
            acknowledge(stream, batch);
        };
    agent = new Agent(wg, [one.url, two.url]);
    await until('reports on the other node',
        () => died && seen.some(([me]) => me !== died && seen.length > 10));
    const after = seen.filter(([me]) => me !== died).map(([, n]) => n);
    assert.equal(after[0], seen[4][1]); // the very batch that was not acknowledged
    after.forEach((n, i) => assert.equal(n, after[0] + i));
});

test('a node that acknowledges nothing is left for another', async () => {
    const one = await core(ignore), two = await core(ignore);
    agent = new Agent(wg, [one.url, two.url]);
    await until('a stream to each', () => one.streams.length > 0 && two.streams.length > 0, 15000);
    for (const me of [one, two]) me.behave = acknowledge;
    await until('acknowledgements', () => agent.output.includes('reporting to'), 15000);
    for (const me of [one, two]) assert.equal(me.sequences[0], 1);
    // The first node was sent it alone, the other with what came since.
    assert.deepEqual([one, two].map((me) => me.batches[0].awaits_answer).sort(),
        [false, true]);
});

test('a node that answered while the interface did not is not blamed', async () => {
    let slow = false;
    const one = await core((stream, batch) => {
        if (batch.sequence === 3 && !slow) {
            slow = true;
            wg.delay_ms = 1800; // longer than the patience with a node
            setTimeout(() => { wg.delay_ms = 0; }, 1000);
            setTimeout(() => acknowledge(stream, batch), 400);
        } else {
            acknowledge(stream, batch);
        }
    });
    agent = new Agent(wg, [one.url]);
    await until('more batches', () => one.batches.length >= 8, 15000);
    assert.ok(slow);
    assert.equal(one.streams.length, 1, agent.output);
    assert.doesNotMatch(agent.output, /acknowledges nothing/);
});

test('a node with too much to do is left for another at once, and that is said once', async () => {
    const tooMuch = refuse(status.RESOURCE_EXHAUSTED, 'too much to do');
    const one = await core(tooMuch), two = await core(tooMuch);
    const count = (pattern) => agent.output.match(pattern)?.length ?? 0;
    agent = new Agent(wg, [one.url, two.url]);
    // Both are asked before anything is waited for, then ever more rarely.
    await until('a stream to each', () =>
        one.streams.length > 0 && two.streams.length > 0);
    await sleep(3500);
    const asked = one.streams.length + two.streams.length;
    assert.ok(asked >= 4 && asked <= 10, `${asked} streams in 4 s`);
    two.behave = acknowledge;
    await until('all of it', () => agent.output.includes('none waits'), 9000);
    assert.equal(count(/too much to do; trying the others/g), 1);
    assert.equal(count(/takes reports again/g), 1);
    const got = [...new Set(two.batches.map((b) => b.sequence))];
    got.forEach((n, i) => assert.equal(n, i + 1));
    assert.equal(new Set(two.batches.map((b) => b.session)).size, 1);
});

test('a host that accepts and says nothing is left for another', async () => {
    const silent = net.createServer(() => {}).listen(0, '127.0.0.1');
    started.push(silent);
    const one = await core(acknowledge);
    agent = new Agent(wg, [`http://127.0.0.1:${silent.address().port}`, one.url]);
    await until('reports', () => one.batches.length > 2, 15000);
    assert.equal(one.sequences[0], 1);
});

test('a gap answered to the first batch begins a new session with all peers', async () => {
    let restored = false;
    const one = await core((stream, batch) => {
        if (restored === false && batch.sequence === 4) {
            restored = batch.session;
            refuse(status.OUT_OF_RANGE, 'expected sequence 1')(stream);
        } else if (restored === batch.session) {
            refuse(status.OUT_OF_RANGE, 'expected sequence 1')(stream);
        } else {
            acknowledge(stream, batch);
        }
    });
    agent = new Agent(wg, [one.url]);
    await until('a new session', () => one.batches.some((b) => restored && b.session > restored && b.sequence === 3));
    const first = one.batches.find((b) => b.session > restored);
    assert.equal(first.sequence, 1);
    assert.equal(letters(first), 'ab');
    assert.equal(first.machine.length, 16);
    assert.ok(first.peers.every((p) => !p.from_zero));
});

test('a fresh agent takes a session above the stored one', async () => {
    const stored = Date.now() + 1e9;
    const one = await core((stream, batch) => {
        if (batch.session > stored) acknowledge(stream, batch);
        else refuse(status.ABORTED, 'superseded', { 'holdfast-stored-session': `${stored}` })(stream);
    });
    agent = new Agent(wg, [one.url]);
    await until('reports', () => one.batches.some((b) => b.sequence === 3));
    assert.equal(one.batches.at(-1).session, stored + 1);
});

test('an agent that was superseded for good says so and ends', async () => {
    const one = await core((stream, batch) => {
        if (batch.sequence < 3) acknowledge(stream, batch);
        else refuse(status.ABORTED, 'superseded by session 9999999999999')(stream);
    });
    agent = new Agent(wg, [one.url]);
    assert.equal(await agent.ended, 1);
    assert.match(agent.output, /superseded/);
    assert.match(agent.output, /--gateway-id/);
});

test('a refused token is tried again and complained about once', async () => {
    const one = await core(refuse(status.UNAUTHENTICATED, 'Invalid token'));
    agent = new Agent(wg, [one.url]);
    await until('two attempts', () => one.streams.length >= 2, 15000);
    one.behave = acknowledge;
    await until('acknowledgements', () => agent.output.includes('reporting to'), 15000);
    assert.equal(agent.output.match(/Invalid token/g).length, 1);
});

test('a batch that is refused for ever does not block', async () => {
    const one = await core((stream, batch) => {
        if (batch.sequence === 3) refuse(status.INVALID_ARGUMENT, 'peers: bad')(stream);
        else acknowledge(stream, batch);
    });
    agent = new Agent(wg, [one.url]);
    await until('a second session',
        () => new Set(one.batches.map((b) => b.session)).size === 2);
});

test('SIGTERM sends the last bytes and waits for them', async () => {
    const one = await core((stream, batch) =>
        setTimeout(() => acknowledge(stream, batch), 300));
    agent = new Agent(wg, [one.url], '--stats-period', '60');
    await until('the baseline', () => one.batches.length === 1);
    wg.peers.set('a', { tx: 1234, rx: 2000 });
    assert.equal(await agent.stop(), 0);
    assert.equal(one.batches.length, 2);
    assert.equal(one.batches[1].peers[0].upload, 1234);
    assert.doesNotMatch(agent.output, /not acknowledged/);
});

// --- TLS ---------------------------------------------------------------------

let folder, ours, theirs;

before(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-agent-tls-'));
    ours = new Authority(folder, 'ours');
    theirs = new Authority(folder, 'theirs');
});

after(() => fs.rmSync(folder, { recursive: true, force: true }));

test('over TLS with the right CA, and a new CA file is read at the next stream', async () => {
    const one = await core(acknowledge, ours.issue('127.0.0.1'));
    const ca = path.join(folder, 'trusted.pem');
    fs.copyFileSync(theirs.cert, ca);
    agent = new Agent(wg, [one.url], '--grpc-ca', ca);
    await until('advice', () => agent.output.includes('check --grpc-ca'));
    assert.match(agent.output, /certificate verify failed/);
    assert.equal(one.batches.length, 0);
    replaceFile(ours.cert, ca);
    await until('reports', () => one.batches.length > 2);
    assert.equal(one.sequences[0], 1);
    // What is broken later does not end what works.
    fs.writeFileSync(ca, '');
    const other = one.streams.length;
    for (const stream of one.streams) stream.emit('error',
        Object.assign(new Error('away'), { code: status.UNAVAILABLE, details: 'away' }));
    await until('another stream', () => one.streams.length > other);
    const { length } = one.batches;
    await until('more reports', () => one.batches.length > length);
    assert.match(agent.output, /trusted\.pem: is empty/);
});

test('a certificate for another host is not accepted', async () => {
    const one = await core(acknowledge, ours.issue('core.example'));
    agent = new Agent(wg, [one.url], '--grpc-ca', ours.cert);
    await until('advice', () => agent.output.includes('does not name the host'));
    assert.equal(one.streams.length, 0);
});

test('TLS on one side only is told as that', async () => {
    const plain = await core(acknowledge);
    agent = new Agent(wg, [plain.url.replace('http:', 'https:')],
        '--grpc-ca', ours.cert);
    await until('advice', () => /http:\/\/ instead of https/.test(agent.output));
    await agent.stop('SIGKILL');
    const secure = await core(acknowledge, ours.issue('127.0.0.1'));
    agent = new Agent(wg, [secure.url.replace('https:', 'http:')]);
    await until('advice', () => agent.output.includes('https:// instead'));
});

test('a CA that is not there or no text ends the agent with its name', async () => {
    agent = new Agent(wg, ['https://127.0.0.1:1'], '--grpc-ca', '/nowhere/ca.pem');
    assert.equal(await agent.ended, 2);
    assert.match(agent.output, /--grpc-ca: \/nowhere\/ca\.pem/);
});
