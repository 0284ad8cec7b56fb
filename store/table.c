#include "store/table.h"

#include "base/assert.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 256 };

static int compare_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int slot_key_compare(struct slot_key a, struct slot_key b)
{
    if (a.location != b.location)
        return compare_u32(a.location, b.location);
    if (a.device != b.device)
        return compare_u32(a.device, b.device);
    return compare_u32(a.gateway, b.gateway);
}

static uint64_t hash_key(struct slot_key key)
{
    uint64_t h = (uint64_t)key.device << 32 | key.gateway;
    h ^= (uint64_t)key.location * 0x9e3779b97f4a7c15u;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 32;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 29;
}

void table_deinit(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(table_at(t, i)->address);
    free(t->slots);
    free(t->order);
    free(t->index);
    *t = (struct table){0};
}

/* The place of @key in the index, or the free place where it belongs. */
static size_t index_place(const struct table *t, struct slot_key key)
{
    size_t mask = t->index_size - 1;
    size_t at = hash_key(key) & mask;
    while (t->index[at] != 0 &&
           slot_key_compare(slot_key_of(&t->slots[t->index[at] - 1]), key) != 0)
        at = (at + 1) & mask;
    return at;
}

static void index_fill(struct table *t)
{
    memset(t->index, 0, t->index_size * sizeof *t->index);
    for (size_t i = 0; i < t->count; i++)
        t->index[index_place(t, slot_key_of(table_at(t, i)))] = t->order[i] + 1;
}

static int grow(struct table *t)
{
    size_t capacity = t->capacity == 0 ? SLOTS_FIRST : t->capacity * 2;
    struct slot *slots = realloc(t->slots, capacity * sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    t->slots = slots;
    uint32_t *order = realloc(t->order, capacity * sizeof *order);
    if (order == NULL)
        return ERR_NOMEM;
    t->order = order;
    uint32_t *index = malloc(capacity * 2 * sizeof *index);
    if (index == NULL)
        return ERR_NOMEM;
    free(t->index);
    t->index = index;
    t->index_size = capacity * 2;
    t->capacity = capacity;
    index_fill(t);
    return 0;
}

struct slot *table_find(const struct table *t, struct slot_key key)
{
    if (t->count == 0)
        return NULL;
    uint32_t number = t->index[index_place(t, key)];
    return number == 0 ? NULL : &t->slots[number - 1];
}

static uint32_t take_place(struct table *t)
{
    if (t->free == 0)
        return (uint32_t)t->used++;
    uint32_t place = t->free - 1;
    t->free = t->slots[place].kept;
    return place;
}

struct slot *table_add(struct table *t, struct slot_key key)
{
    if (t->count == t->capacity && grow(t) != 0)
        return NULL;
    size_t at = index_place(t, key);
    ASSERT(t->index[at] == 0);
    /* A load in key order, as at start, leaves no tail. */
    if (t->sorted == t->count &&
        (t->count == 0 ||
         slot_key_compare(slot_key_of(table_at(t, t->count - 1)), key) < 0))
        t->sorted++;
    t->order[t->count] = take_place(t);
    struct slot *slot = table_at(t, t->count++);
    *slot = (struct slot){
        .location = key.location, .device = key.device, .gateway = key.gateway};
    t->index[at] = t->order[t->count - 1] + 1;
    return slot;
}

/* The first of order[from..end) that is not below @key; these are sorted. */
static size_t lower_bound(const struct table *t, size_t from, size_t end,
                          struct slot_key key)
{
    while (from < end) {
        size_t middle = from + (end - from) / 2;
        if (slot_key_compare(slot_key_of(table_at(t, middle)), key) < 0)
            from = middle + 1;
        else
            end = middle;
    }
    return from;
}

size_t table_lower_bound(const struct table *t, struct slot_key key)
{
    return lower_bound(t, 0, t->sorted, key);
}

static void move_order(struct table *t, size_t to, size_t from, size_t count)
{
    memmove(t->order + to, t->order + from, count * sizeof *t->order);
}

struct newcomer {
    struct slot_key key;
    uint32_t place;
};

static int compare_newcomers(const void *a, const void *b)
{
    const struct newcomer *x = a, *y = b;
    return slot_key_compare(x->key, y->key);
}

int table_sort(struct table *t)
{
    size_t tail_count = t->count - t->sorted;
    if (tail_count == 0)
        return 0;
    struct newcomer *tail = malloc(tail_count * sizeof *tail);
    if (tail == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < tail_count; i++)
        tail[i] = (struct newcomer){slot_key_of(table_at(t, t->sorted + i)),
                                    t->order[t->sorted + i]};
    qsort(tail, tail_count, sizeof *tail, compare_newcomers);
    /* From the back: what is in order already is moved once at most. */
    size_t end = t->sorted;
    for (size_t i = tail_count; i > 0; i--) {
        size_t at = lower_bound(t, 0, end, tail[i - 1].key);
        move_order(t, at + i, at, end - at);
        t->order[at + i - 1] = tail[i - 1].place;
        end = at;
    }
    free(tail);
    t->sorted = t->count;
    return 0;
}

/* Frees a place of the index. What follows it was perhaps put there because it
 * was taken, and moves up. */
static void index_remove(struct table *t, size_t hole)
{
    size_t mask = t->index_size - 1;
    for (size_t at = (hole + 1) & mask; t->index[at] != 0;
         at = (at + 1) & mask) {
        struct slot_key key = slot_key_of(&t->slots[t->index[at] - 1]);
        size_t home = hash_key(key) & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        t->index[hole] = t->index[at];
        hole = at;
    }
    t->index[hole] = 0;
}

static void free_place(struct table *t, uint32_t place)
{
    struct slot *slot = &t->slots[place];
    index_remove(t, index_place(t, slot_key_of(slot)));
    free(slot->address);
    *slot = (struct slot){.kept = t->free};
    t->free = place + 1;
}

void table_remove(struct table *t, const struct slot_key *keys, size_t count)
{
    ASSERT(t->sorted == t->count);
    if (count == 0)
        return;
    size_t kept = 0, next = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = lower_bound(t, next, t->count, keys[i]);
        ASSERT(at < t->count &&
               slot_key_compare(slot_key_of(table_at(t, at)), keys[i]) == 0);
        free_place(t, t->order[at]);
        move_order(t, kept, next, at - next);
        kept += at - next;
        next = at + 1;
    }
    move_order(t, kept, next, t->count - next);
    t->count = t->sorted = kept + t->count - next;
}

static int put_address(struct slot *slot, struct bytes endpoint,
                       struct bytes allowed_ips)
{
    size_t size = 1 + endpoint.size + allowed_ips.size;
    struct slot_address *address = malloc(sizeof *address + size);
    if (address == NULL)
        return ERR_NOMEM;
    address->size = size;
    address->data[0] = (uint8_t)endpoint.size;
    if (endpoint.size > 0)
        memcpy(address->data + 1, endpoint.data, endpoint.size);
    if (allowed_ips.size > 0)
        memcpy(address->data + 1 + endpoint.size, allowed_ips.data,
               allowed_ips.size);
    free(slot->address);
    slot->address = address;
    return 0;
}

int slot_set_address(struct slot *slot, struct bytes endpoint,
                     struct bytes allowed_ips)
{
    if (endpoint.size > ENDPOINT_LENGTH_MAX)
        endpoint.size = ENDPOINT_LENGTH_MAX;
    if (allowed_ips.size > ALLOWED_IPS_LENGTH_MAX)
        allowed_ips.size = ALLOWED_IPS_LENGTH_MAX;
    if (slot->address != NULL && bytes_equal(slot_endpoint(slot), endpoint) &&
        bytes_equal(slot_allowed_ips(slot), allowed_ips))
        return 0;
    if (put_address(slot, endpoint, allowed_ips) != 0)
        return ERR_NOMEM;
    slot->address_changed = true;
    return 0;
}

int slot_load_address(struct slot *slot, struct bytes stored)
{
    struct reader r = reader_of(stored);
    struct bytes endpoint = reader_take(&r, reader_u8(&r));
    struct bytes allowed_ips = {r.data, r.size};
    if (r.failed || endpoint.size > ENDPOINT_LENGTH_MAX ||
        allowed_ips.size > ALLOWED_IPS_LENGTH_MAX)
        return ERR_CORRUPT;
    return put_address(slot, endpoint, allowed_ips);
}

struct bytes slot_endpoint(const struct slot *slot)
{
    if (slot->address == NULL)
        return (struct bytes){NULL, 0};
    return (struct bytes){slot->address->data + 1, slot->address->data[0]};
}

struct bytes slot_allowed_ips(const struct slot *slot)
{
    if (slot->address == NULL)
        return (struct bytes){NULL, 0};
    size_t skip = 1 + (size_t)slot->address->data[0];
    return (struct bytes){slot->address->data + skip,
                          slot->address->size - skip};
}
