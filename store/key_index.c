#include "store/key_index.h"

#include "base/assert.h"

#include <stdlib.h>
#include <sys/random.h>

enum { CAPACITY_MIN = 64 };

void key_index_init(struct key_index *ix)
{
    *ix = (struct key_index){0};
    if (getrandom(&ix->seed, sizeof ix->seed, GRND_NONBLOCK) < 0)
        ix->seed = (uint64_t)(uintptr_t)ix; /* early boot: better than none */
}

void key_index_deinit(struct key_index *ix)
{
    free(ix->slots);
    *ix = (struct key_index){0};
}

/* The upper half is stored and gives the place, so that growing and removing
 * need no key. */
static uint32_t short_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

uint32_t key_index_find(const struct key_index *ix, uint64_t hash,
                        key_same_fn *same, const void *arg)
{
    if (ix->count == 0)
        return 0;
    uint32_t h = short_hash(hash);
    size_t mask = ix->capacity - 1;
    for (size_t i = h & mask; ix->slots[i].id != 0; i = (i + 1) & mask) {
        if (ix->slots[i].hash == h && same(arg, ix->slots[i].id))
            return ix->slots[i].id;
    }
    return 0;
}

static void place(struct key_slot *slots, size_t mask, struct key_slot slot)
{
    size_t i = slot.hash & mask;
    while (slots[i].id != 0)
        i = (i + 1) & mask;
    slots[i] = slot;
}

static int grow(struct key_index *ix)
{
    size_t capacity = ix->capacity == 0 ? CAPACITY_MIN : ix->capacity * 2;
    struct key_slot *slots = calloc(capacity, sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < ix->capacity; i++) {
        if (ix->slots[i].id != 0)
            place(slots, capacity - 1, ix->slots[i]);
    }
    free(ix->slots);
    ix->slots = slots;
    ix->capacity = capacity;
    return 0;
}

int key_index_insert(struct key_index *ix, uint64_t hash, uint32_t id)
{
    /* At most two thirds full: a miss then probes five slots on average. */
    if (ix->count + 1 > ix->capacity / 3 * 2 && grow(ix) != 0)
        return ERR_NOMEM;
    place(ix->slots, ix->capacity - 1,
          (struct key_slot){.id = id, .hash = short_hash(hash)});
    ix->count++;
    return 0;
}

void key_index_remove(struct key_index *ix, uint64_t hash, uint32_t id)
{
    ASSERT(ix->count > 0);
    size_t mask = ix->capacity - 1;
    uint32_t h = short_hash(hash);
    size_t hole = h & mask;
    while (ix->slots[hole].id != id || ix->slots[hole].hash != h) {
        ASSERT(ix->slots[hole].id != 0);
        hole = (hole + 1) & mask;
    }
    /* Close the gap: what may move back does, so that no probe ends early. */
    for (size_t i = (hole + 1) & mask; ix->slots[i].id != 0;
         i = (i + 1) & mask) {
        size_t home = ix->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            ix->slots[hole] = ix->slots[i];
            hole = i;
        }
    }
    ix->slots[hole] = (struct key_slot){0};
    ix->count--;
}
