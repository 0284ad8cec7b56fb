/* What the table knows of peers. query_presence: the keys of the slots in one
 * hold of the lock, then the slots by their keys in slices, so that the applier
 * never waits for long and the caller's function runs without the lock.
 * query_active: only those with a recent handshake. */
#include "store/query.h"

#include "store/state.h"

#include <stdlib.h>

enum { SLICE = 512 };

struct keys {
    struct slot_key *items; /* owned */
    size_t count;
};

/* GATEWAY_TOTAL is no device. */
static bool is_asked(const struct store *s, const struct slot *slot,
                     uint32_t location)
{
    return slot->device != GATEWAY_TOTAL &&
           (location == 0 || slot->location == location) &&
           !slot_is_expired(slot, s->log_time_ms);
}

static int copy_keys(struct store *s, uint32_t location, struct keys *keys)
{
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    const struct table *t = &s->table;
    size_t first = table_lower_bound(t, (struct slot_key){location, 0, 0});
    keys->items = calloc(t->count - first + 1, sizeof *keys->items);
    if (keys->items == NULL)
        rc = ERR_NOMEM;
    for (size_t i = first; i < t->count && rc == 0; i++) {
        const struct slot *slot = table_at(t, i);
        if (is_asked(s, slot, location))
            keys->items[keys->count++] = slot_key_of(slot);
        else if (i < t->sorted && location != 0 && slot->location > location)
            i = t->sorted - 1; /* go on with the tail */
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int compare_keys(const void *a, const void *b)
{
    const struct slot_key *x = a, *y = b;
    return slot_key_compare(*x, *y);
}

static void copy_text(char *out, size_t size, struct bytes text)
{
    size_t length = text.size < size ? text.size : size - 1;
    if (length > 0)
        memcpy(out, text.data, length);
    out[length] = '\0';
}

static void copy_slot(struct presence *out, const struct slot *slot)
{
    *out = (struct presence){.location = slot->location,
                             .device = slot->device,
                             .gateway = slot->gateway,
                             .handshake_s = slot->last.handshake_s,
                             .connected_s = slot->connected_s,
                             .sampled_ms = slot->last.time_ms,
                             .upload = slot->last.upload,
                             .download = slot->last.download};
    copy_text(out->endpoint, sizeof out->endpoint, slot_endpoint(slot));
    copy_text(out->allowed_ips, sizeof out->allowed_ips,
              slot_allowed_ips(slot));
}

static size_t copy_slice(struct store *s, const struct slot_key *keys,
                         size_t count, struct presence *out)
{
    size_t copied = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        const struct slot *slot = table_find(&s->table, keys[i]);
        if (slot != NULL) /* or it expired meanwhile */
            copy_slot(&out[copied++], slot);
    }
    pthread_mutex_unlock(&s->lock);
    return copied;
}

int query_presence(struct store *s, uint32_t location, presence_fn *fn,
                   void *arg)
{
    struct keys keys = {0};
    struct presence *slice = calloc(SLICE, sizeof *slice);
    int rc = slice == NULL ? ERR_NOMEM : copy_keys(s, location, &keys);
    if (rc == 0)
        qsort(keys.items, keys.count, sizeof *keys.items, compare_keys);
    for (size_t i = 0; rc == 0 && i < keys.count; i += SLICE) {
        size_t count = keys.count - i < SLICE ? keys.count - i : SLICE;
        count = copy_slice(s, keys.items + i, count, slice);
        for (size_t j = 0; j < count; j++)
            fn(arg, &slice[j]);
    }
    free(keys.items);
    free(slice);
    return rc;
}

/* --- who is there now -------------------------------------------------------
 */

struct active_list {
    struct active_peer *items; /* owned */
    size_t count, capacity;
};

static int push_active(struct active_list *l, const struct slot *slot)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity == 0 ? 64 : 2 * l->capacity;
        struct active_peer *items = realloc(l->items, capacity * sizeof *items);
        if (items == NULL)
            return ERR_NOMEM;
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count++] =
        (struct active_peer){.location = slot->location,
                             .device = slot->device,
                             .gateway = slot->gateway,
                             .handshake_s = slot->last.handshake_s,
                             .connected_s = slot->connected_s};
    return 0;
}

int query_active(struct store *s, uint32_t location, uint64_t since_s,
                 struct active_peer **out, size_t *count)
{
    struct active_list l = {0};
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    const struct table *t = &s->table;
    size_t i = table_lower_bound(t, (struct slot_key){location, 0, 0});
    for (; i < t->count && rc == 0; i++) {
        const struct slot *slot = table_at(t, i);
        if (i < t->sorted && location != 0 && slot->location > location)
            i = t->sorted - 1; /* go on with the tail */
        else if (slot->last.handshake_s >= since_s &&
                 is_asked(s, slot, location))
            rc = push_active(&l, slot);
    }
    pthread_mutex_unlock(&s->lock);
    if (rc != 0) {
        free(l.items);
        return rc;
    }
    *out = l.items;
    *count = l.count;
    return 0;
}

int query_peer(struct store *s, const struct active_peer *peer,
               struct presence *out)
{
    struct slot_key key = {peer->location, peer->device, peer->gateway};
    return copy_slice(s, &key, 1, out) == 1 ? 0 : ERR_NOTFOUND;
}
