/* The log entry: what the leader packs, libraft replicates and every applier
 * reads. One entry = a header (who proposed it, when) and a run of records,
 * zero-padded to a multiple of 8 (reference: libraft loses unpadded ones).
 * A record is one command or one gateway's batch; a batch is never split.
 * Bytes are described in docs/format.md, "Log entry". No thread: pure codecs.
 */
#pragma once

#include "base/bytes.h"

enum {
    ENTRY_FORMAT = 1,
    ENTRY_HEADER_SIZE = 40,
    ENTRY_ALIGNMENT = 8,
    ENTRY_SIZE_GOAL = 128 * 1024, /* packing stops here */
    /* One record, header included: a batch of the most peers with the longest
     * of everything fits (asserted in batch.c). */
    RECORD_SIZE_MAX = 1408 * 1024,
    ENTRY_SIZE_MAX = ENTRY_HEADER_SIZE + RECORD_SIZE_MAX + 256 * 1024,
    BATCH_PEERS_MAX = 4096,
    PUBLIC_KEY_SIZE = 32,
    IDENTITY_LENGTH_MAX = 253, /* hostname, gateway id, name */
    ENDPOINT_LENGTH_MAX = 63,
    ALLOWED_IPS_LENGTH_MAX = 191, /* joined */
};

/* What a node can read and do; the cluster agrees on the level that all of its
 * members speak. Each record kind has the level that introduced it. */
enum { LEVEL_OLDEST = 1, LEVEL_NEWEST = 4 };

enum record_kind {
    RECORD_NATIVE_BATCH = 1, /* rule 1: session and sequence */
    RECORD_LEGACY_BATCH = 2, /* rule 2: handshake, counters, receipt stamp */
    RECORD_TICK = 3,         /* moves log time; also the shared barrier */
    RECORD_PRESENCE = 4,     /* level 3: who was heard in a minute, rule 8 */
    RECORD_SETTINGS = 16,    /* cluster settings; the first one wins */
    RECORD_LOCATION_CREATE = 17,
    RECORD_LOCATION_CHANGE = 18,
    RECORD_LOCATION_DELETE = 19,
    RECORD_DEVICE_CREATE = 20,
    RECORD_DEVICE_CHANGE = 21,
    RECORD_DEVICE_DELETE = 22,
    RECORD_TOKEN_CREATE = 23,
    RECORD_TOKEN_REVOKE = 24,
    RECORD_MEMBER = 25, /* level 2: what an operator wishes of a member */
    RECORD_SETTINGS_CHANGE = 26, /* level 3 */
    RECORD_GATEWAY_DELETE = 27,  /* level 4 */
    RECORD_DIGEST = 32, /* every node computes its digest at this index */
    RECORD_LEVEL = 33,  /* the cluster's feature level rises */
};

/* What became of one record, decided by apply and by nothing else. */
enum outcome_code {
    OUTCOME_TAKEN = 0,
    OUTCOME_DUPLICATE,  /* a batch taken before: acknowledge it again */
    OUTCOME_GAP,        /* value: the sequence expected */
    OUTCOME_SUPERSEDED, /* value: the stored session */
    OUTCOME_NOTFOUND,   /* the location or device is not there (any more) */
    OUTCOME_EXISTS,     /* value: id of the one that is there */
    OUTCOME_LIMIT,      /* full: addresses, devices, gateways */
    OUTCOME_INVALID,    /* the record cannot be read: a bug or damage */
};

struct outcome {
    enum outcome_code code;
    uint64_t value; /* see the codes; for a create the new id; for a digest
                       the digest */
    uint64_t index; /* log index of the entry: visible from here on */
};

struct entry_header {
    uint64_t term;        /* the leader's term when it packed the entry */
    uint64_t log_time_ms; /* rule 6 */
    uint64_t proposer;    /* raft id of the leader that packed it */
    uint64_t number;      /* unique per proposer and process start */
};

/* Writing: begin (forgets what @out held), append records whole, finish (size
 * and padding). Check buf_failed at the end. */
void entry_begin(struct buf *out, const struct entry_header *header);
void entry_finish(struct buf *out);

/* Reading. ERR_CORRUPT with a message that says what is wrong and where. */
NODISCARD int entry_open(struct bytes entry, struct entry_header *header,
                         struct reader *records, struct errmsg *e);

struct record {
    enum record_kind kind;
    struct bytes body; /* borrowed from the entry */
};

/* 1 and a record, 0 at the end, ERR_CORRUPT. Kinds that we do not know are
 * returned as they are. */
NODISCARD int record_next(struct reader *records, struct record *record);

/* The kind of a framed record that is not empty. */
static inline enum record_kind record_kind_of(struct bytes record)
{
    return (enum record_kind)record.data[0];
}

/* A record with this body, framed as an entry holds it. A body that passes
 * RECORD_SIZE_MAX fails @out. */
void record_put(struct buf *out, enum record_kind kind, struct bytes body);

/* The records of an entry, a tick: no body. */
void record_put_tick(struct buf *out);
void record_put_digest(struct buf *out);

/* --- batches of samples --------------------------------------------------- */

/* Who reports. Our agents: identity = holdfast-gateway-id (or the hostname).
 * defguard's: identity = hostname, and name = the display name of Config. A
 * gateway whose id the replica knows travels as the id alone. */
struct batch_head {
    uint32_t location;
    uint32_t gateway; /* id; 0: by identity below */
    struct bytes identity, hostname, name;
    /* native only */
    uint64_t session, sequence, sampled_at_ms;
    bool has_machine;
    uint64_t machine; /* XXH3-64 of ReportBatch.machine */
    /* legacy only: address of the gateway host, without the port */
    struct bytes address;
};

struct batch_peer {
    uint32_t device;           /* id; 0: by key */
    const uint8_t *key;        /* 32 bytes, if device is 0 */
    uint64_t upload, download; /* cumulative bytes */
    uint64_t handshake;        /* Unix s, 0 = never */
    uint64_t rec_ms;           /* legacy: receipt stamp, log time */
    bool from_zero;            /* native */
    bool has_endpoint;         /* first time, or changed */
    struct bytes endpoint;     /* "ip:port", may be empty */
    struct bytes allowed_ips;  /* as reported, comma-joined; with
                                  has_endpoint */
};

/* Writing a batch record of @kind: begin, put each peer (at most
 * BATCH_PEERS_MAX), end. @writer keeps the running deltas and the start of the
 * record in @out. Texts longer than their limits above are cut; of from_zero
 * only a native batch takes notice, of rec_ms only a legacy one. Peers in order
 * of device id make the smallest records. */
struct batch_writer {
    struct buf *out; /* borrowed */
    size_t start;
    enum record_kind kind;
    uint32_t device, count;
    uint64_t time_s, rec_ms;
};

void batch_begin(struct batch_writer *w, struct buf *out, enum record_kind kind,
                 const struct batch_head *head);
void batch_put(struct batch_writer *w, const struct batch_peer *peer);
void batch_end(struct batch_writer *w);

/* Reading a batch record. Safe on any bytes: ERR_CORRUPT for cut or trailing
 * input, unknown flags, lengths and ids out of range, too many peers. The texts
 * are within their limits, but may be any bytes. */
struct batch_reader {
    struct reader rest;
    enum record_kind kind;
    uint32_t device, count;
    uint64_t time_s, rec_ms;
};

NODISCARD int batch_open(struct batch_reader *r, const struct record *record,
                         struct batch_head *head);
/* 1 and a peer (borrowing from the record), 0 at the end, ERR_CORRUPT. */
NODISCARD int batch_next(struct batch_reader *r, struct batch_peer *peer);

/* --- presence ------------------------------------------------------------- */

enum { PRESENCE_GATEWAYS_MAX = 64 * 1024 };

/* Some node heard these gateways of defguard's in this minute of log time;
 * their ids in rising order, none twice. Applied only while the minute lasts.
 */
void record_put_presence(struct buf *out, uint32_t minute,
                         const uint32_t *gateways, size_t count);

struct presence_reader {
    struct reader rest;
    uint32_t minute;
    uint32_t gateway, count; /* the last one, and how many so far */
};

/* ERR_CORRUPT. */
NODISCARD int presence_open(struct presence_reader *r,
                            const struct record *record);
/* 1 and a gateway's id, 0 at the end, ERR_CORRUPT. */
NODISCARD int presence_next(struct presence_reader *r, uint32_t *gateway);
