/* The flusher thread: it ends the flushes that the applier began, so that apply
 * waits for no disk. One at a time: the applier waits before it begins the next
 * (store/flush.c). A flush that fails stops the process. */
#pragma once

#include "raft/events.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct flusher {
    struct store *store;   /* borrowed */
    struct events *events; /* borrowed */
    pthread_t thread;
    sem_t mail;        /* a flush was begun, or it is over */
    atomic_uint begun; /* flushes that have not ended. The next one may begin
                          before the thread has said that the last is over */
};

/* Starts the thread. ERR_NOMEM. */
NODISCARD int flusher_start(struct flusher *f, struct store *store,
                            struct events *events, struct errmsg *e);

/* Ends the flush that was begun, if there is one, and joins. */
void flusher_stop(struct flusher *f);

/* A flush was begun: ends it. */
void flusher_end(struct flusher *f) REQUIRES(applier_thread);

/* Any thread. */
static inline bool flusher_is_busy(const struct flusher *f)
{
    return atomic_load(&f->begun) > 0;
}
