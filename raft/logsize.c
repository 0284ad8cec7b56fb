#include "raft/logsize.h"

static size_t slot(const struct logsize *l, size_t i)
{
    return (l->first + i) % LOGSIZE_MARKS;
}

static void truncate_to(struct logsize *l, uint64_t last_index)
{
    while (l->count > 0 && l->marks[slot(l, l->count - 1)].index > last_index)
        l->count--;
    /* Bytes between the last mark and the cut are forgotten; they are less
     * than a mark's worth. */
    l->bytes = l->count > 0 ? l->marks[slot(l, l->count - 1)].bytes : 0;
}

void logsize_append(struct logsize *l, uint64_t index, size_t size)
{
    if (index <= l->last_index)
        truncate_to(l, index - 1);
    l->bytes += size;
    l->last_index = index;
    if (l->count > 0) {
        size_t newest = slot(l, l->count - 1);
        if (l->bytes - l->marks[newest].bytes < LOGSIZE_MARK_BYTES &&
            index - l->marks[newest].index < LOGSIZE_MARK_ENTRIES)
            return;
    }
    if (l->count == LOGSIZE_MARKS) {
        l->first = slot(l, 1);
        l->count--;
    }
    size_t at = slot(l, l->count++);
    l->marks[at].index = index;
    l->marks[at].bytes = l->bytes;
}

uint64_t logsize_bytes_after(const struct logsize *l, uint64_t index)
{
    for (size_t i = l->count; i > 0; i--)
        if (l->marks[slot(l, i - 1)].index <= index)
            return l->bytes - l->marks[slot(l, i - 1)].bytes;
    return l->bytes - (l->count > 0 ? l->marks[l->first].bytes : 0);
}

uint64_t logsize_entries_in(const struct logsize *l, uint64_t bytes,
                            uint64_t most)
{
    uint64_t entries = most;
    for (size_t i = l->count; i > 0; i--)
        if (l->bytes - l->marks[slot(l, i - 1)].bytes > bytes) {
            entries = l->last_index - l->marks[slot(l, i - 1)].index;
            break;
        }
    return entries < most ? entries : most;
}
