/* The generator's gRPC client: one stream of one simulated gateway, over the C
 * core, all of them on one completion queue and the main thread. `Report`
 * streams run in a closed loop (so many batches unacknowledged); `Stats`
 * streams send as fast as the connection takes, and what they sent counts when
 * the closing Empty has come. A Report stream that is refused because a node
 * has too much to do waits and comes again, as agents do; any other end is the
 * end of the run. */
#pragma once

#include "bench/fleet.h"
#include "bench/measure.h"

#include <grpc/grpc.h>

enum { IN_FLIGHT_MAX = 1024, TOKENS_MAX = 64 };

enum load_mode { LOAD_REPORT, LOAD_STATS };

struct load;

enum stream_op {
    OP_START,
    OP_HEADERS,
    OP_SEND,
    OP_RECEIVE,
    OP_EXCHANGE, /* both of these */
    OP_STATUS,
    OP_COUNT
};

struct stream_tag {
    struct stream *stream;
    enum stream_op op;
};

struct stream {
    struct load *load;             /* borrowed */
    struct fleet_gateway *gateway; /* borrowed */
    grpc_call *call;               /* owned */
    struct stream_tag tags[OP_COUNT];
    unsigned pending;   /* tags that will still come */
    bool sending;       /* a message is on its way to the socket */
    bool closing;       /* half-closed: nothing more is sent */
    bool over;          /* the status came, and nothing follows */
    uint64_t reopen_ms; /* refused: it goes on then; 0 = it was not */
    unsigned refusals;  /* in a row */
    uint64_t session;
    uint64_t sequence;               /* last sent */
    uint64_t acked;                  /* last acknowledged */
    uint64_t sent_ns[IN_FLIGHT_MAX]; /* by sequence modulo the size */
    /* where the core writes; live until the tag */
    grpc_byte_buffer *received;
    grpc_metadata_array headers, trailers;
    grpc_status_code status;
    grpc_slice details;
};

struct load {
    enum load_mode mode;
    const char *tokens[TOKENS_MAX]; /* borrowed from argv; shared out */
    size_t token_count;
    uint32_t batch, in_flight;
    uint32_t rate;     /* reports a second of all streams; 0 = closed loop */
    uint64_t began_ns; /* of the first batch, with a rate */
    uint64_t batches;  /* sent, with a rate */
    uint32_t turn;     /* the stream that sends next, with a rate */
    struct fleet fleet;
    struct stream *streams; /* owned */
    uint32_t stream_count;
    grpc_channel **channels; /* owned; the streams share them out */
    uint32_t channel_count;
    grpc_completion_queue *queue;
    bool stopping;          /* send no more, close what is drained */
    uint32_t open;          /* streams that are not over */
    uint32_t postponed;     /* of them, those that were refused and wait */
    uint64_t postponements; /* how often that happened in all */
    uint64_t reopen_ms;     /* when somebody looks at them next */
    bool failed;
    uint64_t finished_ns; /* when the last acknowledgement came */
    struct measure measure;
    /* scratch, one message at a time */
    struct buf message;
    struct stat_report reports[REPORT_PEERS_MAX];
};

/* With a rate: the next batch of all streams should have left by now. */
bool load_is_due(struct load *load);

/* A connection of its own to "ip:port". */
grpc_channel *stream_connect(const char *target);

/* Opens the stream of @gateway on one of the load's channels. */
NODISCARD int stream_open(struct stream *s, struct load *load,
                          struct fleet_gateway *gateway, struct errmsg *e);
/* The stream goes on after the tag of @op. */
void stream_continue(struct stream *s, enum stream_op op, bool ok);
/* Sends what the window allows; closes when the load stops and all is
 * acknowledged. */
void stream_pump(struct stream *s);
/* Goes on with a stream that waits, if it is time (or ends it, when the load
 * stops): as a new session, whose counters have what was not acknowledged. */
void stream_reopen(struct stream *s, uint64_t now_ms);
/* After all its tags came. */
void stream_deinit(struct stream *s);
