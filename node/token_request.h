/* A new admin token when all are lost: who may write into the data directory
 * puts a file admin-token.request there (holdfastctl token recover does), and
 * finds the token in admin-token when that is gone. No port takes part, so
 * nobody does that from afar; and who has the directory's files has the
 * cluster's private keys anyway. Any node of a cluster with a leader can. Main
 * thread. */
#pragma once

#include "node/node.h"
#include "node/token.h"

struct token_request {
    struct node *node; /* borrowed */
    struct submission submission;
    struct buf record;
    _Atomic bool in_flight;
    _Atomic bool refused;             /* by the last outcome */
    _Atomic bool failed;              /* the last proposal had none */
    char token[API_TOKEN_LENGTH + 1]; /* being proposed; "": none */
    uint64_t quiet_until_ms;          /* monotonic: after a complaint */
};

void token_request_init(struct token_request *t, struct node *node);
/* After repl_stop: nothing is in flight any more. */
void token_request_deinit(struct token_request *t);

/* Looks for a request and goes on with it. Call it about once a second, when
 * the node is ready. */
void token_request_step(struct token_request *t);
