/* What libgrpc is told before it serves: its limits, how much memory it may
 * take, and where its messages go. What a node carries beyond that is bounded
 * in rpc_call.c (calls) and ingest.h (reports); docs/operations.md, "Too much
 * at once", has the whole table. */
#include "node/rpc_call.h"

#include "base/clock.h"
#include "base/log.h"

#include <grpc/support/log.h>

#include <string.h>

enum {
    KEEPALIVE_MS = 20 * 1000,
    KEEPALIVE_TIMEOUT_MS = 10 * 1000,
    PING_INTERVAL_LEAST_MS = 1000, /* defguard's gateways ping every 10 s */
    STREAMS_PER_CONNECTION_MAX = 1024,
    METADATA_SIZE_MAX = 16 * 1024,
    HANDSHAKE_MS_MAX = 5000, /* TLS and the first HTTP/2 frames */
    /* A connection without a call. Gateways have one as long as they are
     * there; who has no token gets none that lasts. */
    CONNECTION_IDLE_MS = 60 * 1000,
    /* Of a connection, and of a stream that is not being read, but for the
     * message that has begun: libgrpc would take megabytes each where the
     * network is fast. 64 KiB in a round trip of 40 ms are 16,000 reports/s. */
    READ_AHEAD_BYTES = 64 * 1024,
    /* What libgrpc may hold: messages that have begun, and connections. Near
     * it, it lets streams send less; beyond, it closes idle connections, and
     * then streams, with RESOURCE_EXHAUSTED. A connection with a call takes
     * between 8 and 16 KiB, over TLS more. */
    LIBGRPC_BYTES = 128 * 1024 * 1024,
    CALL_BYTES = 48 * 1024, /* more, for each call */
};

/* Any thread. Whoever reaches the port can make handshakes fail: of those one
 * line a minute is enough. A port that cannot be had is rpc_server.c's to tell,
 * in fewer words. */
static void log_from_grpc(gpr_log_func_args *args)
{
    static _Atomic uint64_t silent_until_ms;
    if (args->severity != GPR_LOG_SEVERITY_ERROR ||
        strstr(args->message, "No address added") != NULL)
        return;
    if (strstr(args->file, "ssl") != NULL ||
        strstr(args->file, "handshake") != NULL) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms < atomic_load(&silent_until_ms))
            return;
        atomic_store(&silent_until_ms, now_ms + REFUSAL_LOG_MS);
    }
    log_warn("grpc", "%s", args->message);
}

void rpc_core_log(void)
{
    gpr_set_log_function(log_from_grpc);
}

void rpc_core_allow_memory(struct rpc_server *g)
{
    grpc_resource_quota_resize(g->quota, LIBGRPC_BYTES + (size_t)g->call_count *
                                                             CALL_BYTES);
}

static char *arg_key(const char *key)
{
    char *out;
    memcpy(&out, &key, sizeof out); /* libgrpc's lacks const */
    return out;
}

void rpc_core_create(struct rpc_server *g)
{
    static const struct {
        const char *key;
        int value;
    } wanted[] = {
        /* A second process on the port must fail, not share it silently. */
        {GRPC_ARG_ALLOW_REUSEPORT, 0},
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, REPORT_MESSAGE_SIZE_MAX},
        /* libgrpc unpacks a message before it looks at that limit: 4 MiB could
         * become 4 GiB, without a token. No gateway compresses. */
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
         1 << GRPC_COMPRESS_NONE},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION_MAX},
        {GRPC_ARG_MAX_METADATA_SIZE, METADATA_SIZE_MAX},
        {GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
         PING_INTERVAL_LEAST_MS},
        {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_MS_MAX},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, CONNECTION_IDLE_MS},
        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, READ_AHEAD_BYTES},
        {GRPC_ARG_HTTP2_BDP_PROBE, 0}, /* it would raise that */
    };
    enum { COUNT = sizeof wanted / sizeof *wanted };
    grpc_arg args[COUNT + 1];
    for (size_t i = 0; i < COUNT; i++) {
        args[i].type = GRPC_ARG_INTEGER;
        args[i].key = arg_key(wanted[i].key);
        args[i].value.integer = wanted[i].value;
    }
    args[COUNT].type = GRPC_ARG_POINTER;
    args[COUNT].key = arg_key(GRPC_ARG_RESOURCE_QUOTA);
    g->quota = grpc_resource_quota_create("gateways");
    rpc_core_allow_memory(g);
    args[COUNT].value.pointer.p = g->quota;
    args[COUNT].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    grpc_channel_args all = {COUNT + 1, args};
    g->core = grpc_server_create(&all, NULL);
}
