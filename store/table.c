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
        free(t->slots[i].address);
    free(t->slots);
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
        t->index[index_place(t, slot_key_of(&t->slots[i]))] = (uint32_t)i + 1;
}

static int grow(struct table *t)
{
    size_t capacity = t->capacity == 0 ? SLOTS_FIRST : t->capacity * 2;
    struct slot *slots = realloc(t->slots, capacity * sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    t->slots = slots;
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

struct slot *table_add(struct table *t, struct slot_key key)
{
    if (t->count == t->capacity && grow(t) != 0)
        return NULL;
    size_t at = index_place(t, key);
    ASSERT(t->index[at] == 0);
    /* A load in key order, as at start, leaves no tail. */
    if (t->sorted == t->count &&
        (t->count == 0 ||
         slot_key_compare(slot_key_of(&t->slots[t->count - 1]), key) < 0))
        t->sorted++;
    struct slot *slot = &t->slots[t->count++];
    *slot = (struct slot){
        .location = key.location, .device = key.device, .gateway = key.gateway};
    t->index[at] = (uint32_t)t->count;
    return slot;
}

static int compare_slots(const void *a, const void *b)
{
    return slot_key_compare(slot_key_of(a), slot_key_of(b));
}

int table_sort(struct table *t)
{
    size_t tail_count = t->count - t->sorted;
    if (tail_count == 0)
        return 0;
    struct slot *tail = malloc(tail_count * sizeof *tail);
    if (tail == NULL)
        return ERR_NOMEM;
    memcpy(tail, t->slots + t->sorted, tail_count * sizeof *tail);
    qsort(tail, tail_count, sizeof *tail, compare_slots);
    /* Merge from the back: what is in place already is moved once at most. */
    size_t i = t->sorted, j = tail_count;
    while (j > 0) {
        if (i > 0 && compare_slots(&t->slots[i - 1], &tail[j - 1]) > 0) {
            t->slots[i + j - 1] = t->slots[i - 1];
            i--;
        } else {
            t->slots[i + j - 1] = tail[j - 1];
            j--;
        }
    }
    free(tail);
    t->sorted = t->count;
    index_fill(t);
    return 0;
}

void table_remove(struct table *t, slot_predicate *gone, void *arg)
{
    ASSERT(t->sorted == t->count);
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (gone(&t->slots[i], arg))
            free(t->slots[i].address);
        else
            t->slots[kept++] = t->slots[i];
    }
    if (kept == t->count)
        return;
    t->count = t->sorted = kept;
    index_fill(t);
}

size_t table_lower_bound(const struct table *t, struct slot_key key)
{
    size_t low = 0, high = t->sorted;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slot_key_compare(slot_key_of(&t->slots[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
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
