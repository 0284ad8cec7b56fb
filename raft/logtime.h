/* Log time (DESIGN, rule 6): the leader's stamp on each entry. Its wall clock,
 * held to the median of the voters' clocks (the earlier of two) when it strays
 * by more than a second, and never backwards. Pure: the caller brings the
 * clocks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { LOGTIME_STRAY_MS_MAX = 1000 };

/* @offsets_ms: the other voters' clocks minus ours, those that are known.
 * @floor_ms: the newest stamp in the log that is known here. */
uint64_t logtime_stamp(uint64_t wall_ms, const int64_t *offsets_ms,
                       size_t count, uint64_t floor_ms);
