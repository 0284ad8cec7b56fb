/* DESIGN's rules 1-3 as pure functions: which batch is next, and how many bytes
 * a sample adds to what is stored of the same (location, device, gateway).
 * Everything that decides between counted once, twice and never is here; the
 * rules were model-checked, so change the models before this. store/apply.c
 * calls it, on the applier thread. */
#pragma once

#include "store/entry.h"

enum {
    HANDSHAKE_AHEAD_MAX_S = 5 * 60,           /* beyond log time: clamped */
    RECEIPT_AGE_MAX_MS = 7 * 24 * 3600 * 1000 /* older samples are dropped */
};

#define SLOT_LIFE_MS ((uint64_t)30 * 24 * 3600 * 1000) /* rule 4 */

/* A gateway's place in its sequence of batches: rule 1. */
struct place {
    uint64_t session, sequence;
};

/* TAKEN, DUPLICATE, GAP (@value: the sequence expected) or SUPERSEDED (@value:
 * the stored session). */
enum outcome_code count_batch(struct place stored, struct place batch,
                              uint64_t *value);

/* One observation of a peer's counters. */
struct sample {
    uint64_t upload, download; /* cumulative bytes */
    uint64_t handshake_s;      /* Unix s, clamped by count_handshake */
    uint64_t time_ms;          /* native: of sampling; legacy: of receipt */
    uint64_t origin;           /* whose counters these are. native: hash of the
                                  machine, 0 = not told; legacy: hash of the
                                  gateway host's address */
    bool from_zero;            /* native */
};

enum verdict {
    COUNT_DUPLICATE,  /* seen before: nothing changes */
    COUNT_STALE,      /* older than what is stored: nothing changes */
    COUNT_BASELINE,   /* becomes the stored sample, adds nothing */
    COUNT_DIFFERENCE, /* becomes the stored sample, adds the growth */
    COUNT_RESET,      /* becomes the stored sample, adds its counters in full */
};

struct growth {
    uint64_t upload, download;
};

/* What a sample does; @stored is NULL where there is none. @growth is zero
 * unless the verdict is DIFFERENCE or RESET. */
enum verdict count_native(const struct sample *stored,
                          const struct sample *sample, struct growth *growth);
enum verdict count_legacy(const struct sample *stored,
                          const struct sample *sample, struct growth *growth);

/* A handshake as it is stored: a gateway whose clock runs ahead must not lock
 * its peers until that time comes. */
uint64_t count_handshake(uint64_t handshake_s, uint64_t log_time_ms);

/* Since when a peer has been connected without a break, in Unix s; 0: it is
 * not. @since_s: as stored, beside the handshake @before_s (0: none). A break
 * is more than the location's threshold between two handshakes. */
uint64_t count_connected(uint64_t since_s, uint64_t before_s,
                         uint64_t handshake_s, uint32_t threshold_s);
