/* Finds the id of an object by a hash of what names it: open addressing with
 * linear probing, eight bytes an id. The caller hashes (with ->seed: names are
 * chosen by strangers) and compares; nothing here is iterated, so that no state
 * depends on the order of hashes. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key_slot {
    uint32_t id; /* 0: free */
    uint32_t hash;
};

struct key_index {
    struct key_slot *slots; /* owned */
    size_t capacity;        /* a power of two, or 0 */
    size_t count;
    uint64_t seed; /* of this process: differs between nodes */
};

/* Zero-initialised it works too, with a seed that everybody knows. */
void key_index_init(struct key_index *ix);
void key_index_deinit(struct key_index *ix);

/* Is the object @id the one that @arg describes? */
typedef bool key_same_fn(const void *arg, uint32_t id);

/* 0 when there is none. */
uint32_t key_index_find(const struct key_index *ix, uint64_t hash,
                        key_same_fn *same, const void *arg);
/* @id must not be there under this hash. ERR_NOMEM. */
NODISCARD int key_index_insert(struct key_index *ix, uint64_t hash,
                               uint32_t id);
/* @id must be there. */
void key_index_remove(struct key_index *ix, uint64_t hash, uint32_t id);
