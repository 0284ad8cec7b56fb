/* The fetcher: brings a copy of the store from another member to a node that
 * cannot go on with its own, because it has none yet (it joins) or was away for
 * longer than the others keep their log. raft is not open meanwhile, so the
 * node neither votes nor acknowledges. <data_dir>/fetch says that it is so and
 * whom to ask; the copy gathers in <data_dir>/next and is taken over by the
 * next start (raft/adopt.c). A fetch that is cut goes on where it was. */
#pragma once

#include "raft/replica.h"

struct repl;

/* Writes <data_dir>/fetch durably and starts to fetch at once: raft must not be
 * open. @members: "name=host:port" of those to ask, at most PEERS_MAX are
 * taken. When the copy is complete REPL_RESTART is raised. ERR_INVALID, ERR_IO,
 * ERR_NOSPACE, ERR_NOMEM. Raft loop. */
NODISCARD int fetch_begin(struct repl *r,
                          const uint8_t cluster_id[CLUSTER_ID_SIZE],
                          const char *const members[], size_t count,
                          struct errmsg *e);
