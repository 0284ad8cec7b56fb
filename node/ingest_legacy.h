/* One Stats stream of a defguard gateway between its gateway and the log: what
 * is not committed is kept, newest per peer; one record is under way at a time
 * and is submitted again, byte for byte, until its outcome is known, which rule
 * 2 of DESIGN makes harmless. Samples are stamped with log time, the first ones
 * only after a barrier. No gRPC here; the grpc thread runs it.
 *
 *   HELD --barrier passed--> OPEN; in OPEN: pending --encode--> one record
 *   under way --outcome--> gone, and the next one is made. */
#pragma once

#include "node/barrier.h"
#include "node/ingest.h"
#include "node/text_cache.h"
#include "proto/report.h"

enum {
    /* Pending in a stream; then no more is read. */
    LEGACY_SAMPLES_MAX = 8192,
    LEGACY_SAMPLES_SCARCE = 512,  /* likewise, when memory is scarce */
    LEGACY_PEERS_MAX = 64 * 1024, /* remembered in a stream */
    LEGACY_PEERS_LEAST = 256,     /* likewise, when all streams remember much */
};

struct legacy_sample {
    struct legacy_sample *next;
    uint8_t key[PUBLIC_KEY_SIZE];
    uint64_t upload, download, handshake;
    uint64_t rec_ms; /* 0: not stamped yet */
    bool pinned;     /* a counter fell here: it must reach the log as it is */
    uint8_t endpoint_length, allowed_ips_length;
    char endpoint[REPORT_ENDPOINT_LENGTH_MAX];
    char allowed_ips[REPORT_ALLOWED_IPS_LENGTH_MAX];
};

struct legacy_peer;

struct legacy_stream {
    struct ingest *ingest;   /* borrowed */
    struct barrier *barrier; /* borrowed: shared by all streams */
    uint64_t ticket;
    bool stamping;                       /* OPEN: the barrier has passed */
    struct legacy_peer *peers;           /* owned, a uthash */
    size_t peer_count;                   /* of those */
    struct legacy_sample *first, **last; /* owned, in order of arrival */
    size_t pending;
    struct proposal proposal;
    struct buf record; /* under way or to be submitted again */
    enum { RECORD_NONE, RECORD_IN_FLIGHT, RECORD_AGAIN } state;
    uint64_t again_at_ms;
    enum stream_end end;
    struct text_cache texts;
    struct reporter who; /* borrowed from the call; name may come late */
    /* Asked once, when the barrier has passed: completes who.name. */
    bool (*identify)(struct legacy_stream *s);
    bool identified;
    uint32_t gateway; /* its id, once the roster knows it */
    /* Something settled: there may be room, an end, or nothing left. */
    void (*changed)(struct legacy_stream *s);
    void *arg; /* for the above */
};

void legacy_stream_init(struct legacy_stream *s, struct ingest *ingest,
                        struct barrier *barrier, const struct reporter *who);
/* Nothing may be in flight. */
void legacy_stream_deinit(struct legacy_stream *s);

/* One sample as the gateway sent it. ERR_LIMIT: the node keeps too much. */
NODISCARD int legacy_stream_add(struct legacy_stream *s,
                                const struct stat_report *report);
bool legacy_stream_has_room(const struct legacy_stream *s);

/* Stamps, encodes and submits what may go now. */
void legacy_stream_pump(struct legacy_stream *s);

/* All that was received is committed (or dropped as stale by apply). */
bool legacy_stream_is_drained(const struct legacy_stream *s);
bool legacy_stream_is_in_flight(const struct legacy_stream *s);

/* Whom it is a stream of; 0 while nobody knows. */
uint32_t legacy_stream_gateway(struct legacy_stream *s);
