#include "raft/flusher.h"

#include <errno.h>

static void *flusher_main(void *arg);

int flusher_start(struct flusher *f, struct store *store, struct events *events,
                  struct errmsg *e)
{
    f->store = store;
    f->events = events;
    atomic_init(&f->begun, 0);
    sem_init(&f->mail, 0, 0);
    if (pthread_create(&f->thread, NULL, flusher_main, f) != 0) {
        sem_destroy(&f->mail);
        return errmsg_set(e, ERR_NOMEM, "cannot start the flusher thread");
    }
    return 0;
}

void flusher_stop(struct flusher *f)
{
    sem_post(&f->mail);
    pthread_join(f->thread, NULL);
    sem_destroy(&f->mail);
}

void flusher_end(struct flusher *f)
{
    atomic_fetch_add(&f->begun, 1);
    sem_post(&f->mail);
}

static void end_flush(struct flusher *f) REQUIRES(flusher_thread)
{
    struct errmsg e = {""};
    int rv = store_flush_end(f->store, &e);
    if (rv < 0)
        events_fatal(f->events, EXIT_RESTART, "flush", "%s (%s)", e.text,
                     err_text(rv));
}

static void *flusher_main(void *arg)
{
    struct flusher *f = arg;
    thread_role_take(&flusher_thread);
    for (;;) {
        while (sem_wait(&f->mail) != 0 && errno == EINTR)
            continue;
        /* Mail without a flush is the last. */
        if (!flusher_is_busy(f))
            return NULL;
        end_flush(f);
        atomic_fetch_sub(&f->begun, 1);
    }
}
