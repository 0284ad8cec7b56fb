/* What the parts of a node share: main.c makes it, everybody borrows it. The
 * parts know each other only through this, the store and the replica. */
#pragma once

#include "node/config.h"
#include "raft/replica.h"
#include "store/store.h"

#include <stdatomic.h>

struct rpc_server;
struct http_server;

/* Counters of the ingest path, written by the grpc thread, read by /metrics. */
struct ingest_counters {
    _Atomic uint64_t reports;      /* samples received */
    _Atomic uint64_t messages;     /* ReportBatch and StatsUpdate messages */
    _Atomic uint64_t acknowledged; /* batches */
    _Atomic uint64_t rejected_malformed, rejected_token, rejected_overload;
    _Atomic uint64_t rejected_calls;     /* beyond what this node carries */
    _Atomic uint64_t waiting_bytes;      /* accepted, not yet committed */
    _Atomic uint64_t calls;              /* open, of all kinds */
    _Atomic uint64_t resubmitted;        /* batches, after an unknown outcome */
    _Atomic uint64_t gateways_connected; /* open statistics streams */
    _Atomic uint64_t updates_connected;  /* open Updates streams */
};

struct node {
    const struct node_config
        *config; /* borrowed: lives as long as the process */
    struct store *store;
    struct repl *repl;
    struct tls *tls;      /* owned by main.c; of HTTPS, NULL = plain HTTP */
    struct tls *peer_tls; /* likewise; between nodes, NULL = plain text */
    /* Set by the starts below; the applier reads them from its first entry. */
    struct rpc_server *_Atomic grpc;
    struct http_server *_Atomic http;
    struct ingest_counters ingest;
    _Atomic bool stopping;  /* SIGTERM was seen: /readyz says no */
    _Atomic bool draining;  /* an operator said so: /readyz says no, gateways
                               are sent elsewhere; until it is taken back */
    bool copying;           /* http thread: a snapshot is made or sent */
    _Atomic bool caught_up; /* a barrier of this process was applied here */
    _Atomic bool was_ready; /* node_is_ready said yes once: it stays so */
    uint64_t started_ms;    /* monotonic */
    char grpc_address[64], http_address[64]; /* as bound */
};

/* This replica can answer: it has applied what the leader had committed when it
 * was first heard since the start; or nobody was heard for 2 minutes. */
bool node_is_ready(struct node *n);

/* Unix ms of now, for readers and tokens: this machine's clock, or log time
 * where the clock is behind that of the cluster. */
uint64_t node_now_ms(const struct node *n);

/* Any thread. Gives leadership and gateways away, or takes them again. */
void node_drain(struct node *n, bool drain);

/* What this replica had applied at the call is in its files when it returns 0.
 * Blocks, for a thread that may; @may_go_on is asked now and then, and ends it
 * with ERR_CLOSED. ERR_IO after half a minute. */
NODISCARD int node_await_flush(struct node *n, bool (*may_go_on)(void *arg),
                               void *arg, struct errmsg *e);

/* --- rpc_server.c: the gateways' side, on the grpc thread ---------------- */

/* Binds (port 0 picks one; node->grpc_address says which), starts the thread.
 */
NODISCARD int rpc_server_start(struct node *n, struct errmsg *e);
/* Ends streams with UNAVAILABLE, waits at most 2 s, joins. What the replica
 * still holds of it stays valid until rpc_server_destroy. */
void rpc_server_stop(struct rpc_server *g);
/* After rpc_server_stop and repl_stop. NULL is fine. */
void rpc_server_destroy(struct rpc_server *g);
/* Applier thread: something was applied; wakes Updates and stamps. */
void rpc_server_applied(struct rpc_server *g, uint64_t applied_index);

/* --- http_server.c: JSON API, health, metrics and the page ---------------- */

NODISCARD int http_server_start(struct node *n, struct errmsg *e);
/* Answers what waits, ends connections, joins. Before repl_stop: handlers use
 * the replica. The memory stays for http_server_applied. */
void http_server_stop(struct http_server *h);
/* After repl_stop: by then every submission of a handler is done. */
void http_server_destroy(struct http_server *h);
/* Applier thread: wakes at_least waits; NULL is fine. */
void http_server_applied(struct http_server *h, uint64_t applied_index);
