/* Does a raft directory still hold all that this node promised by? A node that
 * lost entries or a vote and takes part again can make the cluster lose what
 * was acknowledged, and libraft starts on less than there was without a word.
 *
 * What can be known: a vote file that is missing, cut or out of turn, because
 * two files are written alternately; a term older than the newest entry's; and
 * a log that ends before what the store has. The last is never the trace of a
 * crash: the store is flushed only up to what this node's own log has on disk
 * (applier.h), though entries may be applied before. Not to be known: entries
 * since the last flush that vanished together with the end of the log. */
#pragma once

#include "base/err.h"

#include <stdint.h>

/* Larger ones overflow libraft's 16-bit capacity in KiB. */
enum { SEGMENT_SIZE = 8 * 1024 * 1024 };

/* The files with term and vote, before libraft opens (and tidies up) the
 * directory. ERR_CORRUPT, ERR_IO; the message names the file. */
NODISCARD int history_check_vote(const char *raft_dir, struct errmsg *e);

/* Segments that are still open: libraft frees twice what it read when one ends
 * in the middle of a batch. A torn write never looks like that, since segments
 * are allocated whole, and is left to libraft; nor does one that was about to
 * be closed, which ends with a batch. ERR_CORRUPT, ERR_IO. */
NODISCARD int history_check_segments(const char *raft_dir, struct errmsg *e);

/* The .meta files of snapshots. When the newest cannot be read, libraft goes
 * back to the one before without a word, if the log reaches so far: damage to
 * the disk that nobody would hear of. ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
NODISCARD int history_check_snapshots(const char *raft_dir, struct errmsg *e);

/* What libraft loaded: the current term, and index and term of the last entry
 * (or of the snapshot, if nothing follows it), against the store's flushed
 * index. ERR_CORRUPT. */
NODISCARD int history_check_log(const char *raft_dir, uint64_t term,
                                uint64_t last_index, uint64_t last_term,
                                uint64_t flushed_index, struct errmsg *e);
