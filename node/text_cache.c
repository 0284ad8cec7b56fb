#include "node/text_cache.h"

#include <stdlib.h>

enum { CAPACITY_FIRST = 64 };

void text_cache_deinit(struct text_cache *c)
{
    free(c->slots);
    *c = (struct text_cache){0};
}

/* The slot of @key, or the free one where it belongs. */
static struct text_cache_slot *slot_of(const struct text_cache *c, uint64_t key)
{
    size_t at = (size_t)key & (c->capacity - 1);
    while (c->slots[at].key != 0 && c->slots[at].key != key)
        at = (at + 1) & (c->capacity - 1);
    return &c->slots[at];
}

/* Keeps a quarter free, so that probes stay short and end. */
static bool make_room(struct text_cache *c)
{
    if (c->capacity != 0 && c->count < c->capacity / 4 * 3)
        return true;
    struct text_cache old = *c;
    c->capacity = old.capacity == 0 ? CAPACITY_FIRST : old.capacity * 2;
    c->slots = calloc(c->capacity, sizeof *c->slots);
    if (c->slots == NULL) {
        *c = old;
        return false;
    }
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key != 0)
            *slot_of(c, old.slots[i].key) = old.slots[i];
    free(old.slots);
    return true;
}

bool text_cache_changed(struct text_cache *c, uint64_t key, uint64_t text)
{
    key += key == 0;
    if (c->count >= TEXT_CACHE_PEERS_MAX)
        text_cache_deinit(c);
    if (!make_room(c))
        return true;
    struct text_cache_slot *slot = slot_of(c, key);
    if (slot->key == key && slot->text == text)
        return false;
    c->count += slot->key == 0;
    *slot = (struct text_cache_slot){key, text};
    return true;
}
