// holdfastctl against real nodes. What real nodes seldom do is tested with
// made-up ones, in ctl/test/e2e.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Authority } from './certs.mjs';
import {
    ADMIN_TOKEN, Cluster, GATEWAY_SECRET, run, sleep, until,
} from './cluster.mjs';
import { NativeGateway } from './gateways.mjs';
import { Random } from './random.mjs';
import { gatewayToken, randomKey } from './wire.mjs';

describe('holdfastctl', () => {
    let cluster;
    before(async () => {
        cluster = await Cluster.start({ label: 'ctl' });
    });
    after(() => cluster.end());

    // Asks all nodes, or those of @nodes.
    async function ctl(words, { nodes = cluster.nodes, token = ADMIN_TOKEN } =
    {}) {
        const answer = await run('holdfastctl', words, {
            env: {
                HOLDFASTCTL_ENDPOINTS: nodes.map((node) => node.http).join(','),
                HOLDFASTCTL_TOKEN: token,
            },
            timeoutMs: 60000,
        });
        answer.json = words.includes('json')
            ? JSON.parse(answer.stdout || 'null') : undefined;
        return answer;
    }

    async function done(words, options) {
        const answer = await ctl(words, options);
        assert.equal(answer.code, 0,
            `${words.join(' ')}: ${answer.stderr}${answer.stdout}`);
        return answer;
    }

    // What an election, or another change, may be in the way of.
    const soon = (words) =>
        until(words.join(' '), () => done(words), 60000, 200);

    async function isMember(name) {
        const { json } = await done(['member', 'list', '-w', 'json']);
        return json.members.some((member) => member.name === name);
    }

    // The answer may be lost, and the node that is asked be a moment behind.
    const remove = (name) => until(`${name} is removed`, async () => {
        await ctl(['member', 'remove', name, '--yes']);
        return !(await isMember(name));
    }, 60000, 100);

    test('says that all is well', async () => {
        const status = await done(['endpoint', 'status', '-w', 'json']);
        assert.deepEqual(status.json.nodes.map((node) => node.name),
            ['n1', 'n2', 'n3']);
        assert.equal(status.json.nodes.filter((node) => node.leader).length, 1);
        await until('every node has told every other of itself', async () => {
            const all = await done(
                ['endpoint', 'status', '--cluster', '-w', 'json']);
            return all.json.nodes.every((node) =>
                node.db_bytes > 0 && node.errors.length === 0);
        });
        await done(['endpoint', 'health']);
        const hash = await done(['endpoint', 'hash']);
        assert.match(hash.stdout, /3 replicas agree/);
        const net = await done(['check', 'net', '-w', 'json']);
        assert.equal(net.json.links.length, 6);
        const members = await done(['member', 'list', '-w', 'json']);
        assert.equal(members.json.members.length, 3);
        const doctor = await done(['doctor', '-w', 'json']);
        assert.equal(doctor.json.ok, true);
    });

    test('makes, shows and deletes locations, devices and tokens', async () => {
        const made = await done(['location', 'create', 'Zürich', '--address',
            '10.77.0.1/16', '--vpn-host', 'vpn.example',
            '--accept-unknown-peers', '-w', 'json']);
        assert.equal(made.json.port, 51820);
        assert.equal(made.json.accept_unknown_peers, true);
        const list = await done(['location', 'list']);
        assert.match(list.stdout, /Zürich +10\.77\.0\.1\/16 +vpn\.example:51820/);

        const key = randomKey().toString('base64');
        const added = await done(
            ['device', 'add', 'laptop', key, '--user', 'ann']);
        assert.match(added.stdout, /^\[Peer\]$/m);
        await done(['device', 'add', 'printer',
            randomKey().toString('base64'), '--location', 'Zürich']);
        const devices = await done(['device', 'list', '-w', 'json']);
        assert.deepEqual(devices.json.map((device) => device.device_type),
            ['user', 'network']);
        await done(['device', 'delete', key, '--yes']);
        await done(['device', 'delete', 'printer', '--yes']);

        const token = (await done(['token', 'create', 'second'])).stdout.trim();
        await done(['token', 'list'], { token });
        await done(['token', 'revoke', 'second', '--yes']);
        const refused = await ctl(['token', 'list'], { token });
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /valid admin token/);
        const last = await ctl(['token', 'revoke', 'admin', '--yes']);
        assert.equal(last.code, 1);
        assert.match(last.stderr, /the last one/);
    });

    test('gives who has the data directory a new admin token', async () => {
        const node = await cluster.follower();
        const file = path.join(node.dataDir, 'admin-token');
        const request = `${file}.request`;
        const words = ['token', 'recover', '--data-dir', node.dataDir];
        const nowhere = { token: '', nodes: [] };
        const answer = await done(words, nowhere);
        const token = answer.stdout.trim();
        assert.equal(fs.readFileSync(file, 'utf8'), `${token}\n`);
        assert.equal(fs.statSync(file).mode & 0o777, 0o600);
        assert.ok(!fs.existsSync(request));
        assert.ok(!fs.existsSync(`${file}.new`));
        for (const one of cluster.nodes) {
            await until(`${one.name} takes it`, async () =>
                (await one.get('/api/v1/token', { token })).status === 200);
        }
        const list = await done(['token', 'list'], { token });
        assert.match(list.stdout, new RegExp(`recovered on ${node.name}`));
        // What is good already is not made twice, what was revoked is.
        const same = await done([...words, '-w', 'json'], nowhere);
        assert.deepEqual(same.json, { file, token });
        await done(['token', 'revoke', `recovered on ${node.name}`, '--yes']);
        await until('it is revoked there', async () =>
            (await node.get('/api/v1/token', { token })).status === 401);
        const anew = (await done(words, nowhere)).stdout.trim();
        assert.notEqual(anew, token);
        await until('it counts', async () => (await node.get(
            '/api/v1/token', { token: anew })).status === 200);
        await done(['token', 'revoke', `recovered on ${node.name}`, '--yes']);

        // Only a file of the node's user, or of root.
        await until('it is revoked there', async () => (await node.get(
            '/api/v1/token', { token: anew })).status === 401);
        fs.symlinkSync(file, request);
        await until('it says no', () =>
            /admin-token\.request: is not a file of this/.test(node.log()));
        assert.equal(fs.readFileSync(file, 'utf8'), `${anew}\n`);
        fs.unlinkSync(request);
        const wrong = await ctl(['token', 'recover', '--data-dir', '/nowhere'],
            nowhere);
        assert.equal(wrong.code, 2);
        assert.match(wrong.stderr, /\/nowhere\/identity: No such file/);
    });

    test('lets a request for a token wait for a leader', async () => {
        const node = await cluster.follower();
        const others = cluster.nodes.filter((one) => one !== node);
        const words = ['token', 'recover', '--data-dir', node.dataDir];
        const nowhere = { token: '', nodes: [] };
        for (const one of others) await one.kill();
        const waits = await ctl([...words, '--timeout', '3s'], nowhere);
        assert.equal(waits.code, 1);
        assert.match(waits.stderr, /admin-token\.request: no answer yet/);
        for (const one of others) one.start();
        const token = (await done(words, nowhere)).stdout.trim();
        await until('it counts', async () => (await node.get(
            '/api/v1/token', { token })).status === 200);
        for (const one of others) await one.ready();
        await done(['token', 'revoke', `recovered on ${node.name}`, '--yes']);
    });

    test('hears gateways', async () => {
        const { json } = await done(['location', 'list', '-w', 'json']);
        const agent = new NativeGateway({
            cluster, rng: new Random(), keys: [randomKey()],
            token: gatewayToken(GATEWAY_SECRET, json[0].id),
            hostname: 'gw-1', id: 'gw-1',
        });
        agent.tick();
        await agent.drained();
        // The node that is asked may be a moment behind.
        const says = (words, pattern) => until(`${words.join(' ')}: ${pattern}`,
            async () => pattern.test((await done(words)).stdout));
        await says(['gateway', 'list', '--location', 'Zürich'],
            /gw-1 +Zürich +native +heard/);
        await says(['doctor'], /1 of 1 are heard/);
        agent.stop();
    });

    test('claims devices that were reported before they were added', async () => {
        const { json } = await done(['location', 'list', '-w', 'json']);
        const keys = [randomKey(), randomKey()];
        const [laptop, printer] = keys.map((key) => key.toString('base64'));
        const from = Date.now() - 60000;
        const agent = new NativeGateway({
            cluster, rng: new Random(), keys,
            token: gatewayToken(GATEWAY_SECRET, json[0].id),
            hostname: 'gw-claim', id: 'gw-claim',
        });
        // Some periods: a peer may be idle in one.
        for (let i = 0; i < 12; i++) agent.tick();
        await agent.drained();
        agent.stop();
        const row = async (key) => (await cluster.nodes[0].call('GET',
            '/api/v1/device?consistency=linearizable'))
            .find((device) => device.wireguard_pubkey === key);
        const before = await row(laptop);
        assert.equal(before.device_type, 'unclaimed');
        const bytes = async () => cluster.nodes[0].totals('device', { from });
        const counted = (await bytes()).get(laptop);
        assert.ok(counted?.upload > 0);

        const added = await done(['device', 'add', 'lap', laptop, '--user',
            'ann', '-w', 'json']);
        assert.equal(added.json.device.id, before.id);
        assert.equal(added.json.configs.length, 1);
        const after = await row(laptop);
        assert.deepEqual(
            [after.id, after.name, after.username, after.device_type],
            [before.id, 'lap', 'ann', 'user']);
        assert.deepEqual((await bytes()).get(laptop), counted);
        assert.deepEqual(
            (await cluster.nodes[0].totals('user', { from })).get('ann'),
            counted);
        await done(['device', 'add', 'ink', printer, '--location', 'Zürich']);
        assert.equal((await row(printer)).device_type, 'network');

        // Nobody takes a device that has an owner.
        const again = await ctl(['device', 'add', 'x', laptop, '--user', 'bob']);
        assert.equal(again.code, 1);
        assert.match(again.stderr, new RegExp(`exists already.* ${before.id}`));
        assert.equal((await row(laptop)).username, 'ann');
        await done(['device', 'delete', 'lap', '--yes']);
        await done(['device', 'delete', 'ink', '--yes']);
        await done(['gateway', 'delete', 'gw-claim', '--yes']);
    });

    test('forgets a gateway, and takes it as a new one', async () => {
        const { json } = await done(['location', 'list', '-w', 'json']);
        const start = () => {
            const agent = new NativeGateway({
                cluster, rng: new Random(), keys: [randomKey()],
                token: gatewayToken(GATEWAY_SECRET, json[0].id),
                hostname: 'gw-2', id: 'gw-2',
            });
            agent.tick();
            return agent;
        };
        const idOf = async (hostname) => {
            const list = await cluster.nodes[0].call('GET',
                '/api/v1/network/gateways?consistency=linearizable');
            return Object.values(list).flat()
                .find((gateway) => gateway.hostname === hostname)?.id;
        };
        await until('the level is there', async () =>
            (await cluster.nodes[0].call('GET', '/api/v1/cluster')).level >= 4);
        const before = start();
        await before.drained();
        const id = await idOf('gw-2');
        const deleted = await done(['gateway', 'delete', 'gw-2', '--yes']);
        assert.equal(deleted.stdout, `gateway gw-2 (id ${id}) is gone\n`);
        assert.equal(await idOf('gw-2'), undefined);
        assert.ok(await idOf('gw-1'));
        before.tick(); // the open stream ends: of this session nothing is known
        await until('its stream ends', () => before.violations.length > 0);
        assert.match(before.violations[0], /gap: expects 1,|status 5: .*forgot/);
        before.stop();
        const after = start();
        await after.drained();
        assert.ok(await idOf('gw-2') > id);
        after.stop();
        await done(['gateway', 'delete', String(await idOf('gw-2')), '--yes']);
        const none = await ctl(['gateway', 'delete', 'gw-2', '--yes']);
        assert.equal(none.code, 1);
        await done(['location', 'delete', 'Zürich', '--yes']);
    });

    test('judges the disk and leaves nothing on it', async () => {
        const { dataDir } = cluster.nodes[0];
        const before = fs.readdirSync(dataDir).sort();
        const disk = await ctl(
            ['check', 'disk', dataDir, '--seconds', '1', '-w', 'json']);
        assert.ok(disk.json.writes > 0);
        assert.ok(disk.json.p50_ms <= disk.json.p99_ms);
        assert.equal(disk.code, disk.json.verdict === 'slow' ? 1 : 0);
        assert.deepEqual(fs.readdirSync(dataDir).sort(), before);
        const none = await ctl(['check', 'disk', path.join(dataDir, 'none')]);
        assert.equal(none.code, 1);
        assert.match(none.stderr, /No such file or directory/);
    });

    test('hands leadership over, and drains', async () => {
        const leader = await cluster.leader();
        const next = cluster.nodes.find((node) => node !== leader);
        const moved = await soon(
            ['leader', 'transfer', next.name, '-w', 'json']);
        assert.equal(moved.json.leader, next.name);
        assert.equal(await cluster.leader(), next);
        const nobody = await ctl(['leader', 'transfer', 'nobody']);
        assert.equal(nobody.code, 1);
        assert.match(nobody.stderr, /nobody/);

        await done(['drain'], { nodes: [next] });
        await until('the draining node has given leadership away', async () =>
            (await cluster.leader()) !== next);
        await until('the doctor sees it', async () => {
            const doctor = await ctl(['doctor', '-w', 'json']);
            return doctor.json.findings.some((finding) =>
                finding.text === `${next.name} is draining`);
        });
        await done(['drain', '--undo'], { nodes: [next] });
    });

    test('takes votes and gives them back', async () => {
        const node = await cluster.follower();
        const role = async (wanted) => until(`${node.name} is ${wanted}`,
            async () => {
                const list = await done(['member', 'list', '-w', 'json']);
                return list.json.members.find((member) =>
                    member.name === node.name).role === wanted;
            });
        await soon(['member', 'demote', node.name]);
        await role('standby');
        await soon(['member', 'promote', node.name]);
        await role('voter');
        const none = await ctl(['member', 'remove', 'nobody', '--yes']);
        assert.equal(none.code, 1);
    });

    test('brings a new node in, and takes it out', async () => {
        const { alone, node } = await startAlone('n4',
            path.join(cluster.directory, 'n4'));
        try {
            const words = ['member', 'add', `n4=${node.peer}`];
            const flags = await done([...words, '--wait', '0']);
            assert.match(flags.stdout,
                new RegExp(`--name n4 --peer-address ${node.peer} `));
            node.extraArgs.push('--initial-peers', cluster.nodes
                .map((one) => `${one.name}=${one.peer}`).join(','));
            node.start();
            const added = await done([...words, '-w', 'json']);
            assert.match(added.json.role, /^(voter|standby)$/);
            const list = await done(['member', 'list']);
            assert.match(list.stdout, /^n4 /m);
            await remove('n4');
            const isGone = async () => !(await isMember('n4'));
            // Its knock of a moment ago must not bring it back.
            for (let i = 0; i < 20; i++) {
                assert.ok(await isGone(), 'n4 is gone');
                await sleep(100);
            }
        } finally {
            await alone.end();
        }
    });

    test('has a node that nobody can dial say so', async () => {
        const { alone, node } = await startAlone('n5',
            path.join(cluster.directory, 'n5'));
        try {
            // Where others dial it nothing listens: as behind a firewall.
            node.extraArgs = ['--peer-address', '127.0.0.1:1',
                '--initial-peers', cluster.nodes
                    .map((one) => `${one.name}=${one.peer}`).join(',')];
            node.start();
            await until('it says what is wrong', () => /unheard.* no member has reached it at 127\.0\.0\.1:1 for 1\d s/
                .test(node.log()), 30000);
            const leader = await cluster.leader();
            assert.match(leader.log(), /peer_unreachable: n5=127\.0\.0\.1:1: /);
            const doctor = await ctl(['doctor', '-w', 'json']);
            assert.match(JSON.stringify(doctor.json.findings), new RegExp(
                `n5 \\(spare\\) is not reached by ${leader.name} at 127.0.0.1:1`));
            await remove('n5');
        } finally {
            await alone.end();
        }
        for (const one of cluster.nodes) {
            assert.doesNotMatch(one.log(), /unheard/);
        }
    });

    test('says who is down, and goes on with the others', async () => {
        const victim = await cluster.follower();
        await victim.kill();
        const health = await ctl(['endpoint', 'health', '-w', 'json']);
        assert.equal(health.code, 1);
        const row = health.json.endpoints.find((e) =>
            e.endpoint === `http://${victim.http}`);
        assert.equal(row.health, 'unreachable');
        // The dead one is asked first.
        await done(['location', 'list'],
            { nodes: [victim, ...cluster.running] });
        await until('the doctor names it', async () => {
            const doctor = await ctl(['doctor', '-w', 'json']);
            assert.equal(doctor.code, 1);
            return doctor.json.findings.some((finding) =>
                finding.check === 'quorum' && finding.state === 'warn' &&
                finding.text.includes(`${victim.name} is down`));
        });
        victim.start();
        await victim.ready();
        await until('all are healthy again', async () =>
            (await ctl(['endpoint', 'health'])).code === 0);
        await done(['endpoint', 'hash']);
    });

    // What every test above left behind, as a node on its own.
    async function startAlone(name, dataDir) {
        const alone = await Cluster.create({ label: name, size: 1 });
        const [node] = alone.nodes;
        node.dataDir = dataDir;
        node.name = name;
        node.extraArgs = ['--peer-address', node.peer];
        return { alone, node };
    }

    test('saves a copy, and makes a new cluster of it', async () => {
        await done(['location', 'create', 'kept', '--address',
            '10.78.0.1/16', '--vpn-host', 'vpn.example']);
        const file = path.join(cluster.directory, 'copy.mdb');
        const saved = await done(['snapshot', 'save', file, '-w', 'json']);
        const status = await done(['snapshot', 'status', file, '-w', 'json']);
        assert.equal(status.json.index, saved.json.index);
        assert.equal(status.json.cluster_id, saved.json.cluster_id);
        assert.equal(status.json.sha256, saved.json.sha256);
        assert.equal(status.json.sum_checked, true);

        const { alone, node } = await startAlone('restored',
            path.join(cluster.directory, 'restored'));
        try {
            const restore = ['snapshot', 'restore', file, '--data-dir',
                node.dataDir, '--member', `restored=${node.peer}`];
            const sum = fs.readFileSync(`${file}.sha256`, 'utf8');
            fs.writeFileSync(`${file}.sha256`, sum.replace(/^./,
                (digit) => (digit === '0' ? '1' : '0')));
            const damaged = await ctl(restore);
            assert.equal(damaged.code, 1, 'not the file of FILE.sha256');
            assert.match(damaged.stderr, /is damaged, or another file/);
            fs.writeFileSync(`${file}.sha256`, sum);
            await done(restore);
            const again = await ctl(restore);
            assert.equal(again.code, 1, 'never over another directory');
            node.start();
            await node.ready();
            const list = await done(['location', 'list'], { nodes: [node] });
            assert.match(list.stdout, /kept/);
            const members = await done(['member', 'list', '-w', 'json'],
                { nodes: [node] });
            assert.notEqual(members.json.cluster_id, saved.json.cluster_id);
        } finally {
            await alone.end();
        }
    });

    test('makes a new cluster of the last survivor', async () => {
        const force = (dataDir, peer) => ['recover', '--force-new-cluster',
            '--data-dir', dataDir, '--member', `phoenix=${peer}`, '--yes'];
        const [survivor, other] = cluster.nodes;
        const running = await ctl(
            ['recover', '--inspect', '--data-dir', survivor.dataDir]);
        assert.equal(running.code, 1, 'it is in use');
        await survivor.kill('SIGTERM');
        const { alone, node } = await startAlone('phoenix', survivor.dataDir);
        try {
            const alive = await ctl(force(survivor.dataDir, node.peer));
            assert.equal(alive.code, 1, 'the others live');
            for (const dead of cluster.running) await dead.kill();
            const inspect = await done(['recover', '--inspect', '--data-dir',
                survivor.dataDir, '-w', 'json']);
            assert.equal(inspect.json.members.length, 3);
            assert.ok(inspect.json.last_index > 0);
            await done(['recover', '--inspect', '--data-dir', other.dataDir]);
            await done(force(survivor.dataDir, node.peer));
            node.start();
            await node.ready();
            const list = await done(['location', 'list'], { nodes: [node] });
            assert.match(list.stdout, /kept/);
        } finally {
            await alone.end();
        }
    });
});

describe('holdfastctl over TLS', () => {
    test('trusts who the CA names, and nobody else', async () => {
        const cluster = await Cluster.create({ label: 'ctl-tls', size: 1 });
        const [node] = cluster.nodes;
        try {
            const ca = new Authority(cluster.directory);
            const made = ca.issue('127.0.0.1');
            node.extraArgs = ['--tls-cert', made.cert, '--tls-key', made.key];
            node.start();
            await node.ready();
            const ctl = (...words) => run('holdfastctl', [...words,
                '--endpoints', `https://${node.http}`, '--token', ADMIN_TOKEN]);
            const good = await ctl('doctor', '--cacert', ca.cert);
            assert.equal(good.code, 0, good.stdout);
            assert.match(good.stdout, /certificates .*expires in 2\.0 days/);
            const stranger = await ctl('endpoint', 'health');
            assert.equal(stranger.code, 1);
            assert.match(stranger.stdout, /certificate/);
            const missing = await ctl('member', 'list', '--cacert', '/none');
            assert.equal(missing.code, 1);
            assert.match(missing.stderr, /\/none/);
            const plain = await run('holdfastctl', ['endpoint', 'status',
                '--endpoints', node.http]);
            assert.equal(plain.code, 1);
            assert.match(plain.stdout, /https/i);
        } finally {
            await cluster.end();
        }
    });
});
