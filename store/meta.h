/* The record that says what the file holds: the format, whose it is, and the
 * one log index whose state it is. docs/format.md, "meta". Pure codec. */
#pragma once

#include "base/bytes.h"
#include "store/roster.h"
#include "store/tier.h"

enum { META_SIZE = 72 };

struct meta {
    uint64_t applied_index, applied_term;
    uint64_t log_time_ms;
    uint64_t generation;     /* counts the flushes */
    uint32_t horizon[TIERS]; /* buckets before this one have expired */
    uint8_t cluster_id[CLUSTER_ID_SIZE]; /* zero before there are settings */
};

void meta_put(uint8_t out[META_SIZE], const struct meta *meta);

/* ERR_CORRUPT (or whole, but of an earlier format), or ERR_NEWER: whole, but of
 * a later one. In every format the
 * first four bytes are its number and the last eight the checksum. */
NODISCARD int meta_get(struct bytes stored, struct meta *meta,
                       struct errmsg *e);
