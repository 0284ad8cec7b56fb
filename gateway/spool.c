#include "gateway/spool.h"

#include "base/assert.h"

#include <stdlib.h>

/* The ring keeps pointers; the encoded bytes are one allocation each. */
struct spooled {
    size_t size;
    uint8_t data[];
};

void spool_init(struct spool *s, size_t bytes_max, size_t batches_max)
{
    *s = (struct spool){
        .first = 1, .bytes_max = bytes_max, .batches_max = batches_max};
}

static void drop_front(struct spool *s)
{
    struct spooled *oldest = s->ring[s->front];
    s->size -= oldest->size;
    free(oldest);
    s->front = (s->front + 1) & (s->capacity - 1);
    s->count--;
    s->first++;
}

void spool_clear(struct spool *s, uint64_t next)
{
    while (s->count > 0)
        drop_front(s);
    s->first = next;
}

void spool_deinit(struct spool *s)
{
    spool_clear(s, 1);
    free(s->ring);
    *s = (struct spool){0};
}

uint64_t spool_next_sequence(const struct spool *s)
{
    return s->first + s->count;
}

static int grow(struct spool *s)
{
    size_t capacity = s->capacity == 0 ? 64 : s->capacity * 2;
    struct spooled **ring = malloc(capacity * sizeof(struct spooled *));
    if (ring == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->count; i++)
        ring[i] = s->ring[(s->front + i) & (s->capacity - 1)];
    free(s->ring);
    s->ring = ring;
    s->capacity = capacity;
    s->front = 0;
    return 0;
}

int spool_push(struct spool *s, struct bytes batch)
{
    if (s->count >= s->batches_max || batch.size > s->bytes_max - s->size)
        return ERR_LIMIT;
    if (s->count == s->capacity && grow(s) != 0)
        return ERR_NOMEM;
    struct spooled *item = malloc(sizeof *item + batch.size);
    if (item == NULL)
        return ERR_NOMEM;
    item->size = batch.size;
    memcpy(item->data, batch.data, batch.size);
    s->ring[(s->front + s->count) & (s->capacity - 1)] = item;
    s->count++;
    s->size += batch.size;
    ASSERT(s->size <= s->bytes_max);
    return 0;
}

void spool_acknowledge(struct spool *s, uint64_t sequence)
{
    while (s->count > 0 && s->first <= sequence)
        drop_front(s);
}

bool spool_get(const struct spool *s, uint64_t sequence, struct bytes *batch)
{
    if (sequence < s->first || sequence >= spool_next_sequence(s))
        return false;
    size_t offset = (size_t)(sequence - s->first);
    const struct spooled *item =
        s->ring[(s->front + offset) & (s->capacity - 1)];
    *batch = (struct bytes){item->data, item->size};
    return true;
}
