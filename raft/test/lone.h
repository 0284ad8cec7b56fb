/* One replica over a real store, for the tests of recovery. */
#pragma once

#include "raft/replica.h"

#include <stdatomic.h>

struct lone {
    char dir[64]; /* of the test; the data directory is <dir>/data */
    char data[80];
    struct store *store;
    struct repl *repl;
    atomic_bool leads;
    atomic_int fatal_code;
};

void lone_init(struct lone *n);
void lone_deinit(struct lone *n);

/* A cluster of one on @data. */
void lone_start(struct lone *n, const char *data);
/* Orderly: everything is flushed. */
void lone_stop(struct lone *n);
void lone_await_lead(struct lone *n);

/* Settings with the cluster's id; a location of that name. */
void lone_found(struct lone *n);
void lone_add_location(struct lone *n, const char *name);
