#include "raft/election.h"

#include "base/mailbox.h"
#include "raft/member_address.h"

#include <stdio.h>
#include <stdlib.h>

void election_start_now(struct guard *g, uint64_t leader_id, uint64_t last_term)
{
    struct raft *raft = g->io.data;
    raft_id id;
    const char *address;
    raft_leader(raft, &id, &address);
    if (g->recv == NULL || g->closing || id != leader_id)
        return;
    /* libraft frees its leader's address on the way. */
    char from[MEMBER_ADDRESS_LENGTH_MAX + 1];
    snprintf(from, sizeof from, "%s", address);
    /* libraft takes it from its leader only, in its term, and when the logs
     * end alike. */
    struct raft_message message = {
        .type = RAFT_TIMEOUT_NOW,
        .server_id = id,
        .server_address = from,
        .timeout_now = {.version = 1,
                        .term = raft->current_term,
                        .last_log_index = raft_last_index(raft),
                        .last_log_term = last_term}};
    g->recv(&g->io, &message);
}

/* A message of an election. A link that broke while it was idle shows that only
 * when something is written; libraft then connects anew, but what was written
 * is gone, and an election without it waits for the timer: once more. */
struct watched_send {
    struct raft_io_send own;
    struct guard *guard;
    struct raft_io_send *req;
    raft_io_send_cb cb;
    struct raft_message message;
    char address[MEMBER_ADDRESS_LENGTH_MAX + 1]; /* message's */
    bool again;
};

static void send_done(struct raft_io_send *own, int status)
{
    struct watched_send *w = CONTAINER_OF(own, struct watched_send, own);
    struct guard *g = w->guard;
    if (status != 0 && status != RAFT_CANCELED && !g->closing && !w->again) {
        w->again = true;
        if (g->inner.send(&g->io, &w->own, &w->message, send_done) == 0)
            return;
    }
    w->cb(w->req, status);
    free(w);
}

int election_send(struct guard *g, struct raft_io_send *req,
                  const struct raft_message *message, raft_io_send_cb cb)
{
    struct watched_send *w = calloc(1, sizeof *w);
    if (w == NULL)
        return RAFT_NOMEM;
    w->guard = g;
    w->req = req;
    w->cb = cb;
    w->message = *message;
    snprintf(w->address, sizeof w->address, "%s", message->server_address);
    w->message.server_address = w->address;
    int rv = g->inner.send(&g->io, &w->own, &w->message, send_done);
    if (rv != 0)
        free(w);
    return rv;
}

bool election_concerns(const struct raft_message *message)
{
    return message->type == RAFT_REQUEST_VOTE ||
           message->type == RAFT_REQUEST_VOTE_RESULT ||
           message->type == RAFT_TIMEOUT_NOW;
}
