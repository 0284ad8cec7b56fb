/* The fetcher: brings a copy of the store from another member to a node that
 * cannot go on with its own, because it has none yet (it joins) or was away for
 * longer than the others keep their log. raft is not open meanwhile, so the
 * node neither votes nor acknowledges. <data_dir>/fetch says that it is so and
 * whom to ask (raft/fetch_note.h); the copy gathers in <data_dir>/next
 * (raft/receive.h) and is taken over by the next start (raft/adopt.h). Members
 * are asked in turn, the leader only when nobody else gives one. Raft loop, and
 * repl_start before it runs. */
#pragma once

#include "raft/dial.h"
#include "raft/fetch_note.h"
#include "raft/receive.h"

struct repl;

enum {
    FETCH_RETRY_MS = 500,
    FETCH_TELL_MS = 5000, /* progress */
};

struct fetch {
    struct fetch_note note;
    size_t asked;    /* members asked in this round */
    bool leader_too; /* in this round */
    uint64_t due_ms, told_ms;
    struct dial *dial; /* under way, or NULL */
    bool receiving;    /* @receive runs */
    struct receive receive;
};

/* Writes <data_dir>/fetch durably and starts to fetch at once: raft must not be
 * open. @members: "name=host:port" of those to ask, at most PEERS_MAX are
 * taken. When the copy is complete REPL_RESTART is raised. ERR_INVALID, ERR_IO,
 * ERR_NOSPACE, ERR_NOMEM. */
NODISCARD int fetch_begin(struct repl *r,
                          const uint8_t cluster_id[CLUSTER_ID_SIZE],
                          const char *const members[], size_t count,
                          struct errmsg *e);

/* If a fetch was begun by an earlier process, goes on with it: *fetching.
 * ERR_CORRUPT, ERR_FOREIGN, ERR_IO. */
NODISCARD int fetch_resume(struct repl *r, bool *fetching, struct errmsg *e);

/* This node was away for too long: the others' log begins behind @index.
 * Writes the note and raises REPL_RESTART, since raft is open. */
void fetch_behind(struct repl *r, uint64_t index);

void fetch_beat(struct repl *r, uint64_t now_ms);

/* With the loop's handles; then, when the loop has ended. */
void fetch_close(struct repl *r);
void fetch_join(struct repl *r);
