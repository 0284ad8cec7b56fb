/* Records of followers on their way to the leader, and pings between all nodes.
 * Every node keeps one forward link to every other: it submits on the one to
 * the leader; all measure round trips and clocks and tell facts. A link that
 * breaks leaves what was sent on it unknown. Raft loop, except order_done. */
#pragma once

#include "raft/dial.h"
#include "raft/errand.h"
#include "raft/link.h"
#include "raft/logtime.h"
#include "raft/submit.h"

enum {
    FORWARD_BYTES_MAX = 16 * 1024 * 1024, /* sent and unanswered, a link */
    PING_EVERY_MS = 500,
    /* Without any answer for so many of our own beats (3 s): closed. Counted in
     * beats, so that a pause of this process does not look like one of
     * theirs.*/
    PING_SILENT_BEATS_MAX = 150,
    /* The same (100 ms and three round trips) for one that leads no more and
     * has records of ours, after a ping when that was seen: the new leader
     * could have them already. */
    OUSTED_SILENT_BEATS_MAX = 5,
    /* A leader that took nothing is asked again after this; another one at
     * once. */
    FORWARD_AGAIN_MS = 50,
    /* One that was removed is let go after this (0.5 s): it may wait for the
     * answer that says so. */
    STRANGER_BEATS_MAX = 25,
};

/* To one peer. */
struct out_link {
    struct link link;
    struct repl *repl;
    uint64_t peer_id;
    char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
    char name[NODE_NAME_LENGTH_MAX + 1]; /* as it last said; may be empty */
    uint64_t facts_ms; /* monotonic, when they came; 0 = never */
    struct repl_facts facts;
    struct dial *dial;
    unsigned failures;
    uint64_t retry_ms, pinged_ms;
    unsigned silent_beats;   /* since anything came from it */
    unsigned stranger_beats; /* since it left the configuration */
    uint64_t again_ms;       /* it takes nothing before */
    struct queue sent;       /* ->id: request id */
    uint64_t rtt_us;
    struct peer_clock clock;
};

struct in_link;

struct forward {
    struct out_link *outs[PEERS_MAX]; /* owned; NULL-terminated or full */
    struct in_link *ins;
    uint64_t request; /* newest id */
};

/* The configuration's servers other than this node become the peers; those that
 * left it are let go. */
void forward_set_members(struct repl *r);

/* A peer's forward stream arrived; takes @stream. */
void forward_accept(struct repl *r, uint64_t peer_id, uv_stream_t *stream);

/* A peer said hello at our port: what waits to be dialed again is due. */
void forward_peer_seen(struct repl *r, uint64_t peer_id);

/* True if a record of @size can be sent to the leader now. */
bool forward_has_room(struct repl *r, size_t size);
void forward_send(struct repl *r, struct submission *s);

/* How many submissions wait for an answer. */
size_t forward_pending(const struct repl *r);

/* Offsets of the other voters' clocks from ours, which says @wall_ms, as far as
 * they are known. Returns how many were put into @offsets_ms (room for
 * PEERS_MAX). */
size_t forward_clock_offsets(struct repl *r, uint64_t wall_ms,
                             int64_t *offsets_ms);

/* A frame on the link to a peer; false: there is none. */
bool forward_put(struct repl *r, uint64_t peer_id, const struct frame *frame);

/* The same on a link that the peer made; lost if there is none any more. */
void forward_answer(struct repl *r, uint64_t peer_id,
                    const struct frame *frame);

/* Another leader, or none: those who led and still have records of ours must
 * answer soon. */
void forward_leader_changed(struct repl *r);

/* Tells all peers now what else goes with the pings. */
void forward_tell_facts(struct repl *r);

/* To every peer. */
void forward_broadcast(struct repl *r, const struct frame *frame);

const struct out_link *forward_peer(const struct repl *r, uint64_t peer_id);

void forward_flush(struct repl *r);
void forward_beat(struct repl *r, uint64_t now_ms);

/* Closes all; what was sent ends as unknown. */
void forward_close(struct repl *r);
/* After the applier has stopped. */
void forward_deinit(struct repl *r);
