/* The environment of the raw reports, as readers see it: which chunks there
 * are, and one after the other out of it. Each call is a read transaction of
 * its own that lasts for one copy, so that a reader of gigabytes never keeps
 * pages from being used again. Any thread. Written by store/raw only. */
#pragma once

#include "store/raw_chunk.h"

struct raw_file;

/* Opens what is there, for a tool; a node's is store_raw_file's. ERR_NOTFOUND:
 * there are no raw reports; ERR_CORRUPT, ERR_NEWER, ERR_DENIED (in use),
 * ERR_IO, ERR_NOMEM. */
NODISCARD int raw_file_open(const char *path, struct raw_file **out,
                            struct errmsg *e);
void raw_file_close(struct raw_file *f);

/* 1 and the first chunk that has an entry at @index or beyond, 0 and an empty
 * one if there is none. ERR_CORRUPT, ERR_NEWER, ERR_IO, ERR_NOMEM. @out is
 * overwritten, and the caller's to deinit in any case. */
NODISCARD int raw_file_next(const struct raw_file *f, uint64_t index,
                            struct raw_chunk *out, struct errmsg *e);

struct raw_coverage {
    uint64_t chunks, bytes; /* of the disk that they take */
    uint64_t first_index, last_index;
    uint64_t first_ms, last_ms; /* log time */
    bool from_the_first;        /* begins with the first command of the log */
    uint64_t gaps;              /* entries are missing between two chunks */
    uint64_t gap_after,
        gap_before; /* the last of them: the entries around it */
    /* Where to begin for log time @since_ms: no entry of that time or later is
     * before it. */
    uint64_t since_index;
};

/* Walks the keys: a page for each hundred chunks. All zero if there is nothing.
 */
NODISCARD int raw_file_cover(const struct raw_file *f, uint64_t since_ms,
                             struct raw_coverage *out, struct errmsg *e);
