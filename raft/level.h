/* Feature levels (docs/format.md): records of a new kind are only written when
 * every member can read them. The leader raises the cluster's level when all
 * members say that they speak a higher one; what is above the cluster's level
 * is refused on its way to the log. Raft loop only. */
#pragma once

#include "raft/replica.h"

#include <stdatomic.h>

struct repl;

enum { LEVEL_EVERY_MS = 1000 };

struct level_raise {
    struct submission submission;
    struct buf record;
    atomic_bool busy; /* cleared where its outcome arrives */
    uint64_t beat_ms;
};

/* May a record of @kind be submitted? ERR_INVALID: this node does not know it.
 * ERR_NEWER: the cluster is not there yet; told once a minute. */
NODISCARD int level_admits(struct repl *r, enum record_kind kind);

/* Raises the cluster's level, if this node leads and everybody is ready. */
void level_beat(struct repl *r, uint64_t now_ms);

void level_deinit(struct repl *r);
