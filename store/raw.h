/* Raw reports: the committed entries as they came, kept beside the store for
 * export and re-aggregation, in an environment of their own (store/raw_file).
 *
 * The applier hands every entry over (raw_put copies it); a thread of its own
 * compresses chunks and commits them, so that neither stalls apply. A flush of
 * the store waits until what it covers is kept (raw_await): what the log may
 * then forget is in here. Nothing else ties the two: entries that a replay
 * brings again are skipped, and a replica whose store came as a copy begins
 * where that copy ends, with a gap that the next chunk tells.
 *
 * A failed write is final, as the store's: every later call says so, and the
 * process must stop. A file that is damaged when it is opened is set aside and
 * begun anew: it is worth less than the node. */
#pragma once

#include "base/thread.h"
#include "store/raw_file.h"

enum {
    /* Entries that wait for the thread; beyond it raw_put waits. */
    RAW_QUEUE_BYTES_MAX = 8 * 1024 * 1024,
    /* Compressed bytes in one transaction. */
    RAW_COMMIT_BYTES = 4 * 1024 * 1024,
};

struct raw_options {
    const char *path;    /* directory, made if missing */
    uint64_t bytes_max;  /* of the disk, not 0 */
    uint64_t age_ms_max; /* of log time, not 0 */
};

struct raw_log;

/* @applied_index: the store's. ERR_NEWER, ERR_DENIED (another process has it
 * open), ERR_NOSPACE, ERR_IO, ERR_NOMEM. */
NODISCARD int raw_open(const struct raw_options *options,
                       uint64_t applied_index, struct raw_log **out,
                       struct errmsg *e);
/* Does not write what was put and not awaited. NULL is fine. */
void raw_close(struct raw_log *l);

/* Keeps a copy of the entry at @index; one that is kept is skipped. Indexes
 * rise. Waits while RAW_QUEUE_BYTES_MAX are on their way. ERR_NOMEM,
 * ERR_NOSPACE, ERR_IO. */
NODISCARD int raw_put(struct raw_log *l, uint64_t index, uint64_t log_time_ms,
                      struct bytes entry, struct errmsg *e)
    REQUIRES(applier_thread);

/* Everything that was put is durable when it returns 0. Any thread. */
NODISCARD int raw_await(struct raw_log *l, struct errmsg *e);

struct raw_status {
    uint64_t kept_index;       /* durable up to here */
    uint64_t bytes;            /* of chunks, as of the last commit */
    uint64_t file_bytes;       /* of the file: it does not shrink */
    uint64_t commits, work_ns; /* since the start */
    bool set_aside;            /* damaged when it was opened: begun anew */
};

/* Any thread. */
void raw_status(struct raw_log *l, struct raw_status *out);

/* For readers; as long as @l lives. */
const struct raw_file *raw_log_file(const struct raw_log *l);
