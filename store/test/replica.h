/* One store in a directory of its own, as the tests of the store drive it:
 * entries are written from model steps, the directory is removed at the end.
 * Every check aborts the running cmocka case. */
#pragma once

#include "store/store.h"
#include "store/test/model.h"

struct replica {
    char path[64];
    struct store *store;
    struct apply_result result; /* of the last apply */
    bool flushing;              /* begun and not ended */
};

void replica_init(struct replica *r);   /* makes the directory, opens */
void replica_deinit(struct replica *r); /* closes, removes */
void replica_open(struct replica *r);
void replica_crash(struct replica *r); /* closes without a flush */
void replica_flush(struct replica *r);
/* Ends the one before first; so does an apply of a digest. */
void replica_begin_flush(struct replica *r);
/* Over so many slots, of the flush that was begun, if one was. */
void replica_walk(struct replica *r, size_t slots);
void replica_end_flush(struct replica *r); /* if one was begun */
void replica_apply(struct replica *r, uint64_t index, struct bytes entry);

/* The step as a log entry; the caller frees. */
void step_encode(const struct model_step *step, struct buf *out);

/* The 32 bytes of a device key with this number. */
void key_bytes(unsigned key, uint8_t out[PUBLIC_KEY_SIZE]);

/* Removes a test's directory with its two files. */
void remove_directory(const char *path);
