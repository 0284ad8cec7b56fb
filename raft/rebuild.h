/* Re-aggregation: a store made anew of the raw reports of a stopped node, entry
 * by entry through store_apply, as if it had applied them just now. Where they
 * reach back to the first entry of the cluster, the result is what that node
 * had, digest for digest; a later beginning wants a copy of the store from
 * before it. Blocking; for holdfastctl, no thread of a node runs. */
#pragma once

#include "store/store.h"

struct rebuild_options {
    const char *data_dir; /* of the stopped node */
    const char *to;       /* directory for the store: empty, or made */
    const char *base;     /* a copy to begin from; NULL: from nothing */
    /* Told what is done, now and then; may be NULL. */
    void (*progress)(void *arg, const char *text);
    void *arg;
};

struct rebuild_report {
    uint64_t raw_first_index, raw_last_index; /* what there is */
    uint64_t raw_first_ms, raw_last_ms;       /* log time */
    uint64_t base_index;                      /* 0: from nothing */
    uint64_t entries;                         /* applied */
    uint64_t applied_index, log_time_ms;      /* of the result */
    uint64_t digest_index,
        digest; /* the last that the log asked for; 0: none */
};

/* ERR_INVALID (no data directory), ERR_NOTFOUND (no raw reports), ERR_EXISTS
 * (@to is not empty), ERR_BEHIND (entries are missing), ERR_FOREIGN (@base is
 * of another cluster), ERR_CORRUPT, ERR_NEWER, ERR_NOSPACE, ERR_IO, ERR_NOMEM.
 * What was begun in @to is removed then. */
NODISCARD int rebuild_from_raw(const struct rebuild_options *options,
                               struct rebuild_report *out, struct errmsg *e);
