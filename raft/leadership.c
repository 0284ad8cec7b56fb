/* What libraft has no callback for: that this node leads, and may, or that
 * another does. A new leader works only when everything before its lead was
 * applied: then it is "ready". Raft loop. */
#include "base/clock.h"
#include "raft/repl.h"

#include <stdlib.h>

/* A mark through the applier's mailbox and back: everything before it was
 * applied. */
struct takeover {
    struct errand errand;
    struct repl *repl;
    uint64_t term;
};

static void takeover_done(struct errand *errand)
{
    struct takeover *t = CONTAINER_OF(errand, struct takeover, errand);
    struct repl *r = t->repl;
    if (r->phase == PHASE_RUNNING && r->leads && r->lead_term == t->term) {
        r->ready = true;
        /* Stamps of an earlier lead may be of entries that were lost: what was
         * applied is the floor, or a lost tick would never be made again. */
        r->submitter.last_stamp = 0;
        events_info(&r->events, "leader", "this node leads in term %llu",
                    (unsigned long long)t->term);
        if (r->on_leader != NULL)
            r->on_leader(r->arg, true);
        submit_pump(r);
    }
    free(t);
}

static void takeover_applied(struct errand *errand)
{
    struct takeover *t = CONTAINER_OF(errand, struct takeover, errand);
    errand->run = takeover_done;
    mailbox_push(&t->repl->errands, &errand->letter);
}

/* Whatever was acknowledged before this lead is in this log. If the log goes on
 * behind what is known as committed, libraft (0.22, convertToLeader) has just
 * put a barrier at its end: that one committed, all before it is. If it does
 * not, there is no barrier, nor anything to wait for but apply; and a lone
 * voter has committed what it stored. So the last index is the mark in every
 * case; a barrier of ours would cost the first writer another trip through the
 * disks. None of it proves that this node still leads: reads that must know
 * take a tick through the log (node/barrier.h). */
static void begin_takeover(struct repl *r)
{
    r->leads = true;
    r->lead_term = raft_current_term(&r->raft);
    r->lead_first_index = raft_last_index(&r->raft);
}

static void go_on_taking_over(struct repl *r)
{
    if (raft_last_applied(&r->raft) < r->lead_first_index)
        return;
    struct takeover *t = calloc(1, sizeof *t);
    if (t == NULL)
        return; /* tried again next turn */
    r->lead_first_index = 0;
    if (r->guard.leader_commit_first == 0)
        r->guard.leader_commit_first = raft_commit_index(&r->raft);
    t->repl = r;
    t->term = r->lead_term;
    t->errand.run = takeover_applied;
    applier_run(&r->applier, &t->errand);
}

void leadership_lose(struct repl *r)
{
    bool told = r->ready;
    r->leads = r->ready = false;
    r->lead_first_index = 0;
    if (told && r->on_leader != NULL)
        r->on_leader(r->arg, false);
}

static void watch_others(struct repl *r)
{
    raft_id id;
    const char *address;
    raft_leader(&r->raft, &id, &address);
    if (id == r->seen_leader)
        return;
    if (id != 0)
        r->leader_changes++;
    if (id == 0)
        events_info(&r->events, "leader", "no leader is known now");
    else if (id != r->identity.raft_id) /* our own lead is told apart */
        events_info(&r->events, "leader", "%s leads in term %llu", address,
                    (unsigned long long)raft_current_term(&r->raft));
    r->seen_leader = id;
    r->status_ms = 0;
    forward_leader_changed(r);
}

void leadership_turn(struct repl *r)
{
    bool leads = raft_state(&r->raft) == RAFT_LEADER;
    if (r->leads && (!leads || raft_current_term(&r->raft) != r->lead_term))
        leadership_lose(r);
    if (leads && !r->leads)
        begin_takeover(r);
    if (r->lead_first_index != 0)
        go_on_taking_over(r);
    watch_others(r);
}
