/* The last JOURNAL_CHANGES_MAX changes of configuration, by log index: a ring,
 * in memory only. What falls out moves the floor, below which a reader is told
 * to start again. The roster's lock guards it. */
#pragma once

#include "store/roster.h"

struct journal {
    struct change *changes; /* owned ring of JOURNAL_CHANGES_MAX */
    uint64_t pushed;        /* ever; the next goes to pushed modulo the size */
    uint64_t floor;         /* index of the newest change that fell out */
};

NODISCARD int journal_init(struct journal *j);
void journal_deinit(struct journal *j);

/* Indexes never fall. @key may be NULL. */
void journal_push(struct journal *j, uint64_t index, enum change_kind kind,
                  uint32_t id, const uint8_t *key);
