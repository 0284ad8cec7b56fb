/* The two clocks. Wall time is for people and for stamping log entries; only
 * the leader reads it for data (DESIGN, rule 6). Everything that waits uses the
 * monotonic clock. */
#pragma once

#include <stdint.h>

/* Unix time, milliseconds. */
uint64_t clock_wall_ms(void);

/* Monotonic time since an unspecified start. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);

/* How long before @now @since was, in their unit; 0 when it was later, as a
 * time is that another thread, or a deeper call of the same turn of a loop,
 * read after @now was. */
static inline uint64_t clock_elapsed(uint64_t since, uint64_t now)
{
    return now > since ? now - since : 0;
}
