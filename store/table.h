/* The table of slots: the last sample of every (location, device, gateway), its
 * open minutes and the parts of its open hour and day. Dense and in key order,
 * because a flush walks all of it and random order costs three times as much;
 * new slots go to an unsorted tail until the next flush. A hash index on the
 * side finds both. The slot of GATEWAY_TOTAL (device 0) holds a gateway's open
 * totals and no sample. Written by the applier under the store's lock; read by
 * the applier without it and by anyone with it. */
#pragma once

#include "store/cell.h"
#include "store/counting.h"

enum { PARTIALS = TIERS - 1 }; /* of the hour and the day, in this order */

/* What a gateway last told of a peer, as it is stored in `ep`: the length of
 * the endpoint, the endpoint, the allowed IPs. */
struct slot_address {
    size_t size;
    uint8_t data[]; /* length u8, endpoint, allowed IPs */
};

/* What the closed minutes of the open hour, or day, come to. Which hour that is
 * is the same for all slots: store.partial. */
struct partial {
    uint64_t upload, download;
};

/* The open cell of a minute whose parity is its place. */
struct open_cell {
    uint64_t upload, download;
    uint32_t minute;
    bool used;
};

struct slot {
    uint32_t location, device, gateway;
    bool address_changed; /* not in the file yet; NULL then means: no row */
    bool partial_used[PARTIALS]; /* of the hour, of the day */
    bool gone;          /* a flush took it for expired: the next removes it */
    uint32_t closed_by; /* the flush (its generation) that closed it last */
    uint32_t kept; /* its number + 1 in the job of the flush; 0: not in it */
    struct sample last;   /* from_zero is always false here */
    uint64_t seen_ms;     /* log time when it was last stored: slots expire */
    uint64_t connected_s; /* Unix s since when the peer is connected without a
                             break, 0 = it is not */
    struct open_cell open[2];
    struct partial partial[PARTIALS];
    struct slot_address *address; /* owned; NULL = never told */
};

struct table {
    struct slot *slots; /* owned */
    size_t count, capacity;
    size_t sorted;   /* the first so many are in key order */
    uint32_t *index; /* owned; slot number + 1, 0 = free; load <= 1/2 */
    size_t index_size;
};

struct slot_key {
    uint32_t location, device, gateway;
};

static inline struct slot_key slot_key_of(const struct slot *slot)
{
    return (struct slot_key){slot->location, slot->device, slot->gateway};
}

int slot_key_compare(struct slot_key a, struct slot_key b);

void table_deinit(struct table *t);

/* NULL when not there. Borrowed until the next add, sort or removal. */
struct slot *table_find(const struct table *t, struct slot_key key);

/* A new zeroed slot in the tail; the key is not there yet. NULL: no memory. */
struct slot *table_add(struct table *t, struct slot_key key);

/* Moves the tail to its place. ERR_NOMEM leaves the table as it was. */
NODISCARD int table_sort(struct table *t);

typedef bool slot_predicate(const struct slot *slot, void *arg);

/* Removes what @gone says, keeping the order. The table is sorted. */
void table_remove(struct table *t, slot_predicate *gone, void *arg);

/* Position of the first slot of the sorted part that is not below @key. */
size_t table_lower_bound(const struct table *t, struct slot_key key);

/* Replaces the slot's address, cut at the length limits. ERR_NOMEM. */
NODISCARD int slot_set_address(struct slot *slot, struct bytes endpoint,
                               struct bytes allowed_ips);
/* As it was stored. ERR_CORRUPT if the form is wrong, ERR_NOMEM. */
NODISCARD int slot_load_address(struct slot *slot, struct bytes stored);

struct bytes slot_endpoint(const struct slot *slot);
struct bytes slot_allowed_ips(const struct slot *slot);
