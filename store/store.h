/* The state machine: committed log entries in, time-bucketed truth out.
 *
 * The applier thread owns it: store_apply takes entries in log order and
 * changes memory (the table of slots, the open minutes, the late cells, the
 * roster); a flush writes one LMDB transaction that holds exactly the state at
 * one log index. What is in memory only is in the raft log too, so a crash
 * costs a replay and nothing else. Readers (store/query.h, store/roster.h) run
 * on any thread. The counting rules are DESIGN's 1-7; bytes are in
 * docs/format.md. */
#pragma once

#include "base/err.h"
#include "base/thread.h"
#include "store/entry.h"
#include "store/roster.h"

struct store;

enum {
    STORE_FORMAT = 2,
    FLUSH_REPORTS_MAX = 5 * 1000 * 1000,
};

struct store_options {
    const char *path;   /* directory, made if missing */
    uint64_t map_bytes; /* size of the map, 0 = by the file system; sparse */
};

/* ERR_CORRUPT, ERR_NEWER (a newer format), ERR_DENIED (another process has it
 * open), ERR_NOSPACE, ERR_IO, ERR_NOMEM; the message names the file and what to
 * do. Loads the checkpoint. */
NODISCARD int store_open(const struct store_options *options,
                         struct store **out, struct errmsg *e);

/* Does not flush: closing is as good as a crash. NULL is fine. */
void store_close(struct store *s);

/* From here on the entries themselves are kept too (store/raw.h), durable
 * before the flush that covers them is. Before the first store_apply, once.
 * Errors: see raw_open. */
struct raw_options;
struct raw_log;
NODISCARD int store_keep_raw(struct store *s, const struct raw_options *options,
                             struct errmsg *e);
/* NULL: they are not kept. As long as the store lives. */
struct raw_log *store_raw(struct store *s);

struct apply_result {
    struct entry_header header;
    const struct outcome *outcomes; /* borrowed until the next store_apply; one
                                       per record, in order */
    size_t count;
    bool skipped;   /* index was applied before: no outcomes, no effect */
    bool flush_due; /* a minute closed, or enough is unflushed: flush when the
                       waiters are told */
};

/* Called on the applier thread again and again while one store_apply takes long
 * (a digest reads the whole file). Before the first store_apply. */
typedef void store_beat_fn(void *arg);
void store_on_beat(struct store *s, store_beat_fn *beat, void *arg);

/* The feature level that brought records of this kind, 0: this version does not
 * know it. One that a replica does not know stops it for good, so a record must
 * not reach the log before the cluster's level is there. */
unsigned store_level_of(enum record_kind kind);

/* The level that the cluster agreed on, as far as applied here. Any thread. */
unsigned store_level(const struct store *s);

/* Any thread, as store_status. */
enum member_wish store_wish(struct store *s, const char *name);

/* Applies the committed entry at @index. An index that was applied is skipped
 * (after a restart LMDB may be ahead of raft's memory); gaps are normal, since
 * barriers and membership changes take indexes too. Reads the entry and the
 * state and nothing else. ERR_CORRUPT, ERR_NOMEM or ERR_IO: the caller must
 * stop the process. */
NODISCARD int store_apply(struct store *s, uint64_t index, struct bytes entry,
                          struct apply_result *result, struct errmsg *e)
    REQUIRES(applier_thread);

/* Commits everything up to the applied index durably, after a flush that is
 * under way. On error stop the process: nothing is retried (docs/adr on sync
 * modes). */
NODISCARD int store_flush(struct store *s, struct errmsg *e)
    REQUIRES(applier_thread);

/* The same in two steps. The first takes what is to be written out of the
 * applier's hands: 1: store_flush_end must follow, once, and apply may go on
 * meanwhile; 0: the file has the applied index already. Waits while a flush is
 * under way. The second writes it, and blocks for as long as the disk takes. */
NODISCARD int store_flush_begin(struct store *s, struct errmsg *e)
    REQUIRES(applier_thread);
NODISCARD int store_flush_end(struct store *s, struct errmsg *e)
    REQUIRES(flusher_thread);

/* Waits for the flush that is under way, if there is one. Any thread but the
 * one that ends it. */
void store_flush_await(struct store *s);

/* Totals since the process started; one set per store. */
struct store_counters {
    uint64_t reports;    /* samples applied */
    uint64_t batches;    /* native and legacy batches taken */
    uint64_t duplicates; /* batches (native) and samples (legacy) */
    uint64_t stale;      /* legacy samples dropped as older than the state */
    uint64_t gaps, superseded;
    uint64_t unknown_keys; /* samples skipped */
    uint64_t resets;       /* counters that fell */
    uint64_t late;         /* deltas into minutes that had closed */
    uint64_t spread;       /* deltas spread over minutes before theirs */
    uint64_t presences;    /* presence records taken */
    uint64_t flushes;
    uint64_t flush_waits; /* flushes that were due while one was under way */
    uint64_t flush_ns, apply_ns; /* time spent */
};

struct store_status {
    uint64_t applied_index, applied_term, log_time_ms; /* what readers see */
    uint64_t flushed_index; /* what a restart starts from */
    uint64_t next_close_ms; /* log time at which an open minute wants to close;
                               0 = none waits: no tick is needed */
    uint64_t slots, devices, locations, gateways;
    uint64_t used_bytes, map_bytes;
    struct store_counters counters;
};

/* Any thread, but not while it holds roster_read_lock: the applier takes the
 * roster's lock inside the table's. That goes for store/query.h too. */
void store_status(struct store *s, struct store_status *out);
uint64_t store_applied_index(const struct store *s);
uint64_t store_flushed_index(const struct store *s);
uint64_t store_log_time_ms(const struct store *s);

/* The roster lives as long as the store. */
struct roster *store_roster(struct store *s);

/* The digest that a RECORD_DIGEST at @index computed here: XXH3-64 over the
 * logical state in key order. Any thread. ERR_NOTFOUND: not computed here, or
 * pushed out by 16 newer ones. */
NODISCARD int store_digest_at(struct store *s, uint64_t index,
                              uint64_t *digest);

/* --- copies of the store ---------------------------------------------------
 */

enum { COPY_HASH_SIZE = 16 };

/* What a copy holds: exactly the state at one log index. */
struct copy_info {
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    uint64_t applied_index, applied_term, log_time_ms;
    uint64_t bytes; /* of the file */
    /* XXH3-128 (canonical) of the file. Only store_copy tells it, which sees
     * every byte; otherwise zero. */
    uint8_t hash[COPY_HASH_SIZE];
};

/* Writes a compacted, synced copy of what is flushed to the new file @path and
 * tells what it holds. Blocks for as long as the disk takes, with little
 * memory; any thread but the applier and the loop. @may_go_on (may be NULL) is
 * asked now and then: false ends it with ERR_CLOSED. The reader that it needs
 * keeps pages from being reused meanwhile. ERR_NOSPACE, ERR_IO; a partial file
 * is removed. */
NODISCARD int store_copy(struct store *s, const char *path,
                         bool (*may_go_on)(void *arg, uint64_t bytes),
                         void *arg, struct copy_info *out, struct errmsg *e);

/* What the closed copy (or store file) @path holds. ERR_CORRUPT, ERR_NEWER,
 * ERR_NOTFOUND, ERR_IO. */
NODISCARD int store_copy_inspect(const char *path, struct copy_info *out,
                                 struct errmsg *e);

/* Gives the store in directory @path, which nobody has open, to another
 * cluster: for a restore. Durable when it returns 0. */
NODISCARD int store_copy_rename_cluster(const char *path,
                                        const uint8_t cluster_id[],
                                        struct errmsg *e);
