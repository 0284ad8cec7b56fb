/* The table of slots: the last sample of every (location, device, gateway), its
 * open minutes and the parts of its open hour and day. A slot keeps its place;
 * the order of the keys is an array of places, so that to sort a few new slots
 * in moves four bytes for each of the others. New slots go to an unsorted tail
 * of it until the next flush. A hash index on the side finds both. The slot of
 * GATEWAY_TOTAL (device 0) holds a gateway's open totals and no sample. Changed
 * by the applier and by who walks over it for a flush, under the store's lock;
 * read under it, and by the applier without it while no flush is under way. */
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

#define SLOT_WALKED UINT32_MAX

struct slot {
    uint32_t location, device, gateway;
    bool address_changed; /* not in the file yet; NULL then means: no row */
    bool partial_used[PARTIALS]; /* of the hour, of the day */
    bool gone;            /* a flush took it for expired: the next removes it */
    uint32_t closed_by;   /* the flush (its generation) that closed it last */
    uint32_t kept;        /* its number in that flush's job + 1; 0: there is no
                             copy; SLOT_WALKED: none is needed any more */
    struct sample last;   /* from_zero is always false here */
    uint64_t seen_ms;     /* log time when it was last stored: slots expire */
    uint64_t connected_s; /* Unix s since when the peer is connected without a
                             break, 0 = it is not */
    struct open_cell open[2];
    struct partial partial[PARTIALS];
    struct slot_address *address; /* owned; NULL = never told */
};

struct table {
    struct slot *slots; /* owned; by place */
    uint32_t *order;    /* owned; the places of all slots */
    size_t count, capacity;
    size_t sorted;   /* the first so many of @order are in key order */
    uint32_t *index; /* owned; place + 1, 0 = free; load <= 1/2 */
    size_t index_size;
    size_t used;   /* places that have been taken before */
    uint32_t free; /* place + 1 of one of them that is free, whose `kept` is the
                      next; 0: none is */
};

struct slot_key {
    uint32_t location, device, gateway;
};

static inline struct slot_key slot_key_of(const struct slot *slot)
{
    return (struct slot_key){slot->location, slot->device, slot->gateway};
}

/* The @i-th slot of the order. */
static inline struct slot *table_at(const struct table *t, size_t i)
{
    return &t->slots[t->order[i]];
}

int slot_key_compare(struct slot_key a, struct slot_key b);

void table_deinit(struct table *t);

/* NULL when not there. Borrowed until the next add or removal. */
struct slot *table_find(const struct table *t, struct slot_key key);

/* A new zeroed slot in the tail; the key is not there yet. NULL: no memory. */
struct slot *table_add(struct table *t, struct slot_key key);

/* Moves the tail of the order to where it belongs. ERR_NOMEM leaves the table
 * as it was. */
NODISCARD int table_sort(struct table *t);

/* Removes slots that are there, in the order of their keys. The table is
 * sorted. */
void table_remove(struct table *t, const struct slot_key *keys, size_t count);

/* Position of the first slot of the sorted part that is not below @key. */
size_t table_lower_bound(const struct table *t, struct slot_key key);

/* Replaces the slot's address, cut at the length limits. ERR_NOMEM. */
NODISCARD int slot_set_address(struct slot *slot, struct bytes endpoint,
                               struct bytes allowed_ips);
/* As it was stored. ERR_CORRUPT if the form is wrong, ERR_NOMEM. */
NODISCARD int slot_load_address(struct slot *slot, struct bytes stored);

struct bytes slot_endpoint(const struct slot *slot);
struct bytes slot_allowed_ips(const struct slot *slot);
