// Mistaken flags, files and data directories: a node says what is wrong and
// does not start; what is there already is not harmed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
    Cluster, GATEWAY_SECRET, run, sleep, until, withCluster,
} from './cluster.mjs';
import { assertExact, NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

let directory;

before(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-startup-'));
});

after(() => fs.rmSync(directory, { recursive: true, force: true }));

const LOOPBACK = ['--grpc-bind', '127.0.0.1:0', '--http-bind', '127.0.0.1:0',
    '--peer-bind', '127.0.0.1:0'];

function file(name, text) {
    const full = path.join(directory, name);
    fs.writeFileSync(full, text);
    return full;
}

// A node that must refuse: its exit code, and what it must say.
async function refuses(args, code, ...patterns) {
    const result = await run('holdfast-node', args);
    assert.equal(result.expired, false, `still running: ${args.join(' ')}`);
    assert.equal(result.code, code, result.stderr);
    for (const pattern of patterns) assert.match(result.stderr, pattern);
    assert.doesNotMatch(result.stdout, /^ready/m);
    return result;
}

describe('Flags and files', () => {
    const data = () => ['--data-dir', path.join(directory, 'flags')];

    test('an unknown flag is named', () =>
        refuses(['--frobnicate'], 2, /frobnicate/));
    test('a flag without its value is named', () =>
        refuses(['--data-dir'], 2, /data-dir/));
    test('a word that is no flag is named', () =>
        refuses([...data(), 'surplus'], 2, /surplus/));
    test('a duration that is none is named', () =>
        refuses([...LOOPBACK, ...data(), '--election-timeout', 'soon'], 2,
            /election-timeout/));
    test('an address that is none is named', () =>
        refuses([...LOOPBACK, ...data(), '--http-bind', 'nowhere'], 2,
            /http-bind/));
    test('a port beyond 65535 is named', () =>
        refuses([...LOOPBACK, ...data(), '--grpc-bind', '127.0.0.1:70000'], 2,
            /grpc-bind/));
    test('initial peers without a name are refused', () =>
        refuses([...LOOPBACK, ...data(), '--initial-peers', '127.0.0.1:7600'],
            2, /initial-peers/));
    test('an empty gateway secret is refused', () =>
        refuses([...LOOPBACK, ...data(), '--gateway-secret', ''], 2,
            /gateway-secret/));
    test('no TLS on a public address needs --insecure', () =>
        refuses([...data(), '--grpc-bind', '0.0.0.0:0', '--http-bind',
            '127.0.0.1:0', '--peer-bind', '127.0.0.1:0'], 2, /insecure|tls/i));
    test('an unknown key of the file is named with its line', () =>
        refuses(['--config', file('unknown.yaml',
            '# a comment\nname: n1\nfrobnicate: 1\n')], 2,
        /frobnicate/, /\b3\b/));
    test('a file that is no YAML is refused with its line', () =>
        refuses(['--config', file('broken.yaml', 'name: n1\n\t{]\n')], 2,
            /broken\.yaml/));
    test('a file that is not there is named', () =>
        refuses(['--config', path.join(directory, 'missing.yaml')], 2,
            /missing\.yaml/));

    test('--check-config says yes and starts nothing', async () => {
        const config = file('good.yaml', 'name: n1\ngrpc-bind: 127.0.0.1:0\n' +
            'http-bind: 127.0.0.1:0\npeer-bind: 127.0.0.1:0\n' +
            `data-dir: ${path.join(directory, 'checked')}\n`);
        const result = await run('holdfast-node',
            ['--config', config, '--check-config']);
        assert.equal(result.code, 0, result.stderr);
        assert.equal(fs.existsSync(path.join(directory, 'checked')), false);
        await refuses(['--config', file('bad.yaml', 'nme: n1\n'),
            '--check-config'], 2, /nme/);
    });

    test('--version and --help are answered on stdout', async () => {
        const version = await run('holdfast-node', ['--version']);
        assert.equal(version.code, 0);
        assert.match(version.stdout, /\d+\.\d+\.\d+/);
        const help = await run('holdfast-node', ['--help']);
        for (const program of ['holdfast-node', 'holdfast-gateway']) {
            const long = await run(program, ['--help']);
            assert.deepEqual(await run(program, ['-h']), long);
            assert.equal(long.code, 0);
        }
        assert.equal(help.code, 0);
        for (const flag of ['--data-dir', '--initial-peers', '--grpc-bind',
            '--admin-token', '--check-config']) {
            assert.ok(help.stdout.includes(flag), flag);
        }
    });

    test('a port that is taken is named', async () => {
        await withCluster({ label: 'port', size: 1 }, async (cluster) => {
            const [{ http, grpc }] = cluster.nodes;
            const flags = [...LOOPBACK, '--log-format', 'text', '--data-dir',
                path.join(directory, 'port')];
            await refuses([...flags, '--http-bind', http], 2,
                new RegExp(http.replaceAll('.', '\\.')));
            const { stderr } = await refuses([...flags, '--grpc-bind', grpc], 2,
                new RegExp(`--grpc-bind: ${grpc}: cannot listen: Address already in use`));
            assert.doesNotMatch(stderr, /No address|chttp2/);
            await refuses([...flags, '--insecure', '--grpc-bind', '192.0.2.1:1'], 2,
                /--grpc-bind: 192\.0\.2\.1:1: cannot listen: Cannot assign/);
        });
    });
});

// --- data directories -------------------------------------------------------

async function fill(cluster, ticks = 5) {
    const location = await cluster.createLocation(cluster.nodes[0], 'kept',
        { accept_unknown_peers: true });
    const agent = new NativeGateway({
        cluster, rng: new Random(),
        keys: [randomKey(), randomKey()], hostname: 'agent', id: 'agent',
        token: gatewayToken(GATEWAY_SECRET, location.id),
    });
    for (let i = 0; i < ticks; i++) agent.tick();
    await agent.drained();
    return { agent, location, from: Date.now() - 120000 };
}

const exact = (cluster, { agent, location, from }) =>
    assertExact(cluster, [agent], { from, location: location.id });

// The node must end by itself with @code and say @pattern.
async function startRefused(node, pattern, code = 2) {
    node.start();
    node.expectedExit = true;
    const [exit] = await Promise.race([
        node.exited,
        sleep(10000).then(() => [`still running\n${node.logTail()}`]),
    ]);
    assert.equal(exit, code, node.logTail());
    assert.match(node.logTail(15), pattern);
}

describe('A data directory', () => {
    test('in use by a running node is refused', async () => {
        await withCluster({ label: 'inuse', size: 1 }, async (cluster) => {
            const kept = await fill(cluster);
            const [node] = cluster.nodes;
            await refuses([...LOOPBACK, '--data-dir', node.dataDir], 2,
                /in use/);
            await exact(cluster, kept);
        });
    });

    test('with somebody else\'s files is left alone', async () => {
        const strange = path.join(directory, 'strange');
        fs.mkdirSync(path.join(strange, 'photos'), { recursive: true });
        await refuses([...LOOPBACK, '--data-dir', strange], 2, /photos/);
        assert.deepEqual(fs.readdirSync(strange), ['photos']);
    });

    test('that was founded says which flags count no more', async () => {
        await withCluster({ label: 'founded', size: 1 }, async (cluster) => {
            const [node] = cluster.nodes;
            await node.kill('SIGTERM');
            cluster.extraArgs.push('--admin-token', 'another-token');
            node.start();
            await node.ready();
            assert.match(node.logTail(), /--admin-token is not a token/);
        });
    });

    test('with damaged files says which, and is not touched', async () => {
        await withCluster({ label: 'damaged' }, async (cluster) => {
            const kept = await fill(cluster);
            const node = cluster.nodes[2];
            await node.kill();
            const damage = async (relative, change, pattern) => {
                const target = path.join(node.dataDir, relative);
                const good = fs.readFileSync(target);
                fs.rmSync(target);
                change(target, good);
                await startRefused(node, pattern);
                fs.rmSync(target, { recursive: true });
                fs.writeFileSync(target, good);
            };
            const garbage = (target, good) => fs.writeFileSync(target,
                Buffer.alloc(good.length, 0x5a));
            const directoryInPlace = (target) => fs.mkdirSync(target);
            await damage('identity', garbage, /identity/);
            await damage('identity', directoryInPlace, /identity/);
            await damage('identity', (target, good) =>
                fs.writeFileSync(target, good.subarray(0, 20)), /identity/);
            await damage('identity', (target, good) => {
                const newer = Buffer.from(good);
                newer.writeUInt32LE(99, 8);
                fs.writeFileSync(target, newer);
            }, /newer|format 99/);
            await damage('store/data.mdb', garbage, /store/);
            await damage('store/data.mdb', directoryInPlace, /store/);
            // Restored, it goes on as if nothing had been.
            node.start();
            await node.ready();
            await exact(cluster, kept);
            await cluster.digest();
        });
    });

    test('without its log, or without its identity, is refused', async () => {
        await withCluster({ label: 'parts' }, async (cluster) => {
            const kept = await fill(cluster);
            const node = cluster.nodes[1];
            await node.kill();
            for (const [part, pattern] of [['raft', /raft/],
                ['identity', /identity/]]) {
                const from = path.join(node.dataDir, part);
                fs.renameSync(from, path.join(cluster.directory, part));
                await startRefused(node, pattern);
                fs.rmSync(from, { recursive: true, force: true });
                fs.renameSync(path.join(cluster.directory, part), from);
            }
            node.start();
            await node.ready();
            await exact(cluster, kept);
        });
    });

    test('of another cluster harms neither', async () => {
        await withCluster({ label: 'ours' }, async (ours) => {
            await withCluster({ label: 'theirs' }, async (theirs) => {
                const keptOurs = await fill(ours);
                const keptTheirs = await fill(theirs);
                const [a, b] = [ours.nodes[2], theirs.nodes[2]];
                // In good order, so that the stores hold something.
                await a.kill('SIGTERM');
                await b.kill('SIGTERM');
                const swap = () => {
                    const aside = path.join(ours.directory, 'aside');
                    fs.renameSync(a.dataDir, aside);
                    fs.renameSync(b.dataDir, a.dataDir);
                    fs.renameSync(aside, b.dataDir);
                };
                // The store of another cluster beside our own log.
                const mixed = path.join(a.dataDir, 'store');
                const own = path.join(ours.directory, 'own-store');
                fs.renameSync(mixed, own);
                fs.cpSync(path.join(b.dataDir, 'store'), mixed,
                    { recursive: true });
                await startRefused(a, /another cluster|foreign|cluster/i);
                fs.rmSync(mixed, { recursive: true });
                fs.renameSync(own, mixed);
                // Whole directories swapped: they must not join.
                swap();
                for (const node of [a, b]) {
                    node.start();
                    node.expectedExit = true;
                }
                await sleep(4000);
                for (const node of [a, b]) {
                    const metrics = node.running
                        ? await node.metrics().catch(() => ({})) : {};
                    assert.notEqual(metrics.holdfast_raft_is_leader, 1);
                    assert.match(node.logTail(200), /cluster/i,
                        'the log says why');
                }
                await a.kill();
                await b.kill();
                keptOurs.agent.tick();
                keptTheirs.agent.tick();
                await keptOurs.agent.drained();
                await keptTheirs.agent.drained();
                await exact(ours, keptOurs);
                await exact(theirs, keptTheirs);
                swap();
                a.start();
                b.start();
                await a.ready();
                await b.ready();
                await exact(ours, keptOurs);
                await exact(theirs, keptTheirs);
                await ours.digest();
                await theirs.digest();
            });
        });
    });

    test('that is wiped does not come back as the same voter', async () => {
        await withCluster({ label: 'wiped' }, async (cluster) => {
            const kept = await fill(cluster);
            const node = cluster.nodes[0];
            await node.kill();
            fs.rmSync(node.dataDir, { recursive: true });
            node.start();
            node.expectedExit = true;
            kept.agent.tick();
            await kept.agent.drained();
            await until('the others are exact', async () => {
                for (const other of cluster.nodes.slice(1)) {
                    const totals = await other.totals('gateway',
                        { from: kept.from, location: kept.location.id });
                    assert.deepEqual(totals.get('agent'),
                        kept.agent.expected.total());
                }
                return true;
            }, 5000);
        });
    });
});
