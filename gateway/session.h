/* The agent's side of rule 1 (DESIGN, "What a report does to the data"): which
 * session, which sequence number, what is sent again, what a refusal means.
 * Owns the sampler and the spool; knows no gRPC and no clock, so that every
 * decision is tested with made-up answers. main.c ticks it, reporter.c carries
 * its batches, session_disk.c saves them where there is a disk; one thread.
 *
 *   sampling ──► session_tick ──► spool ──► session_next ──► a stream
 *                    ▲                          │
 *                    │ renewed: all peers       ▼
 *              session_refused ◄── refusal   session_acknowledged
 *
 *   state        event                                      goes to
 *   LIVE         gap below the stream's first batch,        RENEWED
 *                spool full, batch malformed, a failed disk
 *                that still holds the session
 *   LIVE         superseded, never acknowledged to this     RENEWED
 *                process, 1st time
 *   LIVE         superseded otherwise                       OVER
 *   RENEWED      session_tick (all peers, number 1)         LIVE
 *   OVER         nothing: the agent says so and ends */
#pragma once

#include "gateway/sampler.h"
#include "gateway/spool.h"

enum session_state { SESSION_LIVE, SESSION_RENEWED, SESSION_OVER };

/* Why a node ended a stream, as far as the session is concerned. */
enum session_refusal {
    REFUSAL_GAP,        /* number: the sequence expected */
    REFUSAL_SUPERSEDED, /* number: the stored session */
    REFUSAL_MALFORMED,
};

enum session_disk_state { DISK_NONE, DISK_KEPT, DISK_FAILED };

struct spool_dir;

struct session {
    enum session_state state;
    uint64_t id;           /* ordered: larger is newer */
    uint64_t acknowledged; /* highest number, 0 = none yet */
    uint64_t sent;         /* highest number that was given to any stream */
    uint64_t stream_first; /* the first number of this stream, 0 = none */
    uint64_t stream_sent;  /* the highest number given to this stream */
    bool answered;         /* this process heard an acknowledgement in it */
    bool gave_way;         /* took a larger session once, for superseded */
    bool resumed;          /* from the disk: the next look says all peers */
    struct sampler sampler;
    struct spool spool;
    struct buf scratch;  /* an encoded batch */
    uint8_t machine[16]; /* hash of the machine id */

    /* session_disk's */
    struct spool_dir *disk; /* borrowed; NULL: nothing is saved */
    enum session_disk_state disk_state;
    bool disk_tried;          /* in this tick */
    uint64_t disk_sent;       /* `sent` as the disk has it, never less */
    struct errmsg disk_error; /* why it failed */
};

/* A new session whose id is the wall clock; the first tick has all peers. */
void session_init(struct session *s, const uint8_t machine[16], uint64_t now_ms,
                  size_t spool_bytes_max, size_t spool_batches_max);
void session_deinit(struct session *s);

/* A look at the interface at @now_ms becomes a batch (or several, above
 * REPORT_PEERS_MAX peers). NULL: there is certainly no interface; an idle
 * batch says that somebody looked. It is on the disk, where there is one, when
 * this returns. When the spool is full, or the disk failed badly, the session
 * is given up and the look becomes the first batch of a new one: *renewed is
 * ERR_LIMIT or ERR_CLOSED, not 0, and streams must be opened anew. @observer,
 * which may be NULL, is told each report of the first look of a session.
 * ERR_LIMIT: the spool cannot hold one look; nothing is there to be sent.
 * ERR_NOMEM: the process cannot go on. */
typedef void session_observe_fn(void *arg, const struct stat_report *report);
NODISCARD int session_tick(struct session *s, struct wg_interface *now,
                           uint64_t now_ms, int *renewed,
                           session_observe_fn *observer, void *arg);

/* A stream was opened: everything unacknowledged goes again, from the oldest.
 */
void session_stream_opened(struct session *s);

/* The next batch for this stream, which counts as sent from now on: the bytes
 * are borrowed until it is acknowledged or the session is renewed. False when
 * all were given, or @window batches of this stream are unacknowledged, or the
 * disk failed so badly that the session was renewed. */
bool session_next(struct session *s, size_t window, struct bytes *batch);

/* The current stream was given all there is. */
bool session_all_given(const struct session *s);

/* @sequence and all before are on a majority's disks. ERR_INVALID: this stream
 * was never given that number; the node is wrong and the stream must end. */
NODISCARD int session_acknowledged(struct session *s, uint64_t sequence);

/* A node ended the stream for @refusal; @number is 0 where it said none.
 * Returns the state. When it is SESSION_RENEWED a look is due, which becomes
 * the first batch of the new session. */
enum session_state session_refused(struct session *s,
                                   enum session_refusal refusal,
                                   uint64_t number, uint64_t now_ms);

/* Everything is acknowledged. */
bool session_is_drained(const struct session *s);
