/* The reporter's pace: which node is tried next, when, and how long it may stay
 * silent. Agents that start together spread over the nodes and do not come back
 * in step. Pure: the caller brings the monotonic clock. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    PACE_BACKOFF_MS = 100,
    PACE_BACKOFF_MAX_MS = 2000,
    /* While every node has too much to do: agents by the thousand shall not
     * keep them busy with refusals. */
    PACE_OVERLOAD_MS = 1000,
    PACE_OVERLOAD_MAX_MS = 20000,
    PACE_PATIENCE_MS = 1500,      /* for an acknowledgement, at first */
    PACE_PATIENCE_MAX_MS = 30000, /* while no node acknowledges anything */
};

struct pace {
    size_t node, node_count; /* the current or next node */
    uint64_t next_open_ms;   /* no stream is opened before */
    uint64_t backoff_ms;
    uint64_t overload_ms; /* the next pause when all have too much to do */
    size_t refusals;      /* for that reason, in a row */
    uint64_t patience_ms; /* a batch may wait so long for its node */
    uint64_t random;
};

/* @identity and @seed make the choices differ between agents and runs. */
void pace_init(struct pace *p, size_t node_count, const char *identity,
               uint64_t seed);

/* A node acknowledged something new: all is well. */
void pace_progress(struct pace *p);

/* The stream is over: the next node, after the backoff and at least
 * @least_ms. */
void pace_move_on(struct pace *p, uint64_t now_ms, uint64_t least_ms);

/* The node has too much to do: the next one, soon; when all said so in a row,
 * after a pause that doubles each time. Half of a pause is random. */
void pace_overloaded(struct pace *p, uint64_t now_ms);

/* The node was silent for too long: the next one, with more patience. Without
 * a leader no node acknowledges, and a spool shall not be sent in circles. */
void pace_lose_patience(struct pace *p, uint64_t now_ms);
