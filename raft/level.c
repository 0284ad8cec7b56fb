#include "raft/level.h"

#include "base/clock.h"
#include "raft/repl.h"

int level_admits(struct repl *r, enum record_kind kind)
{
    unsigned needed = store_level_of(kind), level = store_level(r->store);
    if (needed == 0)
        return ERR_INVALID;
    if (needed <= level)
        return 0;
    if (events_may_tell(&r->events, "feature level", clock_mono_ms()))
        events_warn(&r->events, "level",
                    "a record of kind %u needs feature level %u, the cluster "
                    "is at %u: upgrade every node",
                    (unsigned)kind, needed, level);
    return ERR_NEWER;
}

/* The highest level that every member speaks; LEVEL_OLDEST while one has not
 * said. */
static unsigned common_level(const struct repl *r)
{
    unsigned level = r->level;
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == r->identity.raft_id)
            continue;
        const struct out_link *out = forward_peer(r, c->servers[i].id);
        unsigned its =
            out != NULL && out->facts_ms != 0 ? out->facts.level : LEVEL_OLDEST;
        if (its < level)
            level = its;
    }
    return level;
}

static void on_raised(struct submission *s, int status)
{
    struct level_raise *raise = CONTAINER_OF(s, struct level_raise, submission);
    (void)status; /* asked for again while it is not there */
    atomic_store(&raise->busy, false);
}

void level_beat(struct repl *r, uint64_t now_ms)
{
    struct level_raise *raise = &r->raise;
    if (!repl_may_propose(r) || now_ms - raise->beat_ms < LEVEL_EVERY_MS ||
        atomic_load(&raise->busy))
        return;
    raise->beat_ms = now_ms;
    unsigned level = common_level(r);
    if (level <= store_level(r->store))
        return;
    buf_clear(&raise->record);
    record_put_level(&raise->record, level);
    if (buf_failed(&raise->record))
        return;
    events_info(&r->events, "level",
                "all members speak feature level %u: the cluster takes it",
                level);
    raise->submission = (struct submission){.record = buf_bytes(&raise->record),
                                            .done = on_raised};
    atomic_store(&raise->busy, true);
    repl_submit(r, &raise->submission);
}

void level_deinit(struct repl *r)
{
    buf_deinit(&r->raise.record);
}
