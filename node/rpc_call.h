/* One RPC on the completion queue, and what the files of the gRPC side share:
 * this and rpc_tls.h are the only headers of the daemon that see gRPC's.
 * rpc_call.c runs the batches and owns the rules of libgrpc (one operation of a
 * kind at a time, status only when nothing is being sent, who frees what);
 * rpc_caller.c finds out who calls; rpc_core.c has libgrpc's limits;
 * rpc_server.c the queue, the acceptors and the clock; rpc_gateway.c (Config,
 * Updates), rpc_report.c, rpc_stats.c and rpc_health.c are the methods. All of
 * it runs on the grpc thread but for what says otherwise. */
#pragma once

#include "base/bytes.h"
#include "node/barrier.h"
#include "node/ingest.h"
#include "node/presence.h"
#include "node/registration.h"
#include "node/rpc_tls.h"
#include "proto/report.h"

#include <grpc/grpc.h>
#include <grpc/slice.h>

struct call;

/* A tag of the completion queue: completes exactly once a start. */
struct op {
    void (*done)(struct op *op, bool ok);
    struct call *call;
};

/* How a method takes part in its call's life:
 *   open → (message → …)* → half_closed, and at any time closed; then free.
 * Only `open` is obligatory. */
struct method {
    const char *path;
    size_t size; /* of its structure, which begins with struct call */
    enum {
        FOR_ANYBODY, /* no token */
        FOR_AGENT,   /* a token; hostname and id in the metadata */
        FOR_DEFGUARD /* likewise, with the statuses of defguard's core; ended
                        once when there is no leader for long */
    } who;
    void (*open)(struct call *c);
    void (*message)(struct call *c, struct bytes message);
    /* The client sends no more; also after it is gone. */
    void (*half_closed)(struct call *c);
    /* The message of call_send is on its way: the next one may follow. */
    void (*sent)(struct call *c);
    /* The call is over, for whatever reason. */
    void (*closed)(struct call *c);
    /* Time passed, or something changed that others know of: go on. */
    void (*tick)(struct call *c);
    /* The id of the gateway that is heard on it; 0 if that is not known. */
    uint32_t (*heard)(struct call *c);
    /* True while the log holds something that points into the call. */
    bool (*busy)(struct call *c);
    void (*release)(struct call *c);
};

extern const struct method method_config, method_updates, method_stats,
    method_report, method_health_check, method_health_watch;

struct trailer {
    const char *key; /* static */
    char value[24];
};

struct call {
    struct rpc_server *server;   /* borrowed: outlives its calls */
    const struct method *method; /* static */
    struct call *previous, *next;
    grpc_call *rpc; /* owned; NULL once the server is stopped */
    unsigned operations;
    struct op close, headers, message, send, finish;
    int cancelled;
    grpc_byte_buffer *incoming; /* owned */
    bool headers_sent, reading, half_closed, sending;
    bool ended; /* a status was chosen, or the client is gone */
    bool status_sent;
    bool closed;
    grpc_status_code status;
    char status_text[256];
    struct trailer trailers[2];
    size_t trailer_count;

    /* who calls, for methods that want to know */
    uint32_t location;
    char hostname[IDENTITY_LENGTH_MAX + 1];
    char identity[IDENTITY_LENGTH_MAX + 1];
    char connection[CONNECTION_LENGTH_MAX + 1]; /* "ipv4:1.2.3.4:5" */
    char address[64];                           /* of the host, no port */
};

static inline struct bytes slice_bytes(const grpc_slice *slice)
{
    return (struct bytes){GRPC_SLICE_START_PTR(*slice),
                          GRPC_SLICE_LENGTH(*slice)};
}

struct acceptor {
    struct op op;
    struct rpc_server *server;
    grpc_call *rpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

enum {
    ACCEPTORS = 32,
    TICK_MS = 250,
    STOP_GRACE_MS = 2000,
    /* What this node carries at once, of all kinds: 16,384 of defguard's
     * gateways, with two streams each, or twice as many agents. */
    CALLS_MAX = 32 * 1024,
    STRANGERS_MAX = 1024,          /* of them, those that need no token */
    LEADERLESS_MS = 30 * 1000,     /* then defguard's streams are ended once */
    CONFIG_REFUSED_MS = 60 * 1000, /* and Config is refused for this long */
    REFUSAL_LOG_MS = 60 * 1000,    /* one line a kind in this time */
};

enum refusal {
    NO_TOKEN,
    BAD_TOKEN,
    TOO_MANY_CALLS,
    TOO_MANY_BYTES,
    REFUSAL_KINDS
};

#define DRAINING_TEXT "this node is being drained; use another"

struct rpc_server {
    struct node *node; /* borrowed */
    grpc_server *core; /* owned, as what follows */
    grpc_resource_quota *quota;
    grpc_completion_queue *queue;
    grpc_channel *lame_channel;
    grpc_call *lame_call; /* empty batches on it wake the queue */
    struct acceptor acceptors[ACCEPTORS];
    pthread_t thread;
    struct rpc_tls tls; /* used if a certificate is configured */

    /* from any thread */
    struct mailbox mailbox; /* of struct parcel */
    pthread_mutex_t wake_lock;
    bool wake_closed; /* guarded by wake_lock: the queue is shut down */
    struct parcel stop;
    struct parcel applied;
    _Atomic bool applied_posted;
    _Atomic uint64_t applied_wanted; /* the barrier waits for this index */
    uint64_t journal_seen;           /* applier thread: changes up to here */

    /* the grpc thread's own */
    struct op wake, shut_down;
    struct call *calls;                  /* all, newest first */
    unsigned call_count, stranger_count; /* of those */
    struct ingest ingest;
    struct barrier barrier;
    struct presence_round presence;
    uint64_t first_ticket; /* passed: this node has caught up */
    struct registrations registrations;
    unsigned health_requests;   /* that have not come yet */
    uint64_t roster_generation; /* grows with every change of the roster */
    uint64_t next_tick_ms, stop_at_ms;
    uint64_t leaderless_since_ms; /* 0: there is a leader */
    uint64_t config_refused_until_ms;
    bool evicted;  /* in this time without a leader */
    bool draining; /* as of the last tick */
    bool serving;  /* as grpc.health says */
    bool stopping, cancelled_all;
    char leader_name[NODE_NAME_LENGTH_MAX + 1];
    uint64_t refusal_logged_ms[REFUSAL_KINDS];
    uint64_t refusals[REFUSAL_KINDS]; /* since that line */
    struct buf scratch, out;          /* for one message at a time */
    struct stat_report *reports;      /* owned: REPORT_PEERS_MAX */
    struct change *changes;           /* owned: JOURNAL_CHANGES_MAX */
    char system[160];                 /* defguard-component-system */
};

/* --- what a method may do with its call ----------------------------------- */

/* Sends the response headers now (they go with the first message otherwise). */
void call_headers(struct call *c);
/* Asks for the next message; nothing if that is asked already. */
void call_read(struct call *c);
/* Sends one message, which is copied. Not while c->sending. */
void call_send(struct call *c, struct bytes message);
/* Likewise, and asks for the next message with it, for a client that has none
 * before it knows this one. libgrpc sends a window update for a read at once, a
 * system call of its own, unless it has something else to send. Not while
 * c->reading. */
void call_answer(struct call *c, struct bytes message);
/* Ends the call; only the first end counts. */
void call_finish(struct call *c, grpc_status_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The only or last message, and OK. Not while c->sending. */
void call_reply(struct call *c, struct bytes message);
/* There is room for what a stream reports; else the call is finished. */
bool call_has_room(struct call *c);
/* This node holds too much of what is not committed yet. */
void call_refuse_overload(struct call *c);
/* Metadata that goes with the status. */
void call_trailer(struct call *c, const char *key, uint64_t value);
/* Frees the call if nothing holds it: the last thing to do with it. */
void call_settle(struct call *c);

/* rpc_caller.c: fills in who calls; false when the call was finished with the
 * reason why it may not. */
bool caller_is_welcome(struct call *c, const grpc_metadata_array *metadata);
/* What the log knows the caller as; @name is the display name, or "". */
struct reporter call_reporter(const struct call *c, const char *name);
/* Ends the call for a reason that the log gave. */
void call_finish_stream(struct call *c, enum stream_end end, uint64_t value);

/* Counts a refusal; true and how many there were since the last line when it is
 * time to say so. */
bool refusal_is_news(struct rpc_server *g, enum refusal kind, uint64_t *count);

/* --- rpc_core.c ---------------------------------------------------------- */

/* libgrpc's messages go to our log. */
void rpc_core_log(void);
/* Makes g->core and g->quota. */
void rpc_core_create(struct rpc_server *g);
/* As much as the calls of now want, and those that come until the next tick. */
void rpc_core_allow_memory(struct rpc_server *g);

/* --- between rpc_server.c and rpc_call.c -------------------------------- */

/* Makes a call of what the acceptor got. */
void call_accept(struct rpc_server *g, struct acceptor *from);
/* Server stop: nothing of libgrpc may be held any more. */
void call_detach(struct call *c);
/* Frees a call that nothing in the log points to. */
void call_free(struct call *c);
