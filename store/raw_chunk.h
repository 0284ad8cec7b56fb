/* Raw reports at rest: some neighbouring log entries, compressed together, so
 * that neither page borders nor the head of an entry cost much. Key and value
 * to the last byte: docs/format.md, "Raw reports". Pure codecs; what comes from
 * the file is checked as if a stranger had sent it. No thread. */
#pragma once

#include "store/entry.h"

enum {
    RAW_CHUNK_FORMAT = 1,
    RAW_KEY_SIZE = 25,
    RAW_HEAD_SIZE = 40, /* of a value; a zstd frame follows */
    RAW_CHUNK_GOAL =
        512 * 1024, /* of entries: one that is larger takes no more */
    RAW_CHUNK_SIZE_MAX = RAW_CHUNK_GOAL + ENTRY_SIZE_MAX + 2 * VARINT_SIZE_MAX,
    RAW_LEVEL = 1, /* of zstd: higher ones gain a few per cent and cost twice */
};

/* What the key tells: enough to find a chunk and to see a gap without a look at
 * the value. */
struct raw_key {
    uint64_t first; /* log index of the first entry */
    uint64_t after; /* of the command before it in the log; 0: there is none */
    uint64_t first_ms; /* log time of the first entry */
    bool cut; /* the chunk before it ends earlier: entries are missing */
};

void raw_key_put(uint8_t out[RAW_KEY_SIZE], const struct raw_key *key);
/* ERR_CORRUPT. */
NODISCARD int raw_key_get(struct bytes in, struct raw_key *key);

/* Entries gathered. Zero-initialise; raw_chunk_add begins it. */
struct raw_chunk {
    struct raw_key key;
    uint64_t last, last_ms; /* of the last entry */
    uint32_t count;
    struct buf entries; /* owned: varint step of the index, bytes entry; ... */
};

void raw_chunk_deinit(struct raw_chunk *c);

/* The index rises. Check buf_failed(&c->entries). */
void raw_chunk_add(struct raw_chunk *c, uint64_t index, uint64_t log_time_ms,
                   struct bytes entry);

static inline bool raw_chunk_is_full(const struct raw_chunk *c)
{
    return c->entries.size >= RAW_CHUNK_GOAL;
}

struct raw_packer; /* what zstd wants to keep between two chunks */
NODISCARD int raw_packer_create(struct raw_packer **out);
void raw_packer_destroy(struct raw_packer *p);

/* The value of @c into @out, which is emptied before. ERR_NOMEM. */
NODISCARD int raw_chunk_pack(struct raw_packer *p, const struct raw_chunk *c,
                             struct buf *out);

/* The head alone: all but the entries. ERR_CORRUPT, ERR_NEWER. */
NODISCARD int raw_chunk_peek(const struct raw_key *key, struct bytes value,
                             struct raw_chunk *out);
/* All of it; @out is the caller's to deinit in any case. ERR_CORRUPT,
 * ERR_NEWER, ERR_NOMEM. */
NODISCARD int raw_chunk_unpack(const struct raw_key *key, struct bytes value,
                               struct raw_chunk *out);

/* Walking the entries of a chunk. */
struct raw_reader {
    struct reader rest;
    uint64_t index, last;
    uint32_t left;
    bool begun; /* behind the first entry, the only one without a step */
};

struct raw_reader raw_reader_of(const struct raw_chunk *c);
/* 1 and an entry, borrowed from the chunk, its index above the one before, 0 at
 * the end, ERR_CORRUPT. */
NODISCARD int raw_reader_next(struct raw_reader *r, uint64_t *index,
                              struct bytes *entry);
