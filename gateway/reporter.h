/* The reporter: carries a session's batches to one core node at a time, over
 * holdfast.v1.Stats/Report, and brings the acknowledgements back. When a stream
 * fails, or its oldest batch waits too long, the next node of the list is
 * tried; a new stream sends everything unacknowledged again. What a refusal
 * means is session.c's decision. With reporter_channel.c the only file of the
 * agent that sees gRPC; runs on the only thread, which polls the completion
 * queue. */
#pragma once

#include "gateway/session.h"

enum {
    REPORTER_NODES_MAX = 64,
    REPORTER_WINDOW = 256, /* unacknowledged batches of a stream */
};

struct reporter_node {
    const char *address; /* host:port */
    bool tls;
};

/* PEM files, read again when they change; any of them may be NULL. */
struct reporter_tls {
    const char *ca;         /* NULL: the authorities that the system trusts */
    const char *cert, *key; /* shown to the nodes, if they ask */
};

struct reporter_config {
    const struct reporter_node *nodes; /* borrowed, like all of these */
    size_t node_count;
    const struct reporter_tls *tls;
    const char *token, *hostname, *gateway_id;
};

struct reporter;

/* What the caller has to do after a poll. */
enum reporter_event {
    REPORTER_NOTHING,
    REPORTER_LOOK_DUE, /* the session was renewed: tick it soon */
    REPORTER_OVER,     /* superseded for good: end the process */
};

/* @session and what @config points to are borrowed and live longer. Reads the
 * certificates: the message names the file that is not good. */
NODISCARD int reporter_create(struct reporter **out,
                              const struct reporter_config *config,
                              struct session *session, struct errmsg *e);
/* Cancels the stream and waits until gRPC has let go of it. */
void reporter_destroy(struct reporter *r);

/* Sends what is due, opens streams, handles what happens, until something did
 * or @deadline_ms (monotonic) is reached. */
enum reporter_event reporter_poll(struct reporter *r, uint64_t deadline_ms);

/* The session was renewed by a tick: its streams are of no use. */
void reporter_restart(struct reporter *r);

/* The node that the stream is with, or the one that is tried next. */
const char *reporter_node(const struct reporter *r);
