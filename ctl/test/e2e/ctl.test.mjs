// holdfastctl against made-up nodes: what it asks, what it makes of the
// answers, and its exit codes.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { cluster, ctl, FakeNode, member } from './fake_node.mjs';

const nodes = [];
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-ctl-'));
after(() => {
    for (const node of nodes) node.stop();
    fs.rmSync(directory, { recursive: true });
});

async function fake(routes) {
    const node = await FakeNode.start(routes);
    nodes.push(node);
    return node;
}

// Nothing listens there.
const NOBODY = 'http://127.0.0.1:1';

const three = [member('a'), member('b'), member('c')];

// Nodes a, b and c that answer as a healthy cluster; @changes by name.
async function threeNodes(changes = {}) {
    return Promise.all(['a', 'b', 'c'].map((name) => fake({
        'GET /api/v1/cluster': cluster(name, three),
        'GET /metrics': { status: 200, body: 'holdfast_raft_term 3\n' },
        'POST /api/v1/digest': { status: 201, json: { index: 7 } },
        'GET /api/v1/digest': { index: 7, digest: 'aaaa' },
        'GET /api/v1/network/gateways': { 1: [{ connected: true }] },
        'GET /api/v1/health': {
            status: 'ok', live: true, ready: true, has_leader: true,
        },
        ...changes[name],
    })));
}

const urls = (list) => list.map((node) => node.url);
const found = (answer, check, state) => answer.json.findings
    .filter((f) => f.check === check && f.state === state)
    .map((f) => f.text).join('\n');

describe('holdfastctl endpoint', () => {
    test('status shows lag, offset and what is wrong of each node', async () => {
        const one = await fake({
            'GET /api/v1/cluster': cluster('a', [
                member('a', { commit: 120, applied: 120, zone: 'west' }),
                member('b', { applied: 20, clock_offset_ms: -31 }),
                member('c', { connected: false, disk_low: true }),
            ]),
        });
        const options = { endpoints: [one.url] };
        const table = await ctl(['endpoint', 'status', '--cluster'], options);
        assert.equal(table.code, 0, table.stderr);
        assert.match(table.stdout, /^NODE +ZONE +VERSION +ROLE +TERM +COMMITTED/);
        assert.match(table.stdout, /^b .* 100 +4.0 KiB +-31 ms$/m);
        assert.match(table.stdout, /^c .*no link from a, disk almost full$/m);
        assert.doesNotMatch(table.stdout, / $|\u001b/m);
        const top = await ctl(['top'], options);
        assert.match(top.stdout, /^[0-9:]+ UTC, every 2 s.*\n\nNODE /);
        const { json } = await ctl(
            ['endpoint', 'status', '--cluster', '-w', 'json'], options);
        assert.deepEqual(json.nodes.map((n) => n.lag), [0, 100, null]);
        assert.deepEqual(json.nodes[0].errors, []);
    });

    test('status of a dead endpoint is a row, and exit 1', async () => {
        const [a] = await threeNodes();
        const answer = await ctl(['endpoint', 'status', '-w', 'json'],
            { endpoints: [a.url, NOBODY] });
        assert.equal(answer.code, 1);
        assert.equal(answer.json.nodes.length, 2);
        assert.deepEqual(answer.json.nodes[1].errors, ['Connection refused']);
    });

    test('health is 1 when a node has no leader', async () => {
        const list = await threeNodes({
            b: {
                'GET /api/v1/health': {
                    status: 503,
                    json: { live: true, ready: true, has_leader: false },
                },
            },
        });
        const answer = await ctl(['endpoint', 'health', '-w', 'json'],
            { endpoints: urls(list) });
        assert.equal(answer.code, 1);
        assert.deepEqual(answer.json.endpoints.map((e) => e.health),
            ['healthy', 'no leader', 'healthy']);
    });

    test('hash compares all, and says aloud when they differ', async () => {
        const list = await threeNodes();
        const same = await ctl(['endpoint', 'hash'], { endpoints: urls(list) });
        assert.equal(same.code, 0, same.stdout);
        assert.match(same.stdout, /3 replicas agree at log index 7/);
        assert.equal(list[1].asked.at(-1).query.get('index'), '7');
        list[2].routes['GET /api/v1/digest'] = { index: 7, digest: 'bbbb' };
        const other = await ctl(['endpoint', 'hash'], { endpoints: urls(list) });
        assert.equal(other.code, 1);
        assert.match(other.stdout, /THE REPLICAS DIFFER/);
    });

    test('one replica that agrees with itself proves nothing', async () => {
        const [a] = await threeNodes();
        const answer = await ctl(['endpoint', 'hash'], { endpoints: [a.url] });
        assert.match(answer.stdout, /One replica proves nothing/);
    });
});

describe('holdfastctl asks another node', () => {
    const made = { status: 201, json: { id: 5, token: 'secret' } };
    const create = ['token', 'create', 'x'];

    test('when one is dead or has no leader', async () => {
        const lost = await fake({
            'POST /api/v1/token': {
                status: 503, json: { msg: 'no leader', code: 'no_leader' },
            },
        });
        const good = await fake({ 'POST /api/v1/token': made });
        const answer = await ctl(create,
            { endpoints: [NOBODY, lost.url, good.url] });
        assert.equal(answer.code, 0, answer.stderr);
        assert.equal(answer.stdout, 'secret\n');
        assert.equal(good.asked[0].token, 'Bearer good');
        assert.deepEqual(good.asked[0].body, { name: 'x' });
    });

    test('but never when the outcome is unknown', async () => {
        const unsure = await fake({
            'POST /api/v1/token': {
                status: 503, json: { msg: 'lost', code: 'outcome_unknown' },
            },
        });
        const good = await fake({ 'POST /api/v1/token': made });
        const answer = await ctl(create, { endpoints: [unsure.url, good.url] });
        assert.equal(answer.code, 1);
        assert.match(answer.stderr, /lost/);
        assert.equal(good.asked.length, 0);
    });

    test('nor when it hung up in the middle, and that is said', async () => {
        const good = await fake({ 'POST /api/v1/token': made });
        for (const give of [(socket) => socket.destroy(), () => {}]) {
            const port = net.createServer((socket) => {
                socket.on('error', () => {});
                socket.once('data', () => give(socket));
            }).listen(0, '127.0.0.1');
            await once(port, 'listening');
            const answer = await ctl(['--timeout', '1s', ...create], {
                endpoints: [`http://127.0.0.1:${port.address().port}`, good.url],
            });
            port.close();
            assert.equal(answer.code, 1);
            assert.match(answer.stderr, /it may have been done: look before you repeat it/);
            assert.equal(good.asked.length, 0);
        }
    });

    test('and says what a wrong token or a foreign server means', async () => {
        const strict = await fake({
            'GET /api/v1/token': { status: 401, json: { msg: 'm', code: 'c' } },
        });
        const denied = await ctl(['token', 'list'], { endpoints: [strict.url] });
        assert.equal(denied.code, 1);
        assert.match(denied.stderr, /--token-file FILE/);
        const web = await fake({
            'GET /api/v1/token': { status: 200, body: '<html>' },
        });
        const foreign = await ctl(['token', 'list'], { endpoints: [web.url] });
        assert.equal(foreign.code, 1);
        assert.match(foreign.stderr, /is this a Holdfast node/);
    });
});

describe('holdfastctl at a wrong address', () => {
    const list = (endpoint) => ctl(['token', 'list'],
        { endpoints: [endpoint] });

    test('says what to look at where the connection is refused', async () => {
        const copy = ['snapshot', 'save', path.join(directory, 'none')];
        for (const answer of [await list(NOBODY),
            await ctl(copy, { endpoints: [NOBODY] })]) {
            assert.equal(answer.code, 1);
            assert.match(answer.stderr,
                /Connection refused; is holdfast-node running .*port 8000/);
        }
    });

    test('says that https is one for http', async () => {
        const a = await fake({});
        const answer = await list(a.url.replace('http:', 'https:'));
        assert.equal(answer.code, 1);
        assert.match(answer.stderr, /no TLS there: http:\/\/ instead of https/);
    });

    test('asks for the HTTP port where gRPC or peers are spoken', async () => {
        // What HTTP/2 begins with, an empty SETTINGS frame; and what a peer
        // port says to strangers.
        for (const bytes of [[0, 0, 0, 4, 0, 0, 0, 0, 0], []]) {
            const port = net.createServer((socket) => {
                socket.resume();
                socket.end(Buffer.from(bytes));
            });
            port.listen(0, '127.0.0.1');
            await once(port, 'listening');
            const answer = await list(
                `http://127.0.0.1:${port.address().port}`);
            port.close();
            assert.equal(answer.code, 1);
            assert.match(answer.stderr, /is this the HTTP port, 8000 by def/);
        }
    });
});

describe('holdfastctl member, leader and drain', () => {
    test('send what the API wants', async () => {
        const a = await fake({
            'GET /api/v1/cluster': cluster('a', three, { leader: 'b' }),
            'POST /api/v1/cluster/members/c': {},
            'DELETE /api/v1/cluster/members/c%20d': {},
            'POST /api/v1/cluster/leader': {},
            'POST /api/v1/drain': {},
        });
        const steps = [
            [['member', 'promote', 'c'], { action: 'promote' }],
            [['member', 'demote', 'c'], { action: 'demote' }],
            [['member', 'remove', 'c d', '--yes'], undefined],
            [['leader', 'transfer', 'b'], { name: 'b' }],
            [['leader', 'transfer'], { name: '' }],
            [['drain'], { drain: true }],
            [['drain', '--undo'], { drain: false }],
        ];
        for (const [words, body] of steps) {
            a.asked.length = 0;
            const answer = await ctl(words, { endpoints: [a.url] });
            assert.equal(answer.code, 0, `${words}: ${answer.stderr}`);
            assert.deepEqual(a.asked[0].body, body);
        }
    });

    test('pass on why the cluster refuses', async () => {
        const a = await fake({
            'DELETE /api/v1/cluster/members/b': {
                status: 409,
                json: { msg: 'it would leave 1 of 2 voters', code: 'refused' },
            },
        });
        const answer = await ctl(['member', 'remove', 'b', '--yes'],
            { endpoints: [a.url] });
        assert.equal(answer.code, 1);
        assert.match(answer.stderr, /it would leave 1 of 2 voters/);
    });

    test('want --yes where nobody can be asked, and change nothing', async () => {
        const a = await fake({
            'GET /api/v1/network': [{ id: 1, name: 'office' }],
            'DELETE /api/v1/network/1': { status: 200, body: 'null' },
            'DELETE /api/v1/cluster/members/b': {},
        });
        for (const words of [['location', 'delete', 'office'],
            ['member', 'remove', 'b'],
            ['recover', '--force-new-cluster', '--data-dir', directory,
                '--member', 'a=127.0.0.1:1']]) {
            const answer = await ctl(words, { endpoints: [a.url] });
            assert.equal(answer.code, 2, `${words}: ${answer.stderr}`);
            assert.match(answer.stderr, /--yes is wanted .*nothing was changed/);
            assert.equal(answer.stdout, '');
        }
        assert.deepEqual(a.asked.filter((one) => one.method === 'DELETE'), []);
        const sure = await ctl(['location', 'delete', 'office', '-y'],
            { endpoints: [a.url] });
        assert.equal(sure.code, 0, sure.stderr);
        assert.equal(a.asked.at(-1).method, 'DELETE');
    });

    test('drain is for one node', async () => {
        const answer = await ctl(['drain'], { endpoints: [NOBODY, NOBODY] });
        assert.equal(answer.code, 2);
        assert.match(answer.stderr, /exactly that one/);
    });

    test('add prints the flags, and waits until the node has arrived',
        async () => {
            const roles = ['', '', 'joining', 'spare', 'spare', 'standby'];
            const a = await fake({
                'GET /api/v1/cluster': () => {
                    const role = roles.length > 1 ? roles.shift() : roles[0];
                    return cluster('a', role === ''
                        ? three : [...three, member('d', { role })]);
                },
            });
            const answer = await ctl(['member', 'add', 'd=d.example:7600'],
                { endpoints: [a.url] });
            assert.equal(answer.code, 0, answer.stderr);
            assert.match(answer.stdout,
                /--name d --peer-address d\.example:7600/);
            assert.match(answer.stdout, /a=a\.example:7600,\\\nb=b/);
            assert.match(answer.stdout, /d has joined, as a standby/);
            assert.match(answer.stderr,
                /waiting for its knock.*\n.*knocking.*\n.*fetching/);
        });

    test('add refuses where the node is one that nobody can dial', async () => {
        const a = await fake({
            'GET /api/v1/cluster': cluster('a',
                [member('a', { address: 'localhost:0' })]),
        });
        const answer = await ctl(
            ['member', 'add', 'b=b.example:7600', '--wait', '1s'],
            { endpoints: [a.url] });
        assert.equal(answer.code, 1);
        assert.equal(answer.stdout, '');
        assert.match(answer.stderr, /a is a cluster of one.*no other node can dial/);
        assert.match(answer.stderr, /snapshot restore FILE .*--member NAME=HOST:7600\n/);
    });

    test('add gives up, and refuses a name or address in use', async () => {
        const knocker = member('x;\u001b[2J', { role: 'joining' });
        const a = await fake({
            'GET /api/v1/cluster': cluster('a', [...three, knocker]),
        });
        const endpoints = [a.url];
        const late = await ctl(
            ['member', 'add', 'd=d.example:7600', '--wait', '1s'],
            { endpoints });
        assert.equal(late.code, 1);
        assert.match(late.stderr, /nothing needs to be undone/);
        // Its name is anybody's choice, and the line is for a shell.
        assert.match(late.stdout, /c=c\.example:7600 \\\n/);
        assert.doesNotMatch(late.stdout, /x;|\u001b/);
        const taken = await ctl(['member', 'add', 'b=x:1'], { endpoints });
        assert.match(taken.stderr, /b is a member already/);
        const address = await ctl(['member', 'add', 'd=b.example:7600'],
            { endpoints });
        assert.match(address.stderr, /is the address of b/);
        const shape = await ctl(['member', 'add', 'd.example'], { endpoints });
        assert.equal(shape.code, 2);
    });
});

describe('holdfastctl snapshot save', () => {
    const body = Buffer.alloc(100000, 'x');
    const sum = crypto.createHash('sha256').update(body).digest('hex');
    const copy = (sha256) => ({
        'GET /api/v1/snapshot': {
            status: 200, body,
            headers: {
                'Holdfast-Copy-Index': '42', 'Holdfast-Cluster-Id': 'c0ffee00',
                'Holdfast-Copy-Sha256': sha256,
            },
        },
    });

    test('keeps a whole copy and its sum', async () => {
        const file = path.join(directory, 'whole.mdb');
        const a = await fake(copy(sum));
        const answer = await ctl(['snapshot', 'save', file, '-w', 'json'],
            { endpoints: [a.url] });
        assert.equal(answer.code, 0, answer.stderr);
        assert.deepEqual(answer.json, {
            file, index: 42, cluster_id: 'c0ffee00', bytes: body.length,
            sha256: sum,
        });
        assert.deepEqual(fs.readFileSync(file), body);
        assert.equal(fs.statSync(file).mode & 0o777, 0o600);
        assert.equal(fs.readFileSync(`${file}.sha256`, 'utf8'),
            `${sum}  whole.mdb\n`);
        assert.ok(!fs.existsSync(`${file}.part`));
    });

    test('keeps nothing of a damaged or refused one', async () => {
        const file = path.join(directory, 'damaged.mdb');
        fs.writeFileSync(file, 'the last good one');
        const bad = await fake(copy('0'.repeat(64)));
        const busy = await fake({
            'GET /api/v1/snapshot': {
                status: 503, json: { msg: 'another copy is made', code: 'b' },
            },
        });
        const damaged = await ctl(['snapshot', 'save', file],
            { endpoints: [bad.url] });
        assert.equal(damaged.code, 1);
        assert.match(damaged.stderr, /SHA-256/);
        const refused = await ctl(['snapshot', 'save', file],
            { endpoints: [busy.url] });
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /another copy is made/);
        assert.equal(fs.readFileSync(file, 'utf8'), 'the last good one');
        assert.ok(!fs.existsSync(`${file}.part`));
    });

    // A rename that fails stands for a host that loses power before it.
    test('leaves no new sum beside an old copy', async () => {
        const file = path.join(directory, 'taken.mdb');
        fs.mkdirSync(file);
        fs.writeFileSync(path.join(file, 'full'), '');
        fs.writeFileSync(`${file}.sha256`, `${'0'.repeat(64)}  taken.mdb\n`);
        const a = await fake(copy(sum));
        const answer = await ctl(['snapshot', 'save', file],
            { endpoints: [a.url] });
        assert.equal(answer.code, 1);
        assert.match(answer.stderr, /is as it was, without its sum/);
        assert.ok(!fs.existsSync(`${file}.sha256`));
        assert.ok(!fs.existsSync(`${file}.part`));
        assert.ok(!fs.existsSync(`${file}.sha256.part`));
    });

    test('keeps copy and sum where there is no room for new ones', async () => {
        const file = path.join(directory, 'full.mdb');
        fs.writeFileSync(file, 'the last good one');
        fs.writeFileSync(`${file}.sha256`, 'and its sum');
        fs.symlinkSync('/dev/full', `${file}.sha256.part`);
        const a = await fake(copy(sum));
        const answer = await ctl(['snapshot', 'save', file],
            { endpoints: [a.url] });
        assert.equal(answer.code, 1);
        assert.match(answer.stderr, /full\.mdb is as it was/);
        assert.equal(fs.readFileSync(file, 'utf8'), 'the last good one');
        assert.equal(fs.readFileSync(`${file}.sha256`, 'utf8'), 'and its sum');
    });

    test('keeps nothing of an answer that is no copy',
        async () => {
            const file = path.join(directory, 'page.mdb');
            const proxy = await fake({
                'GET /api/v1/snapshot': { status: 200, body: '<html>' },
            });
            const answer = await ctl(['snapshot', 'save', file],
                { endpoints: [proxy.url] });
            assert.equal(answer.code, 1);
            assert.match(answer.stderr, /no copy of a store/);
            assert.ok(!fs.existsSync(file));
            assert.ok(!fs.existsSync(`${file}.part`));
            assert.ok(!fs.existsSync(`${file}.sha256`));
        });

    test('status sees what FILE.sha256 denies, and what is no copy',
        async () => {
            const file = path.join(directory, 'other.mdb');
            fs.writeFileSync(file, 'changed');
            fs.writeFileSync(`${file}.sha256`, `${sum}  other.mdb\n`);
            const changed = await ctl(['snapshot', 'status', file]);
            assert.equal(changed.code, 1);
            assert.match(changed.stderr, /is damaged, or another file/);
            fs.writeFileSync(`${file}.sha256`, '');
            const empty = await ctl(['snapshot', 'status', file]);
            assert.equal(empty.code, 1);
            assert.match(empty.stderr, /holds no SHA-256/);
            fs.rmSync(`${file}.sha256`);
            const none = await ctl(['snapshot', 'status', file]);
            assert.equal(none.code, 1);
            assert.match(none.stderr, /the sum was not checked/);
            assert.match(none.stderr, /no copy|not a|damaged/);
        });
});

describe('holdfastctl check net', () => {
    test('recommends timeouts for the longest round trip', async () => {
        const far = [member('a'), member('b', { rtt_us: 83000 })];
        const a = await fake({ 'GET /api/v1/cluster': cluster('a', far) });
        const answer = await ctl(['check', 'net'], { endpoints: [a.url] });
        assert.equal(answer.code, 0, answer.stderr);
        assert.match(answer.stdout,
            /--heartbeat 90ms --election-timeout 900ms/);
    });

    test('is 1 where two do not hear each other', async () => {
        const torn = [member('a'), member('b', { connected: false })];
        const a = await fake({ 'GET /api/v1/cluster': cluster('a', torn) });
        const answer = await ctl(['check', 'net'], { endpoints: [a.url] });
        assert.equal(answer.code, 1);
        assert.match(answer.stdout, /NO LINK/);
    });
});

describe('holdfastctl doctor', () => {
    const doctor = async (list) => ctl(['doctor', '-w', 'json'],
        { endpoints: urls(list) });

    test('finds nothing wrong with a healthy cluster', async () => {
        const answer = await doctor(await threeNodes());
        assert.equal(answer.code, 0, answer.stdout);
        assert.equal(answer.json.ok, true);
        assert.match(found(answer, 'quorum', 'ok'), /1 more may fail/);
        assert.match(found(answer, 'replicas', 'ok'), /3 agree/);
        assert.match(found(answer, 'gateways', 'ok'), /1 of 1/);
    });

    test('finds what the leader sees of the others', async () => {
        const ill = [
            member('a'),
            member('b', { clock_offset_ms: 90000, version: '0.2.0' }),
            member('c', {
                connected: false, disk_low: true, disk_free_bytes: 1000,
            }),
            member('d', { role: 'standby', applied: 1, draining: true }),
        ];
        const list = await threeNodes({
            a: {
                'GET /api/v1/cluster': cluster('a', ill, {
                    commit: 50000, state: 'leader',
                }),
            },
        });
        const answer = await doctor(list);
        assert.equal(answer.code, 1);
        assert.match(found(answer, 'quorum', 'warn'), /c is down/);
        assert.match(found(answer, 'quorum', 'warn'), /none more may fail/);
        assert.match(found(answer, 'clocks', 'fail'), /b is \+90\.0 s off a/);
        assert.match(found(answer, 'disks', 'fail'), /c has 1000 B left/);
        assert.match(found(answer, 'versions', 'warn'), /b runs 0\.2\.0/);
        assert.match(found(answer, 'lag', 'warn'), /d is 49999 entries behind/);
        assert.match(found(answer, 'roles', 'warn'), /d is draining/);
    });

    test('finds two leaders, two clusters, differing replicas', async () => {
        const list = await threeNodes({
            b: { 'GET /api/v1/cluster': cluster('b', three, { leader: 'b' }) },
            c: {
                'GET /api/v1/cluster': cluster('c', three,
                    { cluster_id: 'deadbeef' }),
                'GET /api/v1/digest': { index: 7, digest: 'bbbb' },
            },
        });
        const answer = await doctor(list);
        assert.equal(answer.code, 1);
        assert.match(found(answer, 'leader', 'fail'), /b follows b, not a/);
        assert.match(found(answer, 'cluster', 'fail'), /is of another cluster/);
        assert.match(found(answer, 'replicas', 'fail'), /THEY DIFFER/);
    });

    test('finds certificates that end, and a lost quorum', async () => {
        const soon = Math.floor(Date.now() / 1000) + 3 * 86400;
        const gone = [member('a'), member('b', { connected: false }),
            member('c', { connected: false })];
        const a = await fake({
            'GET /api/v1/cluster': cluster('a', gone,
                { has_leader: false, leader: null }),
            'GET /metrics': {
                status: 200, body: 'holdfast_tls_cert_not_after_seconds' +
                    `{cert="peer"} ${soon}\n`,
            },
        });
        const answer = await doctor([a]);
        assert.equal(answer.code, 1);
        assert.match(found(answer, 'leader', 'fail'), /there is none/);
        assert.match(found(answer, 'quorum', 'fail'), /1 of 3 voters/);
        assert.match(found(answer, 'certificates', 'warn'),
            /peer expires in 3\.0 days/);
    });

    test('tells a removed node to stop, and nothing of a lost leader',
        async () => {
            const removed = {
                'GET /api/v1/cluster': cluster('c', three.slice(0, 2), {
                    state: 'removed', has_leader: false, leader: null,
                }),
            };
            const list = await threeNodes({ c: removed });
            const alone = await doctor([list[2]]);
            assert.equal(alone.code, 1);
            assert.deepEqual(alone.json.findings.map((f) => f.check),
                ['roles', 'endpoints']);
            assert.match(found(alone, 'roles', 'fail'), /^c was removed/);
            assert.match(alone.json.findings[0].advice,
                /stop it; .*empty data directory/);
            const among = await doctor(list.reverse());
            assert.match(found(among, 'roles', 'fail'), /^c was removed/);
            assert.match(found(among, 'leader', 'ok'), /^a, in term 3/);
        });

    test('says so when nobody is there', async () => {
        const answer = await ctl(['doctor', '-w', 'json', '--cluster'],
            { endpoints: [NOBODY] });
        assert.equal(answer.code, 1);
        assert.match(found(answer, 'endpoints', 'fail'), /Connection refused/);
    });
});

describe('holdfastctl settings', () => {
    const kept = {
        retain_minute: '336h', retain_hour: '9600h', retain_day: '0',
    };

    test('show says what is in force', async () => {
        const a = await fake({ 'GET /api/v1/settings': kept });
        const answer = await ctl(['settings', 'show'], { endpoints: [a.url] });
        assert.equal(answer.code, 0, answer.stderr);
        assert.match(answer.stdout, /^retain-minute +336h +how long minutes/m);
        assert.match(answer.stdout, /^retain-day +for ever /m);
    });

    test('set asks for one, and deletes history only with --yes', async () => {
        const a = await fake({
            'PUT /api/v1/settings': ({ body }) => (body.confirm ? kept : {
                status: 409, json: { msg: 'minutes go', code: 'confirm' },
            }),
        });
        const words = ['settings', 'set', 'retain-minute', '336h'];
        const refused = await ctl(words, { endpoints: [a.url] });
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /minutes go/);
        const done = await ctl([...words, '--yes', '-w', 'json'],
            { endpoints: [a.url] });
        assert.equal(done.code, 0, done.stderr);
        assert.deepEqual(done.json, kept);
        assert.deepEqual(a.asked.map(({ body }) => body), [
            { retain_minute: '336h', confirm: false },
            { retain_minute: '336h', confirm: true },
        ]);
        const unknown = await ctl(['settings', 'set', 'secret', 'x'],
            { endpoints: [a.url] });
        assert.equal(unknown.code, 2);
        assert.match(unknown.stderr, /retain-minute, retain-hour or retain-day/);
    });
});

describe('holdfastctl check totals', () => {
    // What gateways 5 and 6 of one location saw of two devices, in any tier.
    const truth = () => ({
        5: { a: [300, 30], b: [20, 2] },
        6: { a: [1, 1] },
    });
    const sum = (list) => list.reduce(
        ([u, d], [upload, download]) => [u + upload, d + download], [0, 0]);
    const ids = { a: 11, b: 12 };

    // A node that answers from @ledger; @lie(series, query) may change it.
    async function node(lie = () => {}, ledger = truth(), index = () => 40) {
        const gatewayOf = (id) => sum(Object.values(ledger[id]));
        const all = (query) => {
            const row = (key, id, [upload, download]) => (
                { key, name: key, id, upload, download, points: [] });
            const by = query.get('by');
            const gateway = query.get('gateway');
            let series = [row('office', 1, sum(
                Object.keys(ledger).map(gatewayOf)))];
            if (by === 'gateway') {
                series = Object.keys(ledger).map(
                    (id) => row(`gw-${id}`, Number(id), gatewayOf(id)));
            } else if (by === 'device') {
                series = Object.entries(ledger[gateway]).map(
                    ([key, bytes]) => row(key, ids[key], bytes));
            }
            lie(series, query);
            return { kept_from: 0, applied_index: index(), series, next: null };
        };
        return fake({
            'GET /api/v1/network': [{ id: 1, name: 'office' }],
            'GET /api/v1/overview': ({ query }) => all(query),
        });
    }

    const check = async (list, ...words) => ctl(
        ['check', 'totals', '-w', 'json', ...words], { endpoints: urls(list) });

    test('is 0 where every sum is exact', async () => {
        const list = [await node(), await node()];
        const answer = await check(list);
        assert.equal(answer.code, 0, answer.stdout + answer.stderr);
        assert.equal(answer.json.exact, true);
        assert.equal(answer.json.nodes, 2);
        assert.equal(answer.json.rows, 12);
        const asked = list[1].asked.filter(({ query }) => query.has('by'));
        assert.ok(asked.every(({ query }) => query.get('at_least') === '40'));
        assert.deepEqual([...new Set(asked.map(
            ({ query }) => query.get('resolution')))], ['minute', 'hour', 'day']);
        const told = await ctl(['check', 'totals'], { endpoints: urls(list) });
        assert.match(told.stdout, /^exact: 12 sums .* on 2 nodes/);
    });

    // Midnight may be the hour that runs, and then it is no future.
    test('asks for nothing that is yet to come', async () => {
        const now = Math.floor(Date.now() / 1000);
        const hour = Math.floor(now / 3600) * 3600;
        const a = await node();
        const answer = await check([a], '--from', String(hour - 3599),
            '--to', String(hour + 2 * 86400));
        assert.equal(answer.code, 0, answer.stderr);
        assert.ok(answer.json.rows >= 6);
        assert.ok(a.asked.every(({ query }) =>
            !query.has('by') || Number(query.get('from')) <= now));
    });

    test('is no proof where no whole hour is in the range', async () => {
        const hour = Math.floor(Date.now() / 3600000) * 3600;
        const expect = path.join(directory, 'nothing.csv');
        fs.writeFileSync(expect, '');
        const ranges = [
            ['--from', '2026-01-05T22:05:00Z', '--to', '2026-01-05T22:55:00Z'],
            ['--from', '2026-01-05T22:05:00Z', '--to', '2026-01-05T22:55:00Z',
                '--expect', expect],
            ['--from', '2026-01-06T00:00:00Z', '--to', '2026-01-05T00:00:00Z'],
            // The next whole hour of the first is yet to come.
            ['--from', String(hour + 1)],
            ['--from', String(hour + 1), '--to', String(hour + 7200)],
            ['--from', String(hour + 7200)],
        ];
        const a = await node();
        for (const words of ranges) {
            const told = await ctl(['check', 'totals', ...words],
                { endpoints: [a.url] });
            assert.equal(told.code, 1, `${words}: ${told.stdout}`);
            assert.equal(told.stdout, '');
            assert.match(told.stderr, /nothing was compared: no whole hour/);
        }
        assert.ok(a.asked.every(({ query }) => !query.has('by')));
    });

    test('goes on without a node that is down, and names it', async () => {
        const a = await node();
        // The first of all, and not the first.
        for (const endpoints of [[NOBODY, a.url], [a.url, NOBODY]]) {
            const told = await ctl(['check', 'totals'], { endpoints });
            assert.equal(told.code, 1);
            assert.equal(told.stderr, '');
            assert.match(told.stdout, /^exact: 12 sums .* on 1 node, /);
            assert.match(told.stdout,
                /Not all could be asked:\n {2}http.*:1: Connection refused/);
        }
        const { json } = await ctl(['check', 'totals', '-w', 'json'],
            { endpoints: [a.url, NOBODY] });
        assert.equal(json.exact, false);
        assert.equal(json.nodes, 1);
        assert.deepEqual(json.failed,
            [{ endpoint: NOBODY, error: 'Connection refused' }]);
        const nobody = await ctl(['check', 'totals'], { endpoints: [NOBODY] });
        assert.equal(nobody.code, 1);
        assert.match(nobody.stderr, /Connection refused/);
    });

    test('names a byte that one device has too much', async () => {
        const liar = await node((series, query) => {
            if (query.get('gateway') === '5' &&
                query.get('resolution') === 'hour') series[1].download += 1;
        });
        const answer = await check([await node(), liar]);
        assert.equal(answer.code, 1);
        assert.equal(answer.json.exact, false);
        const off = answer.json.off.map((row) => [row.check, row.location,
            row.gateway, row.device, row.download, row.wanted_download]);
        assert.deepEqual(off.filter(([name]) => /^minutes/.test(name)),
            [['minutes and hours', 'office', 'gw-5', 'b', 2, 3]]);
        assert.deepEqual(off.filter(([name]) => /^hours/.test(name)),
            [['hours and days', 'office', 'gw-5', 'b', 3, 2]]);
        assert.ok(off.some(([name, , gateway, , have, want]) =>
            name === 'total and parts, by hour' && gateway === 'gw-5' &&
            have === 32 && want === 33));
        assert.ok(answer.json.off.every((row) => row.node === liar.url));
        const told = await ctl(['check', 'totals'], { endpoints: [liar.url] });
        assert.equal(told.code, 1);
        assert.match(told.stdout, /hours and days .*office +gw-5 +b .* 3 +2$/m);
    });

    test('names what a location or a gateway lost on the way up', async () => {
        const lost = (by) => check0(by);
        const check0 = async (by) => {
            const answer = await check([await node((series, query) => {
                if (query.get('by') === by) series[0].upload -= 1;
            })]);
            assert.equal(answer.code, 1);
            return [...new Set(answer.json.off.map(
                ({ gateway, device }) => `${gateway} ${device}`))];
        };
        assert.deepEqual(await lost('none'), ['null null']);
        assert.deepEqual(await lost('gateway'), ['null null', 'gw-5 null']);
    });

    test('names a replica that differs from the first', async () => {
        const other = truth();
        other[6].a[0] += 1;
        const answer = await check([await node(), await node(() => {}, other)]);
        assert.equal(answer.code, 1);
        assert.ok(answer.json.off.every(
            (row) => row.check === 'the first node and this one'));
        assert.ok(answer.json.off.some((row) => row.device === 'a' &&
            row.upload === 2 && row.wanted_upload === 1));
    });

    test('asks again while reports come in', async () => {
        let asked = 0;
        const busy = await node((series, query) => {
            if (asked < 20 && query.get('resolution') === 'hour') {
                series[0].upload += 1;
            }
        }, truth(), () => { asked += 1; return asked; });
        const answer = await check([busy]);
        assert.equal(answer.code, 0, answer.stdout);
    });

    test('compares with what went into the gateways, to the byte', async () => {
        const file = path.join(directory, 'expect.csv');
        const csv = (...lines) => fs.writeFileSync(file,
            ['location,gateway,device,upload,download', ...lines, '']
                .join('\n'));
        const a = await node();
        const compare = async () => check([a], '--expect', file);
        csv('office,gw-5,a,100,10', '1,5,a,200,20', 'office,gw-5,b,20,2',
            'office,6,11,1,1');
        const exact = await compare();
        assert.equal(exact.code, 0, exact.stdout + exact.stderr);
        csv('office,gw-5,a,300,31', 'office,gw-5,b,20,2', 'office,gw-7,c,9,9');
        const off = (await compare()).json.off.map((row) => [
            row.gateway, row.device, row.upload, row.wanted_upload,
            row.download, row.wanted_download]);
        assert.deepEqual(off.sort(), [
            ['gw-5', 'a', 300, 300, 30, 31],
            ['gw-6', 'a', 1, 0, 1, 0],
            ['gw-7', 'c', 0, 9, 0, 9],
        ]);
        fs.writeFileSync(file, JSON.stringify([
            { location: 'office', gateway: 5, device: 'a', upload: 300,
                download: 30 },
            { location: 1, gateway: 'gw-5', device: 'b', upload: 20,
                download: 2 },
            { location: 1, gateway: 6, device: 'a', upload: 1, download: 1 },
        ]));
        assert.equal((await compare()).code, 0);
        csv('office,gw-5,a,300');
        const cut = await compare();
        assert.equal(cut.code, 2);
        assert.match(cut.stderr, /line 2: location,gateway,device,upload/);
    });

    test('looks at whole hours and days between --from and --to', async () => {
        const a = await node();
        const answer = await check([a], '--from', '2026-11-22T00:30:00Z',
            '--to', '2026-11-22T23:30:00Z');
        assert.equal(answer.code, 0, answer.stderr);
        const windows = a.asked.filter(({ query }) => query.has('by')).map(
            ({ query }) => ['resolution', 'from', 'to'].map(
                (name) => query.get(name)).join());
        const from = Date.UTC(2026, 10, 22, 1) / 1000;
        assert.deepEqual([...new Set(windows)], [
            `minute,${from},${from + 22 * 3600}`,
            `hour,${from},${from + 22 * 3600}`]);
        const wrong = await check([a], '--from', 'yesterday');
        assert.equal(wrong.code, 2);
        assert.match(wrong.stderr, /--from yesterday: Unix seconds or/);
    });
});

describe('holdfastctl device top', () => {
    test('asks for the largest, without their points', async () => {
        const a = await fake({
            'GET /api/v1/network': [{ id: 3, name: 'office' }],
            'GET /api/v1/overview': {
                series: [{ key: 'ann', name: 'ann', upload: 2048, download: 1 }],
            },
        });
        const answer = await ctl(['device', 'top', '--by', 'user', '--location',
            'office', '--limit', '5', '--from', '100'], { endpoints: [a.url] });
        assert.equal(answer.code, 0, answer.stderr);
        assert.match(answer.stdout, /^ann +2\.0 KiB +1 B$/m);
        assert.equal(a.asked.at(-1).query.toString(),
            'location=3&by=user&points=0&limit=5&from=100');
        const wrong = await ctl(['device', 'top', '--by', 'mood'],
            { endpoints: [a.url] });
        assert.equal(wrong.code, 2);
    });
});

describe('holdfastctl lists', () => {
    test('show no control characters of names from outside', async () => {
        const a = await fake({
            'GET /api/v1/network/gateways': {
                1: [{ id: 1, hostname: 'evil\u001b[2J', connected: false }],
            },
        });
        const table = await ctl(['gateway', 'list'], { endpoints: [a.url] });
        assert.match(table.stdout, /evil\?\[2J +silent/);
        const { json } = await ctl(['gateway', 'list', '-w', 'json'],
            { endpoints: [a.url] });
        assert.equal(json[1][0].hostname, 'evil\u001b[2J');
    });

    test('a name that two rows have is not guessed', async () => {
        const a = await fake({
            'GET /api/v1/device': [
                { id: 3, name: 'laptop', wireguard_pubkey: 'k1' },
                { id: 4, name: 'laptop', wireguard_pubkey: 'k2' },
            ],
            'DELETE /api/v1/device/4': { status: 200, body: 'null' },
        });
        const endpoints = [a.url];
        const two = await ctl(['device', 'delete', 'laptop', '--yes'],
            { endpoints });
        assert.equal(two.code, 2);
        assert.match(two.stderr, /ids 3, 4/);
        const key = await ctl(['device', 'delete', 'k2', '--yes'],
            { endpoints });
        assert.equal(key.code, 0, key.stderr);
        assert.equal(a.asked.at(-1).path, '/api/v1/device/4');
    });
});
