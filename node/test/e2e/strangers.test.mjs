// Strangers at every port of every node while gateways report: garbage, half
// sentences, connections that say nothing for ever. Reports and reads go on, a
// node that starts meanwhile finds its peers, and no log is flooded.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { sleep } from './cluster.mjs';
import { enterLab, PORTS } from './netlab.mjs';
import { Ordeal } from './ordeal.mjs';

const SILENT = 200;       // connections per port and node that only wait
const LINES_MAX = 3;      // per stranger and node: one a minute, of each kind
const skip = await enterLab(import.meta.url);

// What a stranger says first, to sound like somebody.
const GREETINGS = [
    () => crypto.randomBytes(1 + crypto.randomInt(4000)),
    () => Buffer.alloc(600),
    () => Buffer.concat([Buffer.from('HFpeer\0\x01', 'latin1'),
        crypto.randomBytes(500)]),
    () => Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    () => Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        crypto.randomBytes(300)]),
    () => Buffer.from(`GET /${'x'.repeat(20000)} HTTP/1.1\r\n`),
    () => Buffer.from('POST /api/v1/auth HTTP/1.1\r\nHost: x\r\n' +
        'Content-Length: 99999999999999999999\r\n\r\n'),
    () => Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]), // TLS
];

describe('Strangers', { skip }, () => {
    let ordeal, cluster;
    const sockets = new Set();
    before(async () => {
        ordeal = await Ordeal.start({ label: 'strangers', size: 3 });
        cluster = ordeal.cluster;
    });
    after(() => {
        for (const socket of sockets) socket.destroy();
        return ordeal?.end();
    });

    const dial = (node, port, stranger) => {
        const socket = net.connect({
            host: node.host, port, localAddress: cluster.stranger(stranger),
        });
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => sockets.delete(socket));
        socket.resume();
        return socket;
    };

    const everywhere = (visit) => {
        for (const node of cluster.nodes) {
            for (const port of Object.values(PORTS)) visit(node, port);
        }
    };

    // Lines that tell of @stranger, of the node with the most.
    const linesAbout = (stranger) => Math.max(...cluster.nodes.map((node) =>
        node.log().split(`${cluster.stranger(stranger)}`).length - 1));

    test('talk nonsense', () => ordeal.through(async () => {
        const until = Date.now() + 5000;
        while (Date.now() < until) {
            everywhere((node, port) => {
                const socket = dial(node, port, 1);
                socket.write(ordeal.rng.pick(GREETINGS)());
                setTimeout(() => socket.destroy(), 300).unref();
            });
            await sleep(20);
        }
        await ordeal.progress(...cluster.nodes);
        assert.ok(linesAbout(1) >= 1, 'somebody tells of it');
        assert.ok(linesAbout(1) <= LINES_MAX, `${linesAbout(1)} lines`);
    }));

    test('hold connections and say nothing', () => ordeal.through(async () => {
        const hold = () => everywhere((node, port) => {
            let held = [...sockets].filter((socket) =>
                socket.node === node && socket.aim === port).length;
            for (; held < SILENT; held++) {
                Object.assign(dial(node, port, 2), { node, aim: port });
            }
        });
        hold();
        const again = setInterval(hold, 100);
        try {
            await sleep(1500);
            await ordeal.progress(...cluster.nodes);
            const node = await cluster.follower();
            await node.kill();
            await sleep(300);
            node.start();
            await node.ready();
            await ordeal.progress(node);
        } finally {
            clearInterval(again);
            for (const socket of sockets) socket.destroy();
        }
        assert.ok(linesAbout(2) <= LINES_MAX, `${linesAbout(2)} lines`);
    }));

    test('say one byte a second', () => ordeal.through(async () => {
        const hello = Buffer.from('HFpeer\0\x01', 'latin1');
        everywhere((node, port) => {
            for (let i = 0; i < 50; i++) {
                const socket = dial(node, port, 3);
                const words = port === PORTS.peer ? hello
                    : Buffer.from(port === PORTS.grpc ? 'PRI * HTTP/2.0\r\n'
                        : 'GET /livez HTTP/1.1\r\n');
                let said = 0;
                socket.pace = setInterval(() => {
                    if (said < words.length) {
                        socket.write(words.subarray(said, ++said));
                    }
                }, 1000);
                socket.on('close', () => clearInterval(socket.pace));
            }
        });
        await sleep(7000);
        await ordeal.progress(...cluster.nodes);
        for (const socket of sockets) socket.destroy();
        assert.ok(linesAbout(3) <= LINES_MAX, `${linesAbout(3)} lines`);
    }));

    test('are not told of more than once a minute', () => {
        for (const node of cluster.nodes) {
            const lines = node.log().split('\n').length;
            assert.ok(lines < 200, `${node.name} wrote ${lines} lines`);
        }
    });
});
