/* Users as numbers, for one answer: which user's a device is, looked up in the
 * roster once for each device that is met. 0 is nobody: network devices,
 * unclaimed and deleted ones. No thread: one call's. */
#pragma once

#include "store/roster.h"

struct user_map {
    struct roster *roster; /* borrowed */
    uint32_t *of_device;   /* owned; by device id: user + 1, 0 = not met yet */
    size_t device_count;
    char **names; /* owned, by number; names[0] is "" */
    size_t count, capacity;
    uint32_t *index; /* owned; hash of names: number + 1, load <= 1/2 */
    bool failed;     /* out of memory: the numbers are worth nothing */
};

NODISCARD int user_map_init(struct user_map *m, struct roster *r);
void user_map_deinit(struct user_map *m);

/* A query's group function (store/query.h); @arg is the map. Not under the
 * roster's lock. */
uint32_t user_map_get(void *arg, uint32_t device);
