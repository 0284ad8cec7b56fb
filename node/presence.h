/* Rule 8: once a minute of log time, around its middle, this node proposes the
 * list of defguard's gateways that it hears, so that an idle one's minute is 0
 * and not null. The minute is the log's, known by a barrier: a record that is
 * applied in another one has no effect and is not sent again, a new list is.
 * No gRPC here; the grpc thread runs it. docs/protocol.md, "When"
 *
 *   RESTING --time, and somebody is heard--> ASKED --barrier passed--> TOLD
 *   TOLD --taken--> RESTING to the middle of the next minute
 *   TOLD --anything else--> RESTING for PRESENCE_AGAIN_MS */
#pragma once

#include "node/barrier.h"
#include "node/ingest.h"

enum { PRESENCE_AGAIN_MS = 1000 };

struct presence_round {
    struct ingest *ingest;   /* borrowed */
    struct barrier *barrier; /* borrowed: shared with the streams */
    struct proposal proposal;
    struct buf record; /* under way */
    uint64_t ticket;
    uint64_t next_ms;
    enum { PRESENCE_RESTING, PRESENCE_ASKED, PRESENCE_TOLD } state;
    uint32_t *gateways; /* owned; in any order, some perhaps twice */
    size_t count, capacity;
    /* Calls presence_add for each gateway that is heard now. */
    void (*listen)(struct presence_round *p);
};

void presence_init(struct presence_round *p, struct ingest *ingest,
                   struct barrier *barrier,
                   void (*listen)(struct presence_round *p));
/* Nothing may be in flight. */
void presence_deinit(struct presence_round *p);

/* 0 is nobody. A list that memory is short for is a shorter one. */
void presence_add(struct presence_round *p, uint32_t gateway);

/* Goes on, if it is time. */
void presence_pump(struct presence_round *p);
