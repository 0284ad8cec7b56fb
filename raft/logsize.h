/* How many bytes the log in libraft's memory holds: libraft counts entries, but
 * memory is spent in bytes (reference/libraft.md, rule 12). Sees every append
 * and tells how many entries make up the newest so many bytes. Raft loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    LOGSIZE_MARKS = 1024,
    LOGSIZE_MARK_BYTES = 512 * 1024,
    LOGSIZE_MARK_ENTRIES = 128,
};

struct logsize {
    uint64_t bytes; /* of all entries seen */
    uint64_t last_index;
    /* A ring; each says how many bytes had been seen after @index. */
    struct {
        uint64_t index, bytes;
    } marks[LOGSIZE_MARKS];
    size_t first, count;
};

/* An entry was appended; an index seen before takes the place of the old one
 * and of all after it. */
void logsize_append(struct logsize *l, uint64_t index, size_t size);

/* Bytes in the entries after @index, to the precision of a mark; if @index is
 * older than all marks, those that are known. */
uint64_t logsize_bytes_after(const struct logsize *l, uint64_t index);

/* How many of the newest entries hold at most @bytes, to the precision of a
 * mark; @most if all that are known do. */
uint64_t logsize_entries_in(const struct logsize *l, uint64_t bytes,
                            uint64_t most);
