// The wire as a stranger sees it: our .proto files, loaded at run time into
// grpc-js (a pure JavaScript HTTP/2 client), and tokens signed with node's own
// crypto. Nothing here is shared with the programs under test.
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import crypto from 'node:crypto';
import { fileURLToPath } from 'node:url';

const protos = fileURLToPath(new URL('../../../proto', import.meta.url));
const definition = loader.loadSync(
    ['gateway.proto', 'holdfast.proto', 'health.proto'], {
        includeDirs: [protos, '/usr/include'],
        keepCase: true,
        longs: Number,
        enums: String,
        defaults: true,
        oneofs: true,
    });
const loaded = grpc.loadPackageDefinition(definition);

export const GatewayService = loaded.gateway.GatewayService;
export const Stats = loaded.holdfast.v1.Stats;
export const Health = loaded.grpc.health.v1.Health;
export const { status, Metadata } = grpc;
export const ReportBatch = definition['holdfast.v1.Stats'].Report;
export const StatsMethod = definition['gateway.GatewayService'].Stats;

const OPTIONS = {
    // Each simulated gateway has a connection of its own, as real ones do.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 200,
    'grpc.enable_http_proxy': 0,
    'grpc.max_send_message_length': -1,
};

// Addresses that are reached over TLS, and the CA that made their certificate.
export const authorities = new Map();

function credentials(address) {
    const ca = authorities.get(address);
    return ca === undefined ? grpc.credentials.createInsecure()
        : grpc.credentials.createSsl(ca);
}

export function client(Service, address) {
    return new Service(address, credentials(address), OPTIONS);
}

export function metadata(values) {
    const m = new Metadata();
    for (const [key, value] of Object.entries(values)) {
        if (value !== undefined) m.set(key, value);
    }
    return m;
}

// A stream that sends raw bytes on @method, for what no encoder would write.
export function rawCall(address, method, options = {}) {
    const channel = new grpc.Client(address, credentials(address), { ...OPTIONS, ...options });
    const bytes = (b) => b;
    return {
        channel,
        open(meta, callback) {
            return method.responseStream
                ? channel.makeBidiStreamRequest(
                    method.path, bytes, method.responseDeserialize, meta, {})
                : channel.makeClientStreamRequest(
                    method.path, bytes, method.responseDeserialize, meta, {},
                    callback);
        },
    };
}

// --- tokens (reference/defguard-1.x.md, section 1.4) -----------------------

const base64url = (value) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
        .toString('base64url');

// A gateway token as defguard makes it; @changes overrides claims (undefined
// removes one) and @alg the algorithm.
export function gatewayToken(secret, location, changes = {}, alg = 'HS256') {
    const claims = {
        iss: 'DefGuard',
        sub: `DEFGUARD-NETWORK-${location}`,
        client_id: String(location),
        exp: Math.floor(Date.now() / 1000) + 4294967295,
        nbf: Math.floor(Date.now() / 1000),
        ...changes,
    };
    const body = `${base64url({ typ: 'JWT', alg })}.${base64url(claims)}`;
    if (alg === 'none') return `${body}.`;
    const hash = alg === 'HS384' ? 'sha384' : 'sha256';
    const mac = crypto.createHmac(hash, secret).update(body);
    return `${body}.${mac.digest('base64url')}`;
}

export function randomKey(rng) {
    return rng ? Buffer.from(Array.from({ length: 32 }, () => rng.below(256)))
        : crypto.randomBytes(32);
}
