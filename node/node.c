#include "node/node.h"

#include "base/clock.h"

enum { SILENCE_MS = 2 * 60 * 1000 };

static bool cluster_is_founded(struct node *n)
{
    struct roster *roster = store_roster(n->store);
    roster_read_lock(roster);
    const struct settings *settings = roster_settings(roster);
    bool founded = settings != NULL && settings->present;
    roster_read_unlock(roster);
    return founded;
}

bool node_is_ready(struct node *n)
{
    if (atomic_load(&n->caught_up))
        return true;
    struct repl_status status;
    repl_status(n->repl, &status);
    bool ready;
    if (status.heard_ms == 0)
        ready = clock_mono_ms() - n->started_ms >= SILENCE_MS;
    else
        ready = store_applied_index(n->store) >= status.leader_commit_first &&
                cluster_is_founded(n);
    if (ready)
        atomic_store(&n->caught_up, true);
    return ready;
}
