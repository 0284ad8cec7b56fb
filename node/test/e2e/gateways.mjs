// Simulated gateways with an exact ledger: they know every byte that their
// peers moved and therefore what the cluster must answer. NativeGateway follows
// DESIGN's rule 1 (session, sequence, spool, go-back-N, any node);
// DefguardGateway does what gateways of defguard 1.3-1.6 do (reference,
// sections 1.6 and 1.7). Both keep a list of violations: what a correct cluster
// never does to them.
import {
    client, GatewayService, metadata, Stats, status,
} from './wire.mjs';
import { expiry, sleep, until } from './cluster.mjs';

// --- what a gateway counts --------------------------------------------------

export class Peer {
    constructor(key, rng) {
        this.key = key;
        this.name = key.toString('base64');
        this.upload = rng.below(1e9);
        this.download = rng.below(1e9);
        this.handshake = Math.floor(Date.now() / 1000) - 5000;
        this.endpoint =
            `192.0.2.${1 + rng.below(250)}:${1024 + rng.below(60000)}`;
        this.allowedIps = [`10.77.${rng.below(250)}.${1 + rng.below(250)}/32`];
        this.fromZero = false;
    }

    record() {
        return `${this.upload}/${this.download}/${this.handshake}`;
    }
}

// Bytes by device key, exact.
export class Ledger {
    constructor() {
        this.byDevice = new Map();
    }

    add(name, upload, download) {
        const known = this.byDevice.get(name) ?? { upload: 0, download: 0 };
        this.byDevice.set(name, {
            upload: known.upload + upload, download: known.download + download,
        });
    }

    addAll(other) {
        for (const [name, { upload, download }] of other.byDevice) {
            this.add(name, upload, download);
        }
    }

    copy() {
        const copy = new Ledger();
        copy.addAll(this);
        return copy;
    }

    total() {
        const total = { upload: 0, download: 0 };
        for (const { upload, download } of this.byDevice.values()) {
            total.upload += upload;
            total.download += download;
        }
        return total;
    }
}

// One period of a peer's traffic.
function moved(peer, rng, ledger) {
    const upload = rng.traffic();
    const download = rng.traffic();
    peer.upload += upload;
    peer.download += download;
    if (upload + download > 0 && rng.chance(0.3)) peer.handshake += 1;
    ledger.add(peer.name, upload, download);
}

// --- our agent --------------------------------------------------------------

// The resolutions in which every byte is kept.
const TIERS = ['minute', 'hour', 'day'];

const WINDOW = 32; // batches sent and not acknowledged, per stream

export class NativeGateway {
    // @nodes: where it may go, all of the cluster by default; @keys: of its
    // peers. The cluster stops it.
    constructor({ cluster, nodes = cluster.nodes, token, hostname, id, keys,
        rng, machine }) {
        Object.assign(this, { token, hostname, id, rng });
        this.addresses = nodes.map((node) => node.grpc);
        cluster.gateways.push(this);
        this.machine = machine ?? Buffer.from(`machine of ${hostname}`);
        this.peers = keys.map((key) => new Peer(key, rng));
        this.expected = new Ledger();     // everything sampled
        this.acknowledged = new Ledger(); // of it, what the cluster acked
        this.violations = [];
        this.acks = 0;
        this.lastAckAt = 0;
        this.target = rng.below(nodes.length);
        this.session = 0;
        this.spool = [];
        this.startSession(Date.now());
    }

    // An agent that starts without its old spool: a larger session, number 1,
    // every peer. What was not acknowledged is in the counters still.
    startSession(session) {
        const unacknowledged = new Ledger();
        for (const batch of this.spool) unacknowledged.addAll(batch.growth);
        this.session = Math.max(session, this.session + 1);
        this.sequence = 0;
        this.ackedSequence = 0;
        this.spool = [];
        this.carried = unacknowledged;
        this.sent = new Map();
        this.closeStream();
    }

    addPeer(key) {
        const peer = new Peer(key, this.rng);
        peer.upload = 0;
        peer.download = 0;
        peer.fromZero = true;
        this.peers.push(peer);
        return peer;
    }

    // The interface was made anew for this peer: its counters begin at zero.
    reset(peer) {
        peer.upload = 0;
        peer.download = 0;
        peer.fromZero = true;
        peer.handshake += 2;
    }

    // One period: traffic, a sample, a batch in the spool.
    tick({ quiet = false } = {}) {
        const growth = new Ledger();
        const first = this.sequence === 0;
        if (!quiet && this.baseline) {
            for (const peer of this.peers) moved(peer, this.rng, growth);
        }
        this.baseline = true;
        const changed = this.peers.filter((peer) => first || peer.fromZero ||
            this.sent.get(peer.name) !== peer.record());
        this.sequence += 1;
        const batch = {
            session: this.session,
            sequence: this.sequence,
            sampled_at_ms: Date.now(),
            machine: first ? this.machine : Buffer.alloc(0),
            peers: changed.map((peer) => ({
                public_key: peer.key,
                upload: peer.upload,
                download: peer.download,
                latest_handshake: peer.handshake,
                endpoint: peer.endpoint,
                allowed_ips: peer.allowedIps,
                keepalive_interval: 25,
                from_zero: peer.fromZero,
            })),
        };
        for (const peer of changed) {
            this.sent.set(peer.name, peer.record());
            peer.fromZero = false;
        }
        this.expected.addAll(growth);
        growth.addAll(this.carried);
        this.carried = new Ledger();
        this.spool.push({ batch, growth, sequence: this.sequence });
        this.pump();
        return batch;
    }

    // Sends what the stream has not carried yet, within the window.
    pump() {
        if (this.stopped || this.spool.length === 0) return;
        if (!this.stream) {
            this.open();
            return;
        }
        const stream = this.stream;
        for (const entry of this.spool.slice(0, WINDOW)) {
            if (entry.sequence <= stream.sentSequence) continue;
            stream.call.write({
                ...entry.batch, awaits_answer: entry === this.spool.at(-1),
            });
            stream.sentSequence = entry.sequence;
            entry.sentAt = Date.now();
        }
    }

    open() {
        if (this.opening || this.stopped) return;
        const address = this.addresses[this.target % this.addresses.length];
        const connection = client(Stats, address);
        const call = connection.Report(metadata({
            authorization: this.token,
            hostname: this.hostname,
            'holdfast-gateway-id': this.id,
        }));
        const stream = {
            call, connection, address,
            session: this.session,
            sentSequence: this.spool[0].sequence - 1,
            ended: false,
        };
        this.stream = stream;
        call.on('data', (ack) => this.onAck(stream, ack));
        call.on('error', (error) => this.onEnd(stream, error));
        call.on('end', () => this.onEnd(stream, {
            code: status.OK, details: 'ended by the node',
        }));
        this.pump();
    }

    onAck(stream, ack) {
        if (stream !== this.stream) return;
        if (ack.sequence > stream.sentSequence) {
            this.violate(`acknowledged ${ack.sequence}, ` +
                `sent ${stream.sentSequence}`);
            return;
        }
        this.acks += 1;
        this.lastAckAt = Date.now();
        this.ackedSequence = Math.max(this.ackedSequence, ack.sequence);
        while (this.spool.length > 0 &&
               this.spool[0].sequence <= ack.sequence) {
            const entry = this.spool.shift();
            this.acknowledged.addAll(entry.growth);
            this.onAcknowledged?.(entry, ack, stream);
        }
        this.pump();
    }

    onEnd(stream, error) {
        if (stream.ended) return;
        stream.ended = true;
        stream.connection.close();
        if (stream !== this.stream) return;
        this.stream = null;
        this.lastError = error;
        if (!this.stopped) this.recover(error);
    }

    // What an agent does when its stream ends (rule 1).
    recover(error) {
        const number = Number(/\d+/.exec(error.details ?? '')?.[0]);
        switch (error.code) {
        case status.OUT_OF_RANGE:
            if (!(number > this.ackedSequence && number <= this.sequence)) {
                this.violate(`gap: expects ${number}, acknowledged ` +
                    `${this.ackedSequence}, sent ${this.sequence}`);
                return;
            }
            break;
        case status.ABORTED:
            if (this.ackedSequence > 0) {
                this.violate(`superseded: ${error.details}`);
                return;
            }
            this.startSession(Math.max(Date.now(), number + 1));
            this.tick({ quiet: true });
            return;
        case status.UNAVAILABLE:
        case status.CANCELLED:
        case status.RESOURCE_EXHAUSTED:
        case status.INTERNAL: // a connection cut in the middle of a frame
        case status.OK:
            break;
        default:
            this.violate(`status ${error.code}: ${error.details}`);
            return;
        }
        this.target += 1;
        this.reopenSoon();
    }

    reopenSoon() {
        this.opening = true;
        setTimeout(() => {
            this.opening = false;
            this.pump();
        }, 20 + this.rng.below(60));
    }

    violate(text) {
        this.violations.push(`${this.hostname}: ${text}`);
    }

    closeStream() {
        const stream = this.stream;
        this.stream = null;
        if (!stream) return;
        stream.call.cancel();
    }

    // Leaves the node for another one in the middle of everything.
    move() {
        this.closeStream();
        this.target += 1;
        this.reopenSoon();
    }

    async drained(timeoutMs = 20000) {
        await until(`${this.hostname} drains (${this.spool.length} batches, ` +
            `last error ${this.lastError?.details})`,
        () => this.spool.length === 0 || this.violations.length > 0,
        timeoutMs, 5);
        this.assertClean();
    }

    assertClean() {
        if (this.violations.length > 0) {
            throw new Error(this.violations.join('\n'));
        }
    }

    stop() {
        this.stopped = true;
        this.closeStream();
    }
}

// --- defguard's gateway -----------------------------------------------------

export class DefguardGateway {
    constructor({ cluster, nodes = cluster.nodes, token, hostname, name, keys,
        rng, retryMs = 50 }) {
        Object.assign(this, { token, hostname, name, rng, retryMs });
        this.addresses = nodes.map((node) => node.grpc);
        cluster.gateways.push(this);
        this.peers = keys.map((key) => new Peer(key, rng));
        this.expected = new Ledger();
        this.acknowledged = new Ledger();
        this.violations = [];
        this.updates = [];
        this.target = rng.below(nodes.length);
        this.stream = null;
        this.connects = 0;
    }

    headers() {
        return metadata({
            authorization: this.token,
            hostname: this.hostname,
            'defguard-component-version': '1.5.2+0a1b2c3',
            'defguard-component-system': 'Linux;6.1;x86_64',
        });
    }

    // The connect loop of section 1.6. Real ones wait 10 s after a refusal.
    start() {
        this.loop = this.run();
    }

    async run() {
        while (!this.stopped) {
            if (this.paused) {
                await sleep(this.retryMs);
                continue;
            }
            try {
                const stream = await this.connect();
                this.stream = stream;
                this.send();
                await stream.ended;
            } catch (error) {
                this.lastError = error;
                this.target += 1;
                await sleep(this.retryMs);
            }
            this.stream = null;
        }
    }

    // Config, then Updates, then Stats, on one connection.
    async connect() {
        const address = this.addresses[this.target % this.addresses.length];
        const connection = client(GatewayService, address);
        const stream = { address, connection, sent: new Map(), id: 1 };
        try {
            await this.fetchConfig(stream);
            await this.openUpdates(stream);
        } catch (error) {
            connection.close();
            throw error;
        }
        stream.result = new Promise((resolve) => {
            stream.stats = connection.Stats(this.headers(), (error) => {
                if (error && error.code !== status.UNAVAILABLE &&
                    error.code !== status.CANCELLED &&
                    error.code !== status.INTERNAL) {
                    this.violations.push(`${this.hostname}: Stats ended: ` +
                        `${error.code} ${error.details}`);
                }
                resolve(error ?? null);
            });
            stream.stats.on('error', () => {});
        });
        stream.ended = Promise.race([stream.result, stream.updatesEnded])
            .then(() => {
                if (stream.closing) return stream.result;
                return null;
            }).then(() => {
                stream.over = true;
                stream.updates.cancel();
                stream.stats.cancel();
                connection.close();
                if (!stream.committed) this.target += 1;
            });
        this.connects += 1;
        return stream;
    }

    async fetchConfig(stream) {
        await new Promise((resolve, reject) => {
            const call = stream.connection.Config(
                { name: this.name }, this.headers(),
                { deadline: Date.now() + 5000 },
                (error, config) => {
                    if (error) reject(error);
                    else {
                        this.config = config;
                        resolve();
                    }
                });
            call.on('metadata', (m) => { this.configHeaders = m.getMap(); });
        });
        const version = this.configHeaders['defguard-component-version'];
        const system = this.configHeaders['defguard-component-system'];
        if (!/^\d+\.\d+\.\d+/.test(version ?? '') ||
            (system ?? '').split(';').length !== 3) {
            this.violations.push(`${this.hostname}: Config has version ` +
                `${version}, ${system}: a 1.5 gateway exits`);
        }
    }

    async openUpdates(stream) {
        stream.updates = stream.connection.Updates({}, this.headers());
        stream.updatesEnded = new Promise((resolve) => {
            stream.updates.on('end', resolve);
            stream.updates.on('error', resolve);
        });
        stream.updates.on('data', (update) => {
            this.updates.push(update);
            this.onUpdate?.(update);
        });
        // The gateway awaits the response headers before it goes on.
        await new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(
                'no headers of Updates within 5 s')), 5000);
            const settle = (fn) => (value) => {
                clearTimeout(timer);
                fn(value);
            };
            stream.updates.once('metadata', settle(resolve));
            stream.updates.once('error', settle(reject));
        });
    }

    // One message per peer whose record differs from the last on this stream.
    send() {
        const stream = this.stream;
        if (!stream || stream.over || stream.closing) return;
        for (const peer of this.peers) {
            if (peer.handshake === 0) continue;
            if (stream.sent.get(peer.name) === peer.record()) continue;
            stream.sent.set(peer.name, peer.record());
            stream.id += 1;
            stream.stats.write({
                id: stream.id,
                peer_stats: {
                    public_key: peer.name,
                    endpoint: peer.endpoint,
                    upload: peer.upload,
                    download: peer.download,
                    keepalive_interval: 25,
                    latest_handshake: peer.handshake,
                    allowed_ips: peer.allowedIps.join(''),
                },
            });
        }
    }

    tick() {
        this.paused = false;
        if (!this.baseline) return;
        for (const peer of this.peers) {
            if (peer.handshake !== 0) moved(peer, this.rng, this.expected);
        }
        this.send();
    }

    // Closes the stream and waits for its Empty, over as many nodes as it
    // takes: then everything sampled so far is committed. With @pause it stays
    // away afterwards, until tick: a new stream would tell everything again
    // and hide what the Empty promised wrongly.
    async settle({ pause = false, timeoutMs = 20000 } = {}) {
        const deadline = Date.now() + timeoutMs;
        this.paused = false;
        for (;;) {
            const stream = await until(
                `${this.hostname} connects (${this.lastError?.details})`,
                // One that is closing takes nothing more: its Empty is of before.
                () => this.stream && !this.stream.over &&
                    !this.stream.closing ? this.stream : null,
                Math.max(deadline - Date.now(), 1), 5);
            const counted = this.expected.copy();
            this.send();
            stream.closing = true;
            this.paused = pause;
            stream.stats.end();
            const error = await Promise.race([
                stream.result,
                expiry(Math.max(deadline - Date.now(), 1))
                    .then(() => new Error('no Empty in time')),
            ]);
            if (!error) {
                stream.committed = true;
                this.acknowledged = counted;
                this.baseline = true;
                this.assertClean();
                return;
            }
            this.lastError = error;
            this.paused = false;
            this.assertClean();
            if (Date.now() > deadline) {
                throw new Error(`${this.hostname} does not settle: ` +
                    `${error.message}`);
            }
        }
    }

    // Counters begin at zero, in the only way that loses nothing: all before
    // is committed, the handshake moves on, and the fall is committed before
    // the counters can pass their old values.
    async reset(peer, patience) {
        await this.settle(patience);
        const low = Math.min(peer.upload, peer.download);
        if (low < 1000) return false;
        peer.upload = this.rng.below(500);
        peer.download = this.rng.below(500);
        peer.handshake += 5;
        this.expected.add(peer.name, peer.upload, peer.download);
        await this.settle(patience);
        return true;
    }

    assertClean() {
        if (this.violations.length > 0) {
            throw new Error(this.violations.join('\n'));
        }
    }

    stop() {
        this.stopped = true;
        if (this.stream) {
            this.stream.stats.cancel();
            this.stream.updates.cancel();
        }
    }
}

// --- the oracle -------------------------------------------------------------

function difference(what, actual, expected) {
    const lines = [];
    const keys = new Set([...expected.keys(), ...actual.keys()]);
    for (const key of keys) {
        const want = expected.get(key) ?? { upload: 0, download: 0 };
        const have = actual.get(key) ?? { upload: 0, download: 0 };
        if (want.upload !== have.upload || want.download !== have.download) {
            lines.push(`${what} ${key}: upload ${have.upload}, should be ` +
                `${want.upload} (${have.upload - want.upload}); download ` +
                `${have.download}, should be ${want.download} ` +
                `(${have.download - want.download})`);
        }
    }
    return lines;
}

// What the overview must say, by what it is asked for.
export function expectedTotals(gateways, location) {
    const devices = new Ledger();
    const byGateway = new Map();
    for (const gateway of gateways) {
        devices.addAll(gateway.expected);
        byGateway.set(gateway.hostname, gateway.expected.total());
    }
    return {
        device: devices.byDevice,
        gateway: byGateway,
        none: new Map([[String(location), devices.total()]]),
    };
}

// Every running node answers exactly what the gateways of a location moved: no
// tier and no view of it has a byte more or less.
export async function assertExact(cluster, gateways, { from, location }) {
    const expected = expectedTotals(gateways, location);
    for (const node of cluster.running) {
        let wrong = [];
        const compare = async () => {
            wrong = [];
            for (const resolution of TIERS) {
                for (const [by, totals] of Object.entries(expected)) {
                    wrong.push(...difference(`by ${resolution}, ${by}`,
                        await node.totals(by, { from, location, resolution }),
                        totals));
                }
            }
            return wrong.length === 0;
        };
        // A follower may be a moment behind what was acknowledged.
        await until('exact totals', compare, 15000, 30).catch((error) => {
            throw new Error(`${node.name}: ${error.message}\n` +
                wrong.slice(0, 8).join('\n'));
        });
    }
}
