/* Reading the buckets of a tier: closed ones from LMDB, open ones and late
 * cells from memory, each byte seen exactly once (docs/format.md, "What a
 * reader does"). Any thread that does not hold roster_read_lock (store_status
 * says why); the read transaction lives for one call. */
#pragma once

#include "store/store.h"

enum {
    QUERY_BUCKETS_MAX = 11000, /* a week of minutes, a year of hours and some */
    QUERY_SERIES_MAX = 10000,
    QUERY_POINTS_MAX = 16 * 1000 * 1000, /* of one answer: 384 MB */
};

enum query_by { BY_NONE, BY_GATEWAY, BY_DEVICE, BY_GROUP };
enum query_resolution {
    BY_MINUTE = 60,
    BY_HOUR = 3600,
    BY_DAY = 86400
}; /* s */

struct query {
    uint32_t location; /* 0 = all */
    uint32_t gateway;  /* 0 = all */
    /* Only the bytes of these devices: ids in rising order; none = all. */
    const uint32_t *devices; /* borrowed for the call */
    size_t device_count;
    uint64_t from_s, to_s; /* Unix s, multiples of the resolution, [from, to) */
    enum query_resolution resolution;
    enum query_by by;
    /* BY_GROUP: the id of the series that a device's bytes go to; called
     * without the store's lock, for each cell. */
    uint32_t (*group)(void *arg, uint32_t device);
    void *group_arg;
    bool sums_only; /* no points: half the reading, and any number of buckets */
    uint32_t limit; /* most series returned, largest first; 0 = no limit */
    uint32_t after; /* series to leave out from the front: paging */
};

struct point {
    uint64_t upload, download;
    bool observed; /* false: nobody reported for this bucket (null, not 0) */
};

struct series {
    uint32_t id; /* device or gateway id; location id for BY_NONE with one
                    location, 0 for all */
    uint64_t upload, download;
    struct point *points; /* owned by the answer, bucket_count of them */
};

struct answer {
    uint64_t applied_index, log_time_ms;
    uint64_t from_s;
    uint64_t kept_from_s;  /* of this resolution, what is older has expired */
    size_t bucket_count;   /* 0: sums only */
    struct series *series; /* owned */
    size_t series_count;
    size_t series_total; /* before limit and after */
};

/* ERR_INVALID (range, too many buckets), ERR_LIMIT (too many points: ask with a
 * limit), ERR_NOMEM, ERR_IO, ERR_CORRUPT. Series are sorted by upload +
 * download, largest first, ties by id. BY_NONE always has one series; by
 * gateway or device only those that were heard or moved bytes in the range have
 * one. A device's bucket is observed when a gateway of a location that it is in
 * was heard; by gateway, when that gateway was. */
NODISCARD int query_run(struct store *s, const struct query *q,
                        struct answer *out, struct errmsg *e);
void answer_deinit(struct answer *a);

/* The newest that is known of a device in one location, or of all its gateways
 * merged (the slot with the newest handshake). */
struct presence {
    uint32_t location, device, gateway;
    uint64_t handshake_s; /* 0 = never */
    uint64_t connected_s; /* since then without a break; 0 = it is not */
    uint64_t sampled_ms;
    uint64_t upload, download; /* counters as last reported */
    char endpoint[64];
    char allowed_ips[192];
};

typedef void presence_fn(void *arg, const struct presence *p);

/* Every slot of @location (0 = all), in key order, copied out under the lock in
 * bounded slices. */
NODISCARD int query_presence(struct store *s, uint32_t location,
                             presence_fn *fn, void *arg);

/* A peer whose handshake is recent, as one gateway sees it. */
struct active_peer {
    uint32_t location, device, gateway;
    uint64_t handshake_s, connected_s;
};

/* Those of @location (0 = all) with a handshake at @since_s (not 0) or later,
 * in any order; *@out is the caller's to free. Costs one look at each slot
 * under the lock, and a copy of those that are active. */
NODISCARD int query_active(struct store *s, uint32_t location, uint64_t since_s,
                           struct active_peer **out, size_t *count);

/* What is known of one of them. ERR_NOTFOUND: it expired meanwhile. */
NODISCARD int query_peer(struct store *s, const struct active_peer *peer,
                         struct presence *out);
