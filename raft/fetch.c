#include "raft/fetch.h"

#include "base/clock.h"
#include "raft/history.h"
#include "raft/repl.h"
#include "raft/seed.h"
#include "raft/peer_io.h"

#include <stdio.h>
#include <unistd.h>

static void on_dialed(void *arg, uv_stream_t *stream,
                      const struct hello_answer *answer, const char *why);
static void on_ended(struct errand *errand);

/* --- beginnings ----------------------------------------------------------- */

static void enter(struct repl *r)
{
    struct fetch *f = &r->fetch;
    r->phase = PHASE_FETCHING;
    memcpy(r->dialer.me.cluster_id, f->note.cluster_id, CLUSTER_ID_SIZE);
    f->told_ms = clock_mono_ms();
    events_info(&r->events, "fetching",
                "a copy of the store is fetched from the other members; until "
                "it is here this node does not vote");
}

int fetch_begin(struct repl *r, const uint8_t cluster_id[CLUSTER_ID_SIZE],
                const char *const members[], size_t count, struct errmsg *e)
{
    struct fetch_note *note = &r->fetch.note;
    *note = (struct fetch_note){0};
    memcpy(note->cluster_id, cluster_id, CLUSTER_ID_SIZE);
    for (size_t i = 0; i < count && note->member_count < PEERS_MAX; i++) {
        struct repl_peer peer;
        if (member_address_split(members[i], &peer) != 0)
            return errmsg_set(e, ERR_INVALID, "%.100s is not name=host:port",
                              members[i]);
        snprintf(note->members[note->member_count++], sizeof note->members[0],
                 "%s", members[i]);
    }
    if (note->member_count == 0)
        return errmsg_set(e, ERR_INVALID, "nobody to fetch the store from");
    int rv = fetch_note_write(r->data_dir, note, e);
    if (rv == 0)
        enter(r);
    return rv;
}

int fetch_resume(struct repl *r, bool *fetching, struct errmsg *e)
{
    struct fetch *f = &r->fetch;
    int rv = fetch_note_read(r->data_dir, &f->note, fetching, e);
    if (rv != 0 || !*fetching)
        return rv;
    if (identity_is_bootstrapped(&r->identity) &&
        memcmp(r->identity.cluster_id, f->note.cluster_id, CLUSTER_ID_SIZE) !=
            0)
        return errmsg_set(e, ERR_FOREIGN,
                          "%.150s/fetch is of another cluster than "
                          "identity beside it: remove it",
                          r->data_dir);
    /* What is fetched takes over the term and the vote. */
    rv = history_check_vote(r->raft_dir, e);
    if (rv != 0)
        return rv;
    enter(r);
    return 0;
}

void fetch_behind(struct repl *r, uint64_t index)
{
    struct fetch_note note = {.index = index};
    struct errmsg e = {""};
    memcpy(note.cluster_id, r->identity.cluster_id, CLUSTER_ID_SIZE);
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n && note.member_count < PEERS_MAX; i++)
        if (c->servers[i].id != r->identity.raft_id)
            snprintf(note.members[note.member_count++], sizeof note.members[0],
                     "%s", c->servers[i].address);
    int rv = note.member_count > 0
                 ? fetch_note_write(r->data_dir, &note, &e)
                 : errmsg_set(&e, ERR_INVALID, "no other member is known");
    if (rv != 0)
        events_fatal(&r->events, EXIT_RESTART, "behind",
                     "this node is too far behind and cannot note that it "
                     "needs a copy of the store: %s",
                     e.text);
    else
        events_restart(&r->events, "behind",
                       "this node was away for too long: the others keep no "
                       "log before index %llu and its store ends at %llu. A "
                       "copy of the store is fetched",
                       (unsigned long long)index,
                       (unsigned long long)r->handed_index);
}

/* --- asking --------------------------------------------------------------- */

static const char *asked_member(const struct fetch *f)
{
    return f->note.members[f->asked % f->note.member_count];
}

static bool is_self(const struct repl *r, const char *member)
{
    struct repl_peer peer;
    return member_address_split(member, &peer) == 0 &&
           strcmp(peer.address, r->address) == 0;
}

/* On to the next member; when all were asked, the leader may be one of them. */
static void turn_to_next(struct fetch *f, unsigned wait_ms)
{
    f->due_ms = clock_mono_ms() + wait_ms;
    if (++f->asked < f->note.member_count)
        return;
    f->asked = 0;
    f->leader_too = !f->leader_too;
}

static void tell_failure(struct repl *r, const char *member, const char *why)
{
    char source[64];
    snprintf(source, sizeof source, "fetch %.50s", member);
    if (events_may_tell(&r->events, source, clock_mono_ms()))
        events_info(&r->events, "fetching", "not from %s now: %s", member, why);
}

static int start_receiving(struct repl *r, uv_stream_t *stream,
                           struct errmsg *e)
{
    struct fetch *f = &r->fetch;
    f->receive = (struct receive){
        .data_dir = r->data_dir,
        .raft_id = r->identity.raft_id,
        .index = f->note.index,
        .reserve_bytes = r->space.reserve,
        .box = &r->errands,
        .ended = {.run = on_ended},
    };
    memcpy(f->receive.cluster_id, f->note.cluster_id, CLUSTER_ID_SIZE);
    f->receive.fd = peer_io_take(stream);
    if (f->receive.fd < 0)
        return errmsg_set(e, ERR_IO, "the socket cannot be taken over");
    int rv =
        seed_read_vote(r->raft_dir, &f->receive.term, &f->receive.voted_for, e);
    if (rv == 0)
        rv = receive_start(&f->receive, e);
    if (rv != 0)
        close(f->receive.fd);
    f->receiving = rv == 0;
    return rv;
}

static void on_dialed(void *arg, uv_stream_t *stream,
                      const struct hello_answer *answer, const char *why)
{
    struct repl *r = arg;
    struct fetch *f = &r->fetch;
    f->dial = NULL;
    if (stream == NULL) {
        tell_failure(r, asked_member(f), why);
        turn_to_next(f, FETCH_RETRY_MS);
        return;
    }
    /* The leader has the most to do. */
    if (answer->leads && !f->leader_too && f->note.member_count > 1) {
        link_close(&(struct link){.stream = stream});
        turn_to_next(f, 0);
        return;
    }
    struct errmsg e = {""};
    if (start_receiving(r, stream, &e) != 0) {
        tell_failure(r, asked_member(f), e.text);
        turn_to_next(f, FETCH_RETRY_MS);
    }
}

static void on_ended(struct errand *errand)
{
    struct repl *r = CONTAINER_OF(errand, struct repl, fetch.receive.ended);
    struct fetch *f = &r->fetch;
    struct receive *x = &f->receive;
    if (!f->receiving)
        return; /* joined before */
    receive_join(x);
    f->receiving = false;
    if (x->result == 0)
        events_restart(&r->events, "fetched",
                       "the store up to index %llu has come from %s: starting "
                       "anew with it",
                       (unsigned long long)x->copy_index, asked_member(f));
    else if (r->phase == PHASE_FETCHING)
        tell_failure(r, asked_member(f), x->e.text);
    turn_to_next(f, FETCH_RETRY_MS);
}

/* --- turns ---------------------------------------------------------------- */

static void tell_progress(struct repl *r, uint64_t now_ms)
{
    struct fetch *f = &r->fetch;
    uint64_t total = atomic_load(&f->receive.total);
    if (now_ms - f->told_ms < FETCH_TELL_MS)
        return;
    f->told_ms = now_ms;
    if (f->receiving && total > 0)
        events_info(&r->events, "fetching",
                    "%llu of %llu MiB are here, from %s",
                    (unsigned long long)atomic_load(&f->receive.bytes) >> 20,
                    (unsigned long long)total >> 20, asked_member(f));
    else if (f->receiving)
        events_info(&r->events, "fetching", "%s makes a copy of its store",
                    asked_member(f));
}

void fetch_beat(struct repl *r, uint64_t now_ms)
{
    struct fetch *f = &r->fetch;
    tell_progress(r, now_ms);
    if (f->receiving || f->dial != NULL || f->due_ms > now_ms)
        return;
    const char *member = asked_member(f);
    if (is_self(r, member)) {
        turn_to_next(f, 0);
        return;
    }
    f->dial = dial_start(&r->dialer, HELLO_BULK, 0, member, on_dialed, r);
    if (f->dial == NULL)
        turn_to_next(f, FETCH_RETRY_MS);
}

void fetch_close(struct repl *r)
{
    dial_cancel(r->fetch.dial);
    r->fetch.dial = NULL;
    if (r->fetch.receiving)
        receive_cut(&r->fetch.receive);
}

void fetch_join(struct repl *r)
{
    if (!r->fetch.receiving)
        return;
    receive_cut(&r->fetch.receive);
    receive_join(&r->fetch.receive);
    r->fetch.receiving = false;
}
