#include "node/node.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>
#include <time.h>

enum {
    SILENCE_MS = 2 * 60 * 1000,
    FLUSH_MS_MAX = 30 * 1000,
    FLUSH_POLL_MS = 20,
};

static bool cluster_is_founded(struct node *n)
{
    struct roster *roster = store_roster(n->store);
    roster_read_lock(roster);
    const struct settings *settings = roster_settings(roster);
    bool founded = settings != NULL && settings->present;
    roster_read_unlock(roster);
    return founded;
}

/* Not by comparing what is applied here with what the leader had committed when
 * it was first heard: entries of libraft's own move the commit index and never
 * the store's, and after a restart of all nodes a new leader knows of nothing
 * committed yet. A barrier through the log settles both. */
static bool has_caught_up(struct node *n, const struct repl_status *status)
{
    return status->heard_ms != 0 && atomic_load(&n->caught_up);
}

uint64_t node_now_ms(const struct node *n)
{
    uint64_t wall_ms = clock_wall_ms(), log_ms = store_log_time_ms(n->store);
    return wall_ms > log_ms ? wall_ms : log_ms;
}

bool node_is_ready(struct node *n)
{
    if (atomic_load(&n->was_ready))
        return true;
    struct repl_status status;
    repl_status(n->repl, &status);
    if (strcmp(status.state, "fetching") == 0)
        return false; /* what it has is old, or nothing */
    uint64_t since_ms = status.heard_ms != 0 ? status.heard_ms : n->started_ms;
    bool ready = (has_caught_up(n, &status) && cluster_is_founded(n)) ||
                 clock_mono_ms() >= since_ms + SILENCE_MS;
    if (ready)
        atomic_store(&n->was_ready, true);
    return ready;
}

void node_drain(struct node *n, bool drain)
{
    bool before = atomic_exchange(&n->draining, drain);
    repl_drain(n->repl, drain);
    if (before != drain)
        log_info("drain", drain ? "leadership and gateways are given away"
                                : "over: this node takes part again");
}

/* A wish that comes while a flush is under way is part of that one: asked again
 * until it is fulfilled. */
int node_await_flush(struct node *n, bool (*may_go_on)(void *arg), void *arg,
                     struct errmsg *e)
{
    static const struct timespec pause = {0, FLUSH_POLL_MS * 1000 * 1000};
    uint64_t wanted = store_applied_index(n->store);
    for (unsigned i = 0; i < FLUSH_MS_MAX / FLUSH_POLL_MS; i++) {
        struct store_status status;
        store_status(n->store, &status);
        if (status.flushed_index >= wanted)
            return 0;
        if (!may_go_on(arg))
            return ERR_CLOSED;
        repl_flush(n->repl);
        nanosleep(&pause, NULL);
    }
    return errmsg_set(e, ERR_IO,
                      "what is in memory was not written within %d s; is the "
                      "disk full or stuck?",
                      FLUSH_MS_MAX / 1000);
}
