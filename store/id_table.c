#include "store/id_table.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 64, WORD_BITS = 64 };

void id_table_init(struct id_table *t)
{
    *t = (struct id_table){.next_id = 1};
}

void id_table_deinit(struct id_table *t)
{
    free(t->items);
    free(t->dirty);
    id_table_init(t);
}

static int grow(struct id_table *t, uint32_t id)
{
    uint32_t capacity = t->capacity == 0 ? CAPACITY_MIN : t->capacity;
    while (capacity <= id) {
        if (capacity > UINT32_MAX / 2)
            return ERR_NOMEM;
        capacity *= 2;
    }
    void **items = realloc(t->items, capacity * sizeof *items);
    if (items == NULL)
        return ERR_NOMEM;
    t->items = items;
    size_t words = capacity / WORD_BITS, words_before = t->capacity / WORD_BITS;
    uint64_t *dirty = realloc(t->dirty, words * sizeof *dirty);
    if (dirty == NULL)
        return ERR_NOMEM;
    t->dirty = dirty;
    memset(dirty + words_before, 0, (words - words_before) * sizeof *dirty);
    for (uint32_t i = t->capacity; i < capacity; i++)
        items[i] = NULL;
    t->capacity = capacity;
    return 0;
}

int id_table_insert(struct id_table *t, uint32_t id, void *item)
{
    ASSERT(id != 0 && id <= t->next_id && item != NULL);
    if (id >= t->capacity && grow(t, id) != 0)
        return ERR_NOMEM;
    ASSERT(t->items[id] == NULL);
    t->items[id] = item;
    t->count++;
    if (id == t->next_id)
        t->next_id++;
    return 0;
}

void *id_table_remove(struct id_table *t, uint32_t id)
{
    void *item = id_table_get(t, id);
    if (item != NULL) {
        t->items[id] = NULL;
        t->count--;
    }
    return item;
}

void *id_table_next(const struct id_table *t, uint32_t after)
{
    for (uint64_t id = (uint64_t)after + 1; id < t->capacity; id++) {
        if (t->items[id] != NULL)
            return t->items[id];
    }
    return NULL;
}

void id_table_mark(struct id_table *t, uint32_t id)
{
    ASSERT(id < t->capacity);
    t->dirty[id / WORD_BITS] |= (uint64_t)1 << id % WORD_BITS;
    t->any_dirty = true;
}

uint32_t id_table_next_marked(const struct id_table *t, uint32_t after)
{
    uint64_t id = (uint64_t)after + 1;
    while (t->any_dirty && id < t->capacity) {
        uint64_t word = t->dirty[id / WORD_BITS] >> id % WORD_BITS;
        if (word != 0)
            return (uint32_t)id + (uint32_t)__builtin_ctzll(word);
        id = (id / WORD_BITS + 1) * WORD_BITS;
    }
    return 0;
}

void id_table_unmark_all(struct id_table *t)
{
    if (t->any_dirty)
        memset(t->dirty, 0, t->capacity / WORD_BITS * sizeof *t->dirty);
    t->any_dirty = false;
}
