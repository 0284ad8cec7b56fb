/* What travels on the bulk channel after the hello: a request of the one who
 * fetches, answers of the one who has, and the copy of the store in chunks.
 * docs/format.md, "Bulk channel". Pure codec, no thread. */
#pragma once

#include "base/bytes.h"
#include "raft/seed.h"

enum {
    BULK_FORMAT = 1,
    BULK_REQUEST_SIZE = 32,
    BULK_ANSWER_SIZE_MAX = 8 * 1024,
    BULK_CHUNK_HEADER_SIZE = 12,
    BULK_CHUNK_SIZE_MAX = 256 * 1024,
    BULK_HASH_SIZE = 16,
    BULK_TEXT_LENGTH_MAX = 255,
};

struct bulk_request {
    uint64_t copy_id; /* of the copy that was begun; 0: none */
    uint64_t offset;  /* of its bytes that are there */
    uint64_t index;   /* a copy that goes on before it is of no use */
};

enum bulk_answer_kind {
    BULK_COPY = 1, /* it follows in chunks, from @offset on */
    BULK_WAIT,     /* it is being made: another answer comes */
    BULK_REFUSED,  /* not now, or not from here: @text says why */
};

struct bulk_answer {
    enum bulk_answer_kind kind;
    char text[BULK_TEXT_LENGTH_MAX + 1];
    /* BULK_COPY */
    uint64_t copy_id;
    uint64_t bytes, offset;
    uint8_t hash[BULK_HASH_SIZE]; /* XXH3-128 of the whole file */
    struct seed seed; /* applied_index and voted_for are the receiver's */
};

void bulk_request_encode(const struct bulk_request *request,
                         uint8_t out[BULK_REQUEST_SIZE]);
/* ERR_CORRUPT, ERR_NEWER. */
NODISCARD int bulk_request_decode(const uint8_t in[BULK_REQUEST_SIZE],
                                  struct bulk_request *out);

/* With the four bytes of its size in front; buf_failed(out) afterwards. */
void bulk_answer_encode(const struct bulk_answer *answer, struct buf *out);
/* @in: what follows the size. ERR_CORRUPT, ERR_NEWER. */
NODISCARD int bulk_answer_decode(struct bytes in, struct bulk_answer *out);

void bulk_chunk_encode(struct bytes data, uint8_t out[BULK_CHUNK_HEADER_SIZE]);
/* The size, or ERR_CORRUPT. */
NODISCARD int bulk_chunk_size(const uint8_t header[BULK_CHUNK_HEADER_SIZE]);
bool bulk_chunk_is_good(const uint8_t header[BULK_CHUNK_HEADER_SIZE],
                        struct bytes data);
