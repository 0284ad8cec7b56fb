/* One Report stream of our agents between its gateway and the log: batches are
 * submitted in order, several in flight; acknowledgements cover everything
 * before them; what had no certain outcome is submitted again from the first
 * such batch on (go-back-N), which rule 1 of DESIGN makes harmless. Only apply
 * decides about sessions and sequences. No gRPC here; the grpc thread runs it.
 *
 * A batch:  READY --submit--> IN_FLIGHT --outcome--> TAKEN (left in order)
 *             ^                  |
 *             '----- AGAIN <-----'  not submitted, unknown, or a gap behind a
 *                                   batch that was itself unresolved */
#pragma once

#include "node/ingest.h"
#include "node/text_cache.h"
#include "proto/report.h"

enum {
    /* Of a stream, unacknowledged; then no more is read. When memory is scarce,
     * one batch. */
    NATIVE_BATCHES_MAX = 8,
    NATIVE_BYTES_MAX = 1024 * 1024,
};

enum native_state { BATCH_READY, BATCH_IN_FLIGHT, BATCH_AGAIN, BATCH_TAKEN };

struct native_batch {
    struct proposal proposal;
    struct native_stream *stream; /* borrowed: outlives what is in flight */
    struct native_batch *next;
    uint64_t session, sequence;
    struct buf record;
    enum native_state state;
    bool was_first; /* nothing before it was open when it was submitted */
};

struct native_stream {
    struct ingest *ingest;             /* borrowed */
    struct native_batch *first, *last; /* owned, oldest first */
    size_t count, bytes, in_flight;
    bool again;   /* some batch is AGAIN: wait until nothing is in
                     flight, then start over from the first */
    bool stopped; /* outcomes are of no interest any more */
    uint64_t again_at_ms;
    uint64_t taken;         /* sequence of the last batch that left in order */
    bool ack_due;           /* it was not told yet */
    uint64_t applied_index; /* of `taken` */
    enum stream_end end;    /* not STREAM_GOES_ON: say so and stop */
    uint64_t end_value;
    uint64_t machine;        /* that a batch told, as apply sees it; 0 = none */
    struct text_cache texts; /* what the log was told of each peer */
    /* Something settled: there may be an acknowledgement, room, or an end. */
    void (*changed)(struct native_stream *s);
    void *arg; /* for the above */
};

void native_stream_init(struct native_stream *s, struct ingest *ingest,
                        void (*changed)(struct native_stream *s), void *arg);
/* Nothing may be in flight. */
void native_stream_deinit(struct native_stream *s);

/* Forgets what is not in flight; nothing is submitted or told any more. */
void native_stream_stop(struct native_stream *s);

/* Takes over the record of one batch and submits it when its turn comes.
 * ERR_LIMIT: the node has too much in flight; the record stays the caller's. */
NODISCARD int native_stream_add(struct native_stream *s, uint64_t session,
                                uint64_t sequence, struct buf *record);

/* There is room for one more: read on. */
bool native_stream_has_room(const struct native_stream *s);

/* True and the newest acknowledgement, once for each. */
bool native_stream_ack(struct native_stream *s, uint64_t *sequence,
                       uint64_t *applied_index);

/* Submits what waits, if it may go now. */
void native_stream_pump(struct native_stream *s);

/* Encodes @batch as a record of @who: keys become ids under one read lock,
 * endpoint and allowed IPs travel only when they differ from what this stream
 * told before. ERR_NOMEM. */
NODISCARD int native_record_encode(struct native_stream *s,
                                   const struct reporter *who,
                                   const struct report_batch *batch,
                                   struct buf *out);
