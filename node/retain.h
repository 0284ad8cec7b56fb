/* How long the tiers of buckets may be kept: one rule for the flags that a
 * cluster is founded with (config_check.c) and for changes of its settings
 * (api_settings.c). Pure. Times in seconds, 0 is for ever. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RETAIN_TIERS = 3, RETAIN_TEXT_SIZE = 24 }; /* minute, hour, day */

/* As the flags of holdfast-node are written: "168h". */
void retain_format(uint64_t s, char out[RETAIN_TEXT_SIZE]);

/* The same for people. Returns @out, or what 0 means. */
const char *retain_words(uint64_t s, char out[RETAIN_TEXT_SIZE]);

bool retain_is_shorter(uint64_t a, uint64_t b);

/* May @tier be kept for wish_s[tier]? What it has in @now_s (NULL: nothing yet)
 * is not too short. ERR_INVALID; the message lacks the setting's name. */
NODISCARD int retain_check(const uint64_t wish_s[RETAIN_TIERS],
                           const uint64_t now_s[RETAIN_TIERS], size_t tier,
                           struct errmsg *e);
