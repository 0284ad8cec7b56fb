/* Who was active, counted: devices, and the users whose they are. Of a device
 * that was deleted only history is left: it is active no more. Http thread. */
#pragma once

#include "node/http.h"
#include "store/query.h"

enum { ACTIVE_NOW_S = 8 * 60 }; /* defguard's WIREGUARD_MAX_HANDSHAKE */

struct activity_counts {
    uint64_t users, user_devices;
    uint64_t network_devices; /* unclaimed ones too: nobody's */
};

/* A growing set of device ids, counted when it is complete. */
struct activity {
    uint32_t *devices; /* owned; duplicates are fine */
    size_t count, capacity;
};

void activity_deinit(struct activity *a);
NODISCARD int activity_add(struct activity *a, uint32_t device);
/* Sorts out the duplicates. ERR_NOMEM. */
NODISCARD int activity_count(struct activity *a, struct roster *r,
                             struct activity_counts *out);
/* The devices of @peers with a handshake in [@from_s, @to_s). */
NODISCARD int activity_of_peers(const struct active_peer *peers, size_t count,
                                uint64_t from_s, uint64_t to_s,
                                struct activity *out);
