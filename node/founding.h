/* The first settings of a cluster: the first leader that finds none proposes
 * the gateway secret, the retention and the admin token's hash; the log keeps
 * whichever comes first. The token itself is written to <data-dir>/admin-token
 * on the node whose proposal won: it lies beside as admin-token.new until that
 * is known, so that a crash in between does not lose it. Main thread. */
#pragma once

#include "node/node.h"

struct founding {
    struct node *node; /* borrowed */
    struct submission submission;
    struct buf record;
    _Atomic bool in_flight;
    bool done;
};

void founding_init(struct founding *f, struct node *node);
/* After repl_stop: nothing is in flight any more. */
void founding_deinit(struct founding *f);

/* Goes on where it can; true once the cluster has its settings. Call it every
 * few ms until then. */
bool founding_step(struct founding *f);
