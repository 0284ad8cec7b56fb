/* Taking over what lies ready in <data_dir>/next: a raft directory, a store and
 * an identity that were fetched (raft/fetch.c) or restored (raft/recover.c).
 * Whoever makes it syncs it and then makes next/complete. Before anything of
 * the data directory is opened. docs/format.md, "Next". */
#pragma once

#include "raft/replica.h"

/* As repl_adopt (raft/replica.h), but asks before each step; false stops it
 * with ERR_CLOSED, as a kill would. */
NODISCARD int adopt_step_by_step(const char *data_dir,
                                 bool (*may_go_on)(void *arg), void *arg,
                                 struct errmsg *e);
