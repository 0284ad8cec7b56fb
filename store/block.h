/* The packed rows of the file: blocks of cells (`blk_min`, `blk_hour` and
 * `blk_day`: the cells of one bucket and location) and checkpoint blocks (`ck`:
 * slots with their open minutes and the parts of their open hour and day). Key
 * and value to the last byte: docs/format.md, "Blocks" and "Checkpoint". Pure
 * codecs; a value from the file is checked as if a stranger had sent it. No
 * thread. */
#pragma once

#include "store/cell.h"
#include "store/table.h"

enum {
    BLOCK_VERSION = 1,
    BLOCK_SIZE_GOAL = 960, /* a block that is larger takes no more rows; four
                              of them fill a page of LMDB */
    BLOCK_KEY_SIZE = 16,
    CHECKPOINT_KEY_SIZE = 12,
};

/* Writing. Zero-initialise; *_start begins a block with its first row, *_add
 * appends one whose key is larger (and of the same bucket and location). The
 * block is key and value; block_is_full says when to start the next. */
struct block_writer {
    uint8_t key[BLOCK_KEY_SIZE];
    struct buf value;                   /* owned */
    uint32_t location, device, gateway; /* of the last row */
    uint64_t base_ms;                   /* checkpoint: log time */
    uint64_t origins[32];               /* checkpoint: told in this block */
    size_t origin_count;
};

void block_writer_deinit(struct block_writer *w);

void block_start(struct block_writer *w, const struct cell *first);
void block_add(struct block_writer *w, const struct cell *cell);

void checkpoint_start(struct block_writer *w, uint64_t log_time_ms,
                      const struct slot *first);
void checkpoint_add(struct block_writer *w, const struct slot *slot);

static inline bool block_is_full(const struct block_writer *w)
{
    return w->value.size > BLOCK_SIZE_GOAL;
}

/* Reading. Borrows from key and value. */
struct block_reader {
    struct reader rest;
    bool first;
    uint32_t bucket, location, device, gateway; /* of the last row */
    uint64_t base_ms;
    uint64_t origins[32];
    size_t origin_count;
};

/* 0 or ERR_CORRUPT. */
NODISCARD int block_open(struct block_reader *r, struct bytes key,
                         struct bytes value);
/* 1 and a cell (keys ascend), 0 at the end, ERR_CORRUPT. */
NODISCARD int block_next(struct block_reader *r, struct cell *cell);

NODISCARD int checkpoint_open(struct block_reader *r, struct bytes key,
                              struct bytes value);
/* 1 and a slot without its address, 0 at the end, ERR_CORRUPT. Locations and
 * keys ascend. */
NODISCARD int checkpoint_next(struct block_reader *r, struct slot *slot);

/* The key of the block that begins with this row, for seeking. */
void block_key_put(uint8_t key[BLOCK_KEY_SIZE], uint32_t bucket,
                   uint32_t location, uint32_t device, uint32_t gateway);
