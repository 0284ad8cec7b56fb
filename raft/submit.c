#define _GNU_SOURCE /* getrandom */
#include "raft/submit.h"

#include "base/assert.h"
#include "base/clock.h"
#include "raft/logtime.h"
#include "raft/repl.h"

#include <stdlib.h>
#include <sys/random.h>

struct proposal {
    struct raft_apply req; /* libraft's until its callback */
    struct repl *repl;
    struct proposal *next;
    uint64_t number;
    struct submission *waiters; /* NULL once claimed by apply */
};

static int propose(struct repl *r);
static void on_proposed(struct raft_apply *req, int status, void *result);
static void end_proposal(struct repl *r, struct proposal *p);
static void on_tick_done(struct submission *s, int status);

/* --- queues --------------------------------------------------------------- */

void queue_push(struct queue *q, struct submission *s)
{
    s->next = NULL;
    if (q->last == NULL)
        q->first = s;
    else
        q->last->next = s;
    q->last = s;
    q->count++;
    q->bytes += s->record.size;
}

void queue_push_front(struct queue *q, struct submission *s)
{
    s->next = q->first;
    q->first = s;
    if (q->last == NULL)
        q->last = s;
    q->count++;
    q->bytes += s->record.size;
}

struct submission *queue_pop(struct queue *q)
{
    struct submission *s = q->first;
    if (s == NULL)
        return NULL;
    q->first = s->next;
    if (q->first == NULL)
        q->last = NULL;
    q->count--;
    q->bytes -= s->record.size;
    s->next = NULL;
    return s;
}

void submit_pack(struct queue *a, struct queue *b, struct buf *entry,
                 struct queue *taken)
{
    while (a->count > 0 || b->count > 0) {
        struct queue *from = a->count > 0 ? a : b;
        size_t size = from->first->record.size;
        if (taken->count > 0 && entry->size + size > ENTRY_SIZE_GOAL)
            break;
        struct submission *s = queue_pop(from);
        buf_put(entry, s->record.data, s->record.size);
        queue_push(taken, s);
        struct queue *other = a;
        a = b;
        b = other;
    }
}

/* --- life ----------------------------------------------------------------- */

int submit_init(struct repl *r, struct errmsg *e)
{
    struct submitter *s = &r->submitter;
    /* Numbers must not repeat after a restart of the same raft id: entries of
     * the last run may still be applied. */
    if (getrandom(&s->number, sizeof s->number, 0) != (ssize_t)sizeof s->number)
        return errmsg_set(e, ERR_IO, "no random number");
    s->number >>= 1; /* room to count up */
    record_put_tick(&s->tick_record);
    if (buf_failed(&s->tick_record))
        return errmsg_set(e, ERR_NOMEM, "tick");
    s->tick.record = buf_bytes(&s->tick_record);
    s->tick.done = on_tick_done;
    atomic_init(&s->tick_busy, false);
    return 0;
}

void submit_deinit(struct repl *r)
{
    /* libraft tells of what is in flight when it closes, as far as it knows. */
    struct proposal *next;
    for (struct proposal *p = r->submitter.proposals; p != NULL; p = next) {
        next = p->next;
        end_proposal(r, p);
    }
    buf_deinit(&r->submitter.scratch);
    buf_deinit(&r->submitter.tick_record);
}

void submit_end(struct repl *r, struct submission *s, int status)
{
    if (status < 0)
        r->failed++;
    s->done(s, status);
}

void repl_submit(struct repl *r, struct submission *s)
{
    mailbox_push(&r->submissions, &s->letter);
}

void submit_collect(struct repl *r)
{
    uint64_t now = clock_mono_ms();
    bool stopping = r->phase > PHASE_RUNNING || events_failed(&r->events);
    struct letter *next;
    for (struct letter *l = mailbox_take(&r->submissions); l != NULL;
         l = next) {
        next = l->next;
        struct submission *s = CONTAINER_OF(l, struct submission, letter);
        s->arrived_ms = now;
        int refused;
        if (stopping)
            submit_end(r, s, ERR_CLOSED);
        else if (s->record.size == 0 || s->record.size > RECORD_SIZE_MAX)
            submit_end(r, s, ERR_INVALID);
        else if ((refused = level_admits(r, record_kind_of(s->record))) != 0)
            submit_end(r, s, refused);
        else if (r->submitter.waiting.bytes + s->record.size >
                 SUBMIT_QUEUE_BYTES_MAX)
            submit_end(r, s, ERR_AGAIN);
        else
            queue_push(&r->submitter.waiting, s);
    }
}

void submit_order(struct repl *r, struct submission *s)
{
    if (r->phase != PHASE_RUNNING || !r->leads || events_failed(&r->events) ||
        r->submitter.orders.bytes + s->record.size > SUBMIT_QUEUE_BYTES_MAX)
        s->done(s, ERR_AGAIN);
    else
        queue_push(&r->submitter.orders, s);
}

void submit_return(struct repl *r, struct submission *s)
{
    if (r->phase != PHASE_RUNNING ||
        clock_mono_ms() - s->arrived_ms >= SUBMIT_WAIT_MS)
        submit_end(r, s, ERR_AGAIN);
    else
        queue_push(&r->submitter.returned, s);
}

/* In the order in which they came back, before all that came later. */
static void put_returned_first(struct submitter *m)
{
    struct queue *back = &m->returned;
    if (back->count == 0)
        return;
    back->last->next = m->waiting.first;
    if (m->waiting.last == NULL)
        m->waiting.last = back->last;
    m->waiting.first = back->first;
    m->waiting.count += back->count;
    m->waiting.bytes += back->bytes;
    *back = (struct queue){0};
}

void submit_fail_waiting(struct repl *r, int status)
{
    struct submission *s;
    put_returned_first(&r->submitter);
    while ((s = queue_pop(&r->submitter.orders)) != NULL)
        s->done(s, ERR_AGAIN);
    while ((s = queue_pop(&r->submitter.waiting)) != NULL)
        submit_end(r, s, status);
}

/* --- pumping -------------------------------------------------------------- */

/* The followers can commit without this disk, so a leader with the slowest one
 * would keep an ever longer log in memory, and without a snapshot, which waits
 * for the disk (reference/libraft.md, rule 8). */
static bool disk_is_behind(const struct repl *r)
{
    return logsize_bytes_after(&r->guard.log, r->raft.last_stored) >
           UNSTORED_BYTES_MAX;
}

void submit_pump(struct repl *r)
{
    struct submitter *s = &r->submitter;
    if (r->phase != PHASE_RUNNING || events_failed(&r->events))
        return;
    if (!r->leads && s->orders.count > 0) {
        /* Not ours to propose any more, and never to be passed on. */
        struct submission *order;
        while ((order = queue_pop(&s->orders)) != NULL)
            order->done(order, ERR_AGAIN);
    }
    put_returned_first(s);
    if (r->leads && succession_holds(&r->succession))
        return; /* for the next leader */
    if (r->leads && space_is_low(&r->space)) {
        submit_fail_waiting(r, ERR_AGAIN); /* no room for the log */
        return;
    }
    if (r->leads) {
        while (r->ready && s->proposal_count < PROPOSALS_MAX &&
               (s->waiting.count > 0 || s->orders.count > 0) &&
               !applier_is_behind(&r->applier) && !disk_is_behind(r) &&
               propose(r) == 0)
            continue;
        return;
    }
    while (s->waiting.count > 0 &&
           forward_has_room(r, s->waiting.first->record.size))
        forward_send(r, queue_pop(&s->waiting));
}

static uint64_t stamp_now(struct repl *r)
{
    int64_t offsets[PEERS_MAX];
    uint64_t wall_ms = clock_wall_ms();
    size_t count = forward_clock_offsets(r, wall_ms, offsets);
    uint64_t floor = store_log_time_ms(r->store);
    if (r->submitter.last_stamp > floor)
        floor = r->submitter.last_stamp;
    return logtime_stamp(wall_ms, offsets, count, floor);
}

static void put_back(struct repl *r, struct queue *taken, int rv)
{
    /* Nothing was submitted. Without leadership our own wait for the next
     * leader, in the order they came. */
    struct queue reversed = {0};
    struct submission *s;
    while ((s = queue_pop(taken)) != NULL)
        queue_push_front(&reversed, s);
    while ((s = queue_pop(&reversed)) != NULL)
        if (rv == RAFT_NOTLEADER && s->arrived_ms != 0)
            queue_push_front(&r->submitter.waiting, s);
        else
            s->done(s, ERR_AGAIN);
}

static int propose(struct repl *r)
{
    struct submitter *s = &r->submitter;
    struct proposal *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NOMEM;
    struct entry_header header = {
        .term = raft_current_term(&r->raft),
        .log_time_ms = stamp_now(r),
        .proposer = r->identity.raft_id,
        .number = s->number + 1,
    };
    struct queue taken = {0};
    entry_begin(&s->scratch, &header);
    submit_pack(&s->waiting, &s->orders, &s->scratch, &taken);
    entry_finish(&s->scratch);
    struct raft_buffer data = {NULL, s->scratch.size};
    if (!buf_failed(&s->scratch))
        data.base = raft_malloc(data.len);
    if (data.base == NULL) {
        free(p);
        put_back(r, &taken, RAFT_NOMEM);
        return ERR_NOMEM;
    }
    ASSERT(data.len % ENTRY_ALIGNMENT == 0);
    memcpy(data.base, s->scratch.data, data.len);
    p->repl = r;
    p->number = header.number;
    p->waiters = taken.first;
    int rv = raft_apply(&r->raft, &p->req, &data, 1, on_proposed);
    if (rv == 0) {
        p->next = s->proposals;
        s->proposals = p;
        s->proposal_count++;
        s->number = header.number;
        s->last_stamp = header.log_time_ms;
        s->entries++;
        s->entry_bytes += data.len;
        return 0;
    }
    free(p);
    if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE) {
        raft_free(data.base); /* only these two leave it with us */
        if (rv == RAFT_NOSPACE &&
            events_may_tell(&r->events, "no_space", clock_mono_ms()))
            events_warn(&r->events, "no_space",
                        "no room for the log in %s: nothing is accepted until "
                        "there is; what was acknowledged is safe",
                        r->raft_dir);
        put_back(r, &taken, rv);
        return ERR_AGAIN;
    }
    events_fatal(&r->events, EXIT_RESTART, "propose", "%s (%s)",
                 raft_strerror(rv), raft_errmsg(&r->raft));
    struct submission *one;
    while ((one = queue_pop(&taken)) != NULL)
        submit_end(r, one, ERR_UNKNOWN);
    return ERR_IO;
}

struct submission *submit_claim(struct repl *r, uint64_t number)
{
    for (struct proposal *p = r->submitter.proposals; p != NULL; p = p->next)
        if (p->number == number) {
            struct submission *waiters = p->waiters;
            p->waiters = NULL;
            return waiters;
        }
    return NULL;
}

/* Those whom apply has not claimed may or may not be committed later. */
static void end_proposal(struct repl *r, struct proposal *p)
{
    struct submission *next;
    for (struct submission *w = p->waiters; w != NULL; w = next) {
        next = w->next;
        submit_end(r, w, ERR_UNKNOWN);
    }
    free(p);
}

/* Committed and handed to the applier (which tells the waiters), or lost. */
static void on_proposed(struct raft_apply *req, int status, void *result)
{
    (void)result;
    struct proposal *p = CONTAINER_OF(req, struct proposal, req);
    struct repl *r = p->repl;
    struct proposal **at = &r->submitter.proposals;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    r->submitter.proposal_count--;
    ASSERT(status != 0 || p->waiters == NULL);
    end_proposal(r, p);
    /* Again from here: libraft tells of completions later than apply, and one
     * in flight would otherwise wait for the next event. */
    submit_pump(r);
}

/* --- time ----------------------------------------------------------------- */

static void on_tick_done(struct submission *s, int status)
{
    (void)status;
    struct submitter *m = CONTAINER_OF(s, struct submitter, tick);
    atomic_store(&m->tick_busy, false);
}

/* An open minute closes when log time passes its end; without traffic only a
 * tick makes it pass. */
static void maybe_tick(struct repl *r, uint64_t now_ms)
{
    struct submitter *s = &r->submitter;
    if (!repl_may_propose(r) || space_is_low(&r->space) ||
        now_ms - s->tick_checked_ms < TICK_CHECK_MS ||
        atomic_load(&s->tick_busy))
        return;
    s->tick_checked_ms = now_ms;
    struct store_status status;
    store_status(r->store, &status);
    if (status.next_close_ms == 0 || s->last_stamp >= status.next_close_ms ||
        stamp_now(r) < status.next_close_ms)
        return;
    atomic_store(&s->tick_busy, true);
    s->tick.arrived_ms = now_ms;
    queue_push_front(&s->waiting, &s->tick);
}

void submit_beat(struct repl *r, uint64_t now_ms)
{
    struct submitter *s = &r->submitter;
    maybe_tick(r, now_ms);
    if (repl_may_propose(r))
        return;
    while (s->waiting.first != NULL &&
           now_ms - s->waiting.first->arrived_ms >= SUBMIT_WAIT_MS)
        submit_end(r, queue_pop(&s->waiting), ERR_AGAIN);
}
