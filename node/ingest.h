/* What the statistics streams of a node share: the way of a record into the log
 * and of its outcome back, the bytes in flight, the time. Everything here runs
 * on the grpc thread; only `submit` leads elsewhere. The streams themselves are
 * ingest_native (our agents) and ingest_legacy (defguard's gateways), which
 * know nothing of gRPC. DESIGN, "The way of one report", step 5. */
#pragma once

#include "base/mailbox.h"
#include "node/node.h"

enum {
    INGEST_BYTES_MAX = 48 * 1024 * 1024, /* records of all streams together */
    /* Beyond this a stream gets little room: it waits instead of being refused
     * when the rest is gone too. */
    INGEST_BYTES_SCARCE = INGEST_BYTES_MAX / 2,
    INGEST_PEERS_MAX = 1024 * 1024, /* remembered by all legacy streams */
    INGEST_RETRY_MS = 25,           /* before a record is submitted again */
};

/* A piece of news for the grpc thread. */
struct parcel {
    struct letter letter;
    void (*open)(struct parcel *parcel);
};

/* A record on its way. Embedded in its owner, which keeps it and the record's
 * bytes until `settled`. */
struct proposal {
    struct submission submission; /* the replica's while it is under way */
    struct parcel parcel;         /* brings it back to the grpc thread */
    int status;
    /* grpc thread; status and outcome as submission.done says. */
    void (*settled)(struct proposal *p, int status);
    void *arg;
};

struct ingest {
    /* Ends in exactly one p->settled, never inside this call. */
    void (*submit)(struct ingest *ingest, struct proposal *p);
    /* The replicated log time that this node knows. */
    uint64_t (*log_time_ms)(struct ingest *ingest);
    struct roster *roster;            /* borrowed from the store */
    struct ingest_counters *counters; /* borrowed from the node */
    uint64_t now_ms;                  /* monotonic, of this turn of the loop */
    bool has_leader;                  /* as of the last look */
    bool retry_wanted;                /* somebody waits for the next tick */
    size_t bytes_in_flight;           /* of memory, in records and samples */
    size_t peers_remembered;
    uint64_t seed; /* of this process: ingest_seed */
};

/* For hashes of what strangers choose: what falls together in one process does
 * not in another. */
uint64_t ingest_seed(void);

/* Of a public key. */
uint64_t ingest_key_hash(const struct ingest *ingest, const uint8_t *key);

static inline bool ingest_is_full(const struct ingest *ingest)
{
    return ingest->bytes_in_flight >= INGEST_BYTES_MAX;
}

static inline bool ingest_is_scarce(const struct ingest *ingest)
{
    return ingest->bytes_in_flight >= INGEST_BYTES_SCARCE;
}

/* Who reports, as the log knows it. Borrowed from the call. */
struct reporter {
    uint32_t location;
    struct bytes identity, hostname, name, address;
};

/* Why a stream must end; none of them is an error of this node. */
enum stream_end {
    STREAM_GOES_ON = 0,
    STREAM_GAP,        /* value: the sequence expected */
    STREAM_SUPERSEDED, /* value: the stored session */
    STREAM_NOTFOUND,   /* its location was deleted */
    STREAM_LIMIT,      /* too many gateways in the location */
    STREAM_UNNAMED,    /* which of several gateways it is cannot be told */
    STREAM_BROKEN,     /* the log could not read what we wrote */
};

/* The end that an outcome means; STREAM_GOES_ON where it is a success. */
enum stream_end stream_end_of(const struct outcome *outcome);
