/* Which locations a device is attached to and with which addresses, and the
 * devices that unknown keys make. Applier thread, under the write lock but
 * where it only looks. */
#include "store/address.h"
#include "store/roster_state.h"

#include "base/assert.h"

#include <stdlib.h>

bool device_wants(const struct device *d, uint32_t location)
{
    return d->kind != DEVICE_UNCLAIMED &&
           (d->location == 0 || d->location == location);
}

/* What apply let in parses. */
static void location_subnets(const struct location *l, struct subnets *out)
{
    int rc = subnets_parse(l->address, out);
    ASSERT(rc == 0);
}

/* The place of @location in the sorted attachments. */
static size_t attachment_place(const struct device *d, uint32_t location)
{
    size_t low = 0, high = d->attachment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->attachments[middle].location < location)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct attachment *device_attachment(const struct device *d,
                                           uint32_t location)
{
    size_t i = attachment_place(d, location);
    return i < d->attachment_count && d->attachments[i].location == location
               ? &d->attachments[i]
               : NULL;
}

static struct attachment *attachment_of(struct device *d, uint32_t location)
{
    const struct attachment *a = device_attachment(d, location);
    return a == NULL ? NULL : &d->attachments[a - d->attachments];
}

static int compare_hosts(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The smallest host number that no device has: once all were used. There is
 * one. ERR_NOMEM. */
static int reuse_host(const struct roster *r, const struct location *l,
                      const struct subnets *subnets, uint32_t *host)
{
    uint32_t *used = calloc((size_t)r->devices.count + 1, sizeof *used);
    if (used == NULL)
        return ERR_NOMEM;
    size_t count = 0, i = 0;
    for (const struct device *d = roster_next_device(r, 0); d != NULL;
         d = roster_next_device(r, d->id)) {
        const struct attachment *a = device_attachment(d, l->id);
        if (a != NULL)
            used[count++] = subnets_host_of(subnets, a->addresses);
    }
    qsort(used, count, sizeof *used, compare_hosts);
    uint32_t next = 1;
    bool there;
    while ((there = subnets_allot(subnets, &next, host))) {
        while (i < count && used[i] < *host)
            i++;
        if (i == count || used[i] != *host)
            break;
    }
    free(used);
    ASSERT(there); /* the caller made sure of room */
    return 0;
}

/* The next free addresses of the location, allocated; NULL without memory. */
static char *allot_addresses(const struct roster *r, struct location *l,
                             const struct subnets *subnets)
{
    if (subnets->count == 0)
        return text_copy((struct bytes){0});
    uint32_t host = 0;
    if (!subnets_allot(subnets, &l->next_host, &host) &&
        reuse_host(r, l, subnets, &host) != 0)
        return NULL;
    struct buf text = {0};
    subnets_put_addresses(subnets, host, &text);
    char *copy = buf_failed(&text) ? NULL : text_copy(buf_bytes(&text));
    buf_deinit(&text);
    return copy;
}

static int attach(struct roster *r, struct device *d, struct location *l,
                  const struct subnets *subnets)
{
    struct attachment *grown = realloc(
        d->attachments, (d->attachment_count + 1) * sizeof *d->attachments);
    if (grown == NULL)
        return ERR_NOMEM;
    d->attachments = grown;
    char *addresses = allot_addresses(r, l, subnets);
    if (addresses == NULL)
        return ERR_NOMEM;
    size_t i = attachment_place(d, l->id);
    memmove(&grown[i + 1], &grown[i],
            (d->attachment_count - i) * sizeof *grown);
    grown[i] = (struct attachment){l->id, addresses};
    d->attachment_count++;
    id_table_mark(&r->devices, d->id);
    id_table_mark(&r->locations, l->id); /* next_host */
    return 0;
}

static void detach(struct roster *r, struct device *d, struct attachment *a)
{
    size_t i = (size_t)(a - d->attachments);
    free(a->addresses);
    d->attachment_count--;
    memmove(a, a + 1, (d->attachment_count - i) * sizeof *a);
    id_table_mark(&r->devices, d->id);
}

int roster_attach_all(struct roster *r, struct location *l)
{
    struct subnets subnets;
    location_subnets(l, &subnets);
    for (struct device *d = id_table_next(&r->devices, 0); d != NULL;
         d = id_table_next(&r->devices, d->id)) {
        if (device_wants(d, l->id) && attach(r, d, l, &subnets) != 0)
            return ERR_NOMEM;
    }
    return 0;
}

int roster_readdress_all(struct roster *r, struct location *l)
{
    struct subnets subnets;
    location_subnets(l, &subnets);
    for (struct device *d = id_table_next(&r->devices, 0); d != NULL;
         d = id_table_next(&r->devices, d->id)) {
        struct attachment *a = attachment_of(d, l->id);
        if (a == NULL)
            continue;
        char *addresses = allot_addresses(r, l, &subnets);
        if (addresses == NULL)
            return ERR_NOMEM;
        free(a->addresses);
        a->addresses = addresses;
        id_table_mark(&r->devices, d->id);
    }
    return 0;
}

void roster_detach_all(struct roster *r, uint32_t location)
{
    for (struct device *d = id_table_next(&r->devices, 0); d != NULL;
         d = id_table_next(&r->devices, d->id)) {
        struct attachment *a = attachment_of(d, location);
        if (a != NULL)
            detach(r, d, a);
    }
}

static uint64_t count_attached(const struct roster *r, uint32_t location)
{
    uint64_t count = 0;
    for (const struct device *d = roster_next_device(r, 0); d != NULL;
         d = roster_next_device(r, d->id))
        count += device_attachment(d, location) != NULL;
    return count;
}

bool roster_has_room_for(struct roster *r, const struct device *d)
{
    for (struct location *l = id_table_next(&r->locations, 0); l != NULL;
         l = id_table_next(&r->locations, l->id)) {
        if (!device_wants(d, l->id) || device_attachment(d, l->id) != NULL)
            continue;
        struct subnets subnets;
        location_subnets(l, &subnets);
        if (subnets_room(&subnets, l->next_host) == 0 &&
            count_attached(r, l->id) >= subnets_room(&subnets, 1))
            return false;
    }
    return true;
}

int roster_attach_device(struct roster *r, struct device *d, bool *lost)
{
    *lost = false;
    for (size_t i = d->attachment_count; i > 0; i--) {
        if (!device_wants(d, d->attachments[i - 1].location)) {
            detach(r, d, &d->attachments[i - 1]);
            *lost = true;
        }
    }
    for (struct location *l = id_table_next(&r->locations, 0); l != NULL;
         l = id_table_next(&r->locations, l->id)) {
        if (!device_wants(d, l->id) || attachment_of(d, l->id) != NULL)
            continue;
        struct subnets subnets;
        location_subnets(l, &subnets);
        if (attach(r, d, l, &subnets) != 0)
            return ERR_NOMEM;
    }
    return 0;
}

int roster_claim_key(struct roster *r, uint32_t location,
                     const uint8_t key[PUBLIC_KEY_SIZE], uint64_t index,
                     uint64_t log_time_ms, uint32_t *device)
{
    (void)index; /* no change that a gateway must hear of */
    const struct location *l = roster_location(r, location);
    *device = roster_device_by_key(r, key);
    if (*device != 0 || l == NULL || !l->accept_unknown_peers ||
        l->unclaimed >= UNCLAIMED_PER_LOCATION_MAX ||
        r->devices.count >= DEVICES_MAX || r->devices.next_id == UINT32_MAX)
        return 0;
    struct device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return ERR_NOMEM;
    d->id = r->devices.next_id;
    d->kind = DEVICE_UNCLAIMED;
    d->name = text_copy((struct bytes){0});
    d->user = text_copy((struct bytes){0});
    d->description = text_copy((struct bytes){0});
    d->location = location;
    d->created_ms = log_time_ms;
    memcpy(d->public_key, key, PUBLIC_KEY_SIZE);
    int rc = ERR_NOMEM;
    if (d->name != NULL && d->user != NULL && d->description != NULL) {
        roster_write_lock(r);
        rc = roster_insert_device(r, d);
        roster_write_unlock(r);
    }
    if (rc != 0) {
        device_free(d);
        return rc;
    }
    id_table_mark(&r->devices, d->id);
    *device = d->id;
    return 0;
}
