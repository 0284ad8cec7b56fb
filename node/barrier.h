/* The shared barrier: one tick through the log at a time for all streams that
 * wait. When it was applied here, this node's log time is not behind anything
 * that was committed before the stream began, so that a gateway which moved to
 * a lagging node is not taken for stale (DESIGN, rule 2). grpc thread. */
#pragma once

#include "node/ingest.h"

struct barrier {
    struct ingest *ingest; /* borrowed */
    struct proposal tick;
    struct buf record;
    uint64_t started, passed; /* barriers so far, counted */
    uint64_t applied_wanted;  /* the tick is committed: applied here at */
    enum { BARRIER_IDLE, BARRIER_COMMITTING, BARRIER_APPLYING } state;
    bool wanted; /* somebody came after the one under way had started */
};

NODISCARD int barrier_init(struct barrier *b, struct ingest *ingest);
void barrier_deinit(struct barrier *b);

/* A number to wait for: a barrier that starts after this call. */
uint64_t barrier_ticket(struct barrier *b);
bool barrier_has_passed(const struct barrier *b, uint64_t ticket);

/* Goes on, where it can. True when a barrier passed in this call. */
bool barrier_pump(struct barrier *b, uint64_t applied_index);
