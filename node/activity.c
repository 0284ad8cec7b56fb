#include "node/activity.h"

#include "node/user_map.h"

#include <stdlib.h>

void activity_deinit(struct activity *a)
{
    free(a->devices);
    *a = (struct activity){0};
}

int activity_add(struct activity *a, uint32_t device)
{
    if (a->count == a->capacity) {
        size_t capacity = a->capacity == 0 ? 256 : 2 * a->capacity;
        uint32_t *devices = realloc(a->devices, capacity * sizeof *devices);
        if (devices == NULL)
            return ERR_NOMEM;
        a->devices = devices;
        a->capacity = capacity;
    }
    a->devices[a->count++] = device;
    return 0;
}

int activity_of_peers(const struct active_peer *peers, size_t count,
                      uint64_t from_s, uint64_t to_s, struct activity *out)
{
    int rv = 0;
    for (size_t i = 0; i < count && rv == 0; i++)
        if (peers[i].handshake_s >= from_s && peers[i].handshake_s < to_s)
            rv = activity_add(out, peers[i].device);
    return rv;
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort_out(struct activity *a)
{
    size_t kept = 0;
    if (a->count > 0)
        qsort(a->devices, a->count, sizeof *a->devices, compare_ids);
    for (size_t i = 0; i < a->count; i++)
        if (kept == 0 || a->devices[kept - 1] != a->devices[i])
            a->devices[kept++] = a->devices[i];
    a->count = kept;
}

static bool is_there(struct roster *r, uint32_t device)
{
    roster_read_lock(r);
    bool there = roster_device(r, device) != NULL;
    roster_read_unlock(r);
    return there;
}

/* Distinct users: each has a number, and is marked once. */
static int count_users(const struct activity *a, struct user_map *m,
                       struct activity_counts *out)
{
    bool *seen = calloc(m->count, sizeof *seen);
    if (seen == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < a->count; i++) {
        uint32_t user = user_map_get(m, a->devices[i]);
        out->users += user != 0 && !seen[user];
        seen[user] = true;
    }
    free(seen);
    return 0;
}

int activity_count(struct activity *a, struct roster *r,
                   struct activity_counts *out)
{
    struct user_map users;
    *out = (struct activity_counts){0};
    int rv = user_map_init(&users, r);
    sort_out(a);
    for (size_t i = 0; i < a->count && rv == 0; i++) {
        if (user_map_get(&users, a->devices[i]) != 0)
            out->user_devices++;
        else if (is_there(r, a->devices[i]))
            out->network_devices++;
        if (users.failed)
            rv = ERR_NOMEM;
    }
    if (rv == 0)
        rv = count_users(a, &users, out);
    user_map_deinit(&users);
    return rv;
}
