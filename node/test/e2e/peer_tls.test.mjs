// Mutual TLS between nodes, under load: whoever shows no certificate, a
// stranger's, an expired one or that of another node gets nowhere and harms
// nothing; a new authority and new certificates come in without a restart.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { Authority } from './certs.mjs';
import { expiry, sleep, until } from './cluster.mjs';
import { enterLab, PORTS } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const skip = await enterLab(import.meta.url);

describe('Nodes that talk TLS', { skip }, () => {
    let ordeal, cluster, foreign;
    before(async () => {
        ordeal = await Ordeal.start({
            label: 'peer-tls', size: 3, peerTls: true,
        });
        cluster = ordeal.cluster;
        foreign = new Authority(cluster.directory, 'foreign');
    });
    after(() => ordeal?.end());

    // A hello of the plain protocol: magic, and nothing that fits.
    const hello = Buffer.concat([Buffer.from('HFpeer\0\x01', 'latin1'),
        Buffer.alloc(504, 1)]);

    // Everything that the peer port says to @certificate, which speaks after
    // the handshake.
    const knock = async (node, certificate, localAddress, words = hello) => {
        const said = [];
        const socket = certificate === 'plain'
            ? net.connect({ host: node.host, port: PORTS.peer, localAddress })
            : tls.connect({
                host: node.host, port: PORTS.peer, localAddress,
                rejectUnauthorized: false,
                ...(certificate ? {
                    cert: fs.readFileSync(certificate.cert),
                    key: fs.readFileSync(certificate.key),
                } : {}),
            });
        socket.on('data', (data) => said.push(data));
        socket.on('error', () => {});
        const closed = new Promise((resolve) => socket.on('close', resolve));
        socket.on(certificate === 'plain' ? 'connect' : 'secureConnect',
            () => socket.write(words));
        const inTime = await Promise.race([closed.then(() => true),
            expiry(15000)]);
        socket.destroy();
        assert.ok(inTime, 'the port hangs up');
        return Buffer.concat(said);
    };

    const expired = (authority, name) => {
        authority.days = -1;
        const certificate = authority.issue(name);
        authority.days = 2;
        return certificate;
    };

    test('tell strangers nothing', () => ordeal.through(async () => {
        const { authority } = cluster;
        for (const node of cluster.nodes) {
            for (const certificate of [
                'plain', null, foreign.issue('n1.lab'),
                expired(authority, 'n1.lab'),
            ]) {
                const said = await knock(node, certificate,
                    cluster.stranger(1));
                assert.equal(said.length, 0,
                    `${node.name} said ${said.toString('latin1')}`);
            }
        }
        await ordeal.progress(...cluster.nodes);
        for (const node of cluster.nodes) {
            const lines = node.log().split(cluster.stranger(1)).length - 1;
            assert.ok(lines >= 1 && lines <= 2, `${lines} lines`);
        }
    }));

    // A whole hello (docs/format.md), and the first 48 bytes of its answer.
    const RAFT = 1, FORWARD = 2, PROBE = 3, BULK = 4, JOIN = 5;
    const say = async (node, certificate, words) => {
        const hello = Buffer.alloc(400);
        hello.write('HFpeer\0\x01', 0, 'latin1');
        hello.writeUInt32LE(2, 8);
        hello.writeUInt32LE(words.channel, 12);
        words.cluster?.copy(hello, 16);
        hello.writeBigUInt64LE(words.id ?? 77n, 32);
        hello.write('n1', 48);
        hello.write(words.address, 112);
        hello.writeUInt32LE(99, 384);
        hello.writeBigUInt64LE(2n ** 63n, 392);
        const said = await knock(node, certificate, cluster.stranger(2), hello);
        return said.length === 0 ? null : {
            code: said.readUInt32LE(12), cluster: said.subarray(16, 32),
            id: said.readBigUInt64LE(32),
        };
    };

    test('take no certificate of the authority for a member\'s',
        () => ordeal.through(async (leader, [one]) => {
            const { authority } = cluster;
            const guest = authority.issue('guest.lab');
            const { cluster: id } = await say(leader, guest,
                { channel: PROBE, address: '' });
            const member = await say(one, guest,
                { channel: PROBE, address: '' });
            for (const channel of [RAFT, FORWARD, BULK, JOIN]) {
                assert.equal(await say(leader, guest,
                    { channel, cluster: id, address: '' }), null,
                `channel ${channel} without an address`);
            }
            // What it may name proves nothing about a member's id.
            for (const channel of [RAFT, FORWARD, BULK]) {
                assert.equal((await say(leader, guest, {
                    channel, cluster: id, id: member.id,
                    address: 'guest.lab:7600',
                })).code, 8, `channel ${channel} as a member`);
            }
            for (const channel of [FORWARD, BULK]) {
                assert.equal((await say(leader, guest,
                    { channel, cluster: id, address: 'guest.lab:7600' })).code,
                5, `channel ${channel} as a member of the future`);
            }
        }));

    // @certificate on a follower that starts: the others have nothing to do
    // with it.
    const outcast = (authority, make) => ordeal.through(
        async (leader, [one, two]) => {
            await one.kill();
            one.certify(authority(), make(one, two));
            one.start();
            await ordeal.progress(leader, two);
            await sleep(3000);
            await ordeal.silence(1000, one);
            assert.equal(
                (await one.metrics().catch(() => ({})))
                    .holdfast_raft_has_leader ?? 0, 0);
            await one.kill();
            one.certify(cluster.authority,
                cluster.authority.issue(one.peerHost()));
            one.start();
            await one.ready();
            await ordeal.progress(one);
        });

    test('shut out a node of a foreign authority', () => outcast(
        () => foreign, (one) => foreign.issue(one.peerHost())));

    test('shut out a node with the certificate of another', () => outcast(
        () => cluster.authority,
        (one, two) => cluster.authority.issue(two.peerHost())));

    test('take new certificates of a new authority', () => ordeal.through(
        async () => {
            const next = new Authority(cluster.directory, 'next');
            // Both are trusted while certificates change.
            const both = path.join(cluster.directory, 'both.pem');
            fs.writeFileSync(both, fs.readFileSync(cluster.authority.cert) +
                fs.readFileSync(next.cert, 'utf8'));
            const step = async (ca, authority) => {
                for (const node of cluster.nodes) {
                    node.certify({ cert: ca },
                        authority.issue(node.peerHost()));
                }
                await sleep(3000); // they look every two seconds
            };
            await step(both, cluster.authority);
            await step(both, next);
            await step(next.cert, next);
            cluster.authority = next;
            // New connections are made with them only.
            for (const node of cluster.nodes) {
                await node.kill();
                node.start();
                await node.ready();
            }
            await ordeal.progress(...cluster.nodes);
            await until('all are followed', () => cluster.settled());
        }));
});
