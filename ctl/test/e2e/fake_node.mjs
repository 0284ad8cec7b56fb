// A made-up node's HTTP API: answers what a test tells it to, and keeps what it
// was asked. For what real nodes do only on their worst days.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const directory = process.env.HOLDFAST_BIN ||
    path.join(root, 'build/release/bin');

// Runs holdfastctl to its end; json is stdout, parsed, or undefined.
export async function ctl(args, { endpoints, token = 'good', env = {},
    timeoutMs = 60000 } = {}) {
    const child = spawn(path.join(directory, 'holdfastctl'), args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
            ...process.env,
            HOLDFASTCTL_ENDPOINTS: (endpoints ?? []).join(','),
            HOLDFASTCTL_TOKEN: token,
            ...env,
        },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => { stdout += data; });
    child.stderr.on('data', (data) => { stderr += data; });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const [code] = await once(child, 'close');
    clearTimeout(timer);
    let json;
    try {
        json = JSON.parse(stdout);
    } catch {
        json = undefined;
    }
    return { code, stdout, stderr, json };
}

export class FakeNode {
    // @routes: 'METHOD /path' (without the query) → JSON, a function of the
    // request that returns JSON, or { status, json, headers, body }.
    static async start(routes) {
        const node = new FakeNode();
        node.routes = routes;
        node.asked = []; // {method, path, query, body, token}
        node.server = http.createServer((request, response) =>
            node.serve(request, response));
        node.server.listen(0, '127.0.0.1');
        await once(node.server, 'listening');
        node.url = `http://127.0.0.1:${node.server.address().port}`;
        return node;
    }

    stop() {
        this.server.closeAllConnections?.();
        this.server.close();
    }

    async serve(request, response) {
        const url = new URL(request.url, this.url);
        let text = '';
        for await (const piece of request) text += piece;
        const asked = {
            method: request.method, path: url.pathname,
            query: url.searchParams, token: request.headers.authorization,
            body: text ? JSON.parse(text) : undefined,
        };
        this.asked.push(asked);
        let answer = this.routes[`${request.method} ${url.pathname}`];
        if (typeof answer === 'function') answer = answer(asked);
        if (answer === undefined) {
            answer = {
                status: 404,
                json: { msg: 'there is nothing at this path', code: 'x' },
            };
        }
        const full = answer !== null && typeof answer === 'object' &&
            'status' in answer && ('json' in answer || 'body' in answer)
            ? answer : { status: 200, json: answer };
        response.writeHead(full.status, {
            ...('json' in full ? { 'content-type': 'application/json' } : {}),
            ...full.headers,
        });
        response.end(full.body ?? JSON.stringify(full.json));
    }
}

// One node as /api/v1/cluster tells of it.
export const member = (name, changes = {}) => ({
    name, id: '1', address: `${name}.example:7600`, role: 'voter', zone: null,
    leader: false, self: false, connected: true, rtt_us: 400,
    clock_offset_ms: 0, term: 3, commit: 100, applied: 100, flushed: 90,
    lag: 0, age_ms: 10, version: '0.1.0', level: 2, db_bytes: 4096,
    disk_free_bytes: 50 * 2 ** 30, disk_low: false, draining: false,
    ...changes,
});

export const cluster = (node, nodes, changes = {}) => ({
    cluster_id: 'c0ffee00', node, state: 'follower', level: 2,
    has_leader: true, leader: 'a', term: 3, commit: 100, applied: 100,
    age_ms: 10, fetch: null,
    nodes: nodes.map((one) => ({
        ...one, self: one.name === node, leader: one.name === 'a',
    })),
    ...changes,
});
