#define _GNU_SOURCE /* sem_clockwait */
#include "raft/applier.h"

#include "base/assert.h"
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

enum { TICK_S = 1 };

/* One committed entry on its way. */
struct delivery {
    struct errand errand;
    struct applier *applier;
    struct submission *waiters; /* owned until done */
    uint64_t index;
    size_t size;
    uint8_t data[];
};

static void *applier_main(void *arg);
static void deliver(struct errand *errand);
static void flush_run(struct errand *errand);
static void begin_flush(struct applier *a) REQUIRES(applier_thread);
static void group_end(struct applier *a) REQUIRES(applier_thread);

/* Also in the middle of long work: who sees no tick restarts the process. */
static void tick(void *arg)
{
    struct applier *a = arg;
    atomic_store(&a->ticked_ms, clock_mono_ms());
}

static void wake_applier(void *arg)
{
    struct applier *a = arg;
    sem_post(&a->mail);
}

int applier_start(struct applier *a, struct errmsg *e)
{
    sem_init(&a->mail, 0, 0);
    mailbox_init(&a->box, wake_applier, a);
    atomic_init(&a->stopping, false);
    atomic_init(&a->backlog_bytes, 0);
    atomic_init(&a->relief_wanted, false);
    atomic_init(&a->flush_asked, false);
    tick(a);
    store_on_beat(a->store, tick, a);
    a->flush.run = flush_run;
    atomic_init(&a->stored_index, 0);
    int rv = flusher_start(&a->flusher, a->store, a->events, e);
    if (rv == 0 && pthread_create(&a->thread, NULL, applier_main, a) != 0) {
        flusher_stop(&a->flusher);
        rv = errmsg_set(e, ERR_NOMEM, "cannot start the applier thread");
    }
    if (rv != 0)
        sem_destroy(&a->mail);
    return rv;
}

void applier_stop(struct applier *a)
{
    atomic_store(&a->stopping, true);
    sem_post(&a->mail);
    pthread_join(a->thread, NULL);
    flusher_stop(&a->flusher);
    sem_destroy(&a->mail);
}

int applier_put(struct applier *a, uint64_t index, struct bytes entry,
                struct submission *waiters)
{
    struct delivery *d = malloc(sizeof *d + entry.size);
    if (d == NULL)
        return ERR_NOMEM;
    d->errand.run = deliver;
    d->applier = a;
    d->waiters = waiters;
    d->index = index;
    d->size = entry.size;
    memcpy(d->data, entry.data, entry.size);
    atomic_fetch_add(&a->backlog_bytes, entry.size);
    mailbox_push(&a->box, &d->errand.letter);
    return 0;
}

void applier_run(struct applier *a, struct errand *errand)
{
    mailbox_push(&a->box, &errand->letter);
}

void applier_want_flush(struct applier *a)
{
    if (!atomic_exchange(&a->flush_asked, true))
        mailbox_push(&a->box, &a->flush.letter);
}

bool applier_is_behind(struct applier *a)
{
    if (atomic_load(&a->backlog_bytes) <= APPLIER_BACKLOG_BYTES_MAX)
        return false;
    atomic_store(&a->relief_wanted, true);
    /* Looked at again: the applier may have finished in between. */
    return atomic_load(&a->backlog_bytes) > APPLIER_BACKLOG_BYTES_MAX;
}

/* --- the thread ----------------------------------------------------------- */

static void wait_for_mail(struct applier *a)
{
    /* Monotonic: were the wall clock set back, an idle applier would look dead
     * for as long. */
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TICK_S;
    while (sem_clockwait(&a->mail, CLOCK_MONOTONIC, &until) != 0 &&
           errno == EINTR)
        continue;
}

static void *applier_main(void *arg)
{
    struct applier *a = arg;
    thread_role_take(&applier_thread);
    for (;;) {
        bool last = atomic_load(&a->stopping);
        errands_run(&a->box);
        group_end(a);
        uint64_t now_ms = clock_mono_ms();
        space_beat(a->space, now_ms);
        if (a->flush_put_off && !space_is_low(a->space) &&
            !events_failed(a->events))
            begin_flush(a);
        tick(a);
        if (last)
            break;
        wait_for_mail(a);
    }
    applier_flush(a);
    return NULL;
}

static void finish_all(struct submission *waiters, int status)
{
    struct submission *next;
    for (struct submission *s = waiters; s != NULL; s = next) {
        next = s->next;
        s->done(s, status);
    }
}

/* Tells each waiter its outcome; the two lists have the same order because one
 * submission is one record. */
static void finish_with(struct submission *waiters,
                        const struct apply_result *result, uint64_t index)
{
    size_t i = 0;
    struct submission *next;
    for (struct submission *s = waiters; s != NULL; s = next) {
        next = s->next;
        ASSERT(i < result->count);
        s->outcome = result->outcomes[i++];
        s->outcome.index = index;
        s->done(s, 0);
    }
    ASSERT(waiters == NULL || i == result->count);
}

/* A leader's entries may be committed by the others before they are on its own
 * disk; that write is under way then. */
static bool wait_for_log(struct applier *a, uint64_t index, unsigned ms_max)
{
    const struct timespec pause = {.tv_nsec = 1000 * 1000};
    for (unsigned ms = 0; atomic_load(&a->stored_index) < index; ms++) {
        if (ms >= ms_max || atomic_load(&a->stopping) ||
            events_failed(a->events))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* A digest is of what the file holds: the store flushes in the middle of
 * applying such an entry. */
static bool has_digest(const struct delivery *d)
{
    struct entry_header header;
    struct reader records;
    struct record record;
    struct errmsg e;
    if (entry_open((struct bytes){d->data, d->size}, &header, &records, &e) !=
        0)
        return false;
    while (record_next(&records, &record) > 0)
        if (record.kind == RECORD_DIGEST)
            return true;
    return false;
}

static void apply_one(struct applier *a, struct delivery *d)
    REQUIRES(applier_thread)
{
    a->broken_off = a->broken_off || events_failed(a->events) ||
                    (has_digest(d) && !wait_for_log(a, d->index, UINT_MAX));
    if (a->broken_off) {
        finish_all(d->waiters, ERR_UNKNOWN);
        return;
    }
    struct apply_result result = {0};
    struct errmsg e = {""};
    int rv = store_apply(a->store, d->index, (struct bytes){d->data, d->size},
                         &result, &e);
    if (rv < 0) {
        /* A damaged entry, or one of a newer version, will be as much so after
         * a restart; what memory or the disk refused may not be. */
        events_fatal(a->events,
                     rv == ERR_CORRUPT || rv == ERR_NEWER ? 1 : EXIT_RESTART,
                     "apply", "entry %llu: %s (%s)",
                     (unsigned long long)d->index, e.text, err_text(rv));
        finish_all(d->waiters, ERR_UNKNOWN);
        return;
    }
    if (result.skipped) {
        finish_all(d->waiters, ERR_UNKNOWN);
        return;
    }
    a->applied_index = d->index;
    finish_with(d->waiters, &result, d->index);
    if (result.flush_due) {
        group_end(a);
        begin_flush(a);
    }
}

static void deliver(struct errand *errand)
{
    thread_role_assert(&applier_thread);
    struct delivery *d = CONTAINER_OF(errand, struct delivery, errand);
    struct applier *a = d->applier;
    apply_one(a, d);
    tick(a);
    size_t before = atomic_fetch_sub(&a->backlog_bytes, d->size);
    if (before - d->size <= APPLIER_BACKLOG_BYTES_MAX / 2 &&
        atomic_exchange(&a->relief_wanted, false) && a->relieved != NULL)
        a->relieved(a->relieved_arg);
    free(d);
}

static void group_end(struct applier *a)
{
    if (a->applied_index == 0)
        return;
    if (a->applied != NULL)
        a->applied(a->arg, a->applied_index);
    a->applied_index = 0;
}

static void flush_run(struct errand *errand)
{
    thread_role_assert(&applier_thread);
    struct applier *a = CONTAINER_OF(errand, struct applier, flush);
    if (!events_failed(a->events) && !flusher_is_busy(&a->flusher))
        begin_flush(a);
    atomic_store(&a->flush_asked, false);
}

/* A transaction that runs out of disk would end the process. The log holds all
 * that it would write, and grows no more while there is no room. Measured when
 * the flush before has taken its part. */
static bool may_flush(struct applier *a) REQUIRES(applier_thread)
{
    store_flush_await(a->store);
    a->flush_put_off = space_is_tight(a->space) ||
                       !wait_for_log(a, store_applied_index(a->store),
                                     APPLIER_LOG_WAIT_MS_MAX);
    return !a->flush_put_off;
}

static void tell_failure(struct applier *a, int rv, const struct errmsg *e)
{
    events_fatal(a->events, EXIT_RESTART, "flush", "%s (%s)", e->text,
                 err_text(rv));
}

bool applier_flush(struct applier *a)
{
    struct errmsg e = {""};
    if (events_failed(a->events) || !may_flush(a))
        return false;
    int rv = store_flush(a->store, &e);
    if (rv < 0)
        tell_failure(a, rv, &e);
    return rv == 0;
}

static void begin_flush(struct applier *a)
{
    struct errmsg e = {""};
    if (!may_flush(a))
        return;
    int rv = store_flush_begin(a->store, &e);
    if (rv < 0)
        tell_failure(a, rv, &e);
    else if (rv > 0)
        flusher_end(&a->flusher);
}
