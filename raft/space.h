/* Room on the disk of the data directory. Below the reserve this node takes no
 * new entries, as leader or follower, so that its log never meets the end of
 * the disk in the middle of a write (reference/libraft.md, rule 8); it votes,
 * answers and reads as before, and goes on by itself when there is room. Each
 * such time is told once when it begins and once when it ends. Measured on the
 * applier's thread, since a sick file system may block the call; decided on the
 * raft loop. docs/operations.md, "A full disk". */
#pragma once

#include "base/err.h"
#include "raft/events.h"

#include <stdatomic.h>

struct repl;

enum {
    SPACE_MEASURE_EVERY_MS = 1000,
    /* The reserve unless the operator sets one: so much, or so many per cent
     * of the file system if that is more, but never above a quarter of it. */
    SPACE_RESERVE_MIN = 256 * 1024 * 1024,
    SPACE_RESERVE_PER_CENT = 1,
    /* Entries of a leader that wait for the applier of a follower: beyond this
     * it takes no more, and from the half of it, as far as the leader knows, it
     * is sent no more: what is thrown away travels again and again. */
    SPACE_BACKLOG_BYTES_MAX = 64 * 1024 * 1024,
    /* How long a leader goes by what a peer said of its disk, and of what it
     * has applied; that comes with pings (raft/forward.h). */
    SPACE_FACTS_AGE_MS_MAX = 3000,
    SPACE_APPLIED_AGE_MS_MAX = 1000,
};

struct space {
    /* set by space_init, then only read */
    const char *data_dir;  /* borrowed */
    struct events *events; /* borrowed */
    uint64_t reserve;      /* bytes */

    uint64_t measured_ms; /* the measuring thread's */

    _Atomic uint64_t free_bytes;
    atomic_bool low;
};

/* Measures for the first time. @reserve 0 = the default. ERR_IO: the message
 * names the directory. */
NODISCARD int space_init(struct space *s, const char *data_dir,
                         uint64_t reserve, struct events *events,
                         struct errmsg *e);

/* Once in SPACE_MEASURE_EVERY_MS; one thread. */
void space_beat(struct space *s, uint64_t now_ms);

/* Measures now: is there so little left that even a flush of the store should
 * wait? The log has what it would write. The same thread. */
bool space_is_tight(struct space *s);

/* Any thread. */
static inline bool space_is_low(const struct space *s)
{
    return atomic_load_explicit(&s->low, memory_order_relaxed);
}

static inline uint64_t space_free_bytes(const struct space *s)
{
    return atomic_load_explicit(&s->free_bytes, memory_order_relaxed);
}

/* Does this node take entries of a leader now? Without @commands they are few
 * and tiny, and a new leader cannot begin without them: the reserve is for them
 * too. Raft loop; @arg: struct repl. */
bool space_takes_entries(void *arg, bool commands);

/* The same of a peer, as it said of itself lately, for entries after
 * @prev_index: a leader sends it heartbeats only, instead of entries that it
 * would throw away twenty times a second. */
bool space_peer_takes_entries(void *arg, uint64_t peer_id, uint64_t prev_index,
                              bool commands);
