#include "node/retain.h"

#include "store/roster.h"

#include <inttypes.h>
#include <stdio.h>

enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S };

/* Shorter, and what gateways kept in their spools would come too late to be
 * counted there. */
static const uint64_t least_s[RETAIN_TIERS] = {HOUR_S, DAY_S, 2 * DAY_S};

void retain_format(uint64_t s, char out[RETAIN_TEXT_SIZE])
{
    if (s == 0)
        snprintf(out, RETAIN_TEXT_SIZE, "0");
    else if (s % HOUR_S == 0)
        snprintf(out, RETAIN_TEXT_SIZE, "%" PRIu64 "h", s / HOUR_S);
    else
        snprintf(out, RETAIN_TEXT_SIZE, "%" PRIu64 "s", s);
}

const char *retain_words(uint64_t s, char out[RETAIN_TEXT_SIZE])
{
    retain_format(s, out);
    return s == 0 ? "for ever" : out;
}

bool retain_is_shorter(uint64_t a, uint64_t b)
{
    return a != 0 && (b == 0 || a < b);
}

static int refuse(const char *why, uint64_t s, struct errmsg *e)
{
    char text[RETAIN_TEXT_SIZE];
    return errmsg_set(e, ERR_INVALID, "%s %s; 0 is for ever", why,
                      retain_words(s, text));
}

int retain_check(const uint64_t wish_s[RETAIN_TIERS],
                 const uint64_t now_s[RETAIN_TIERS], size_t tier,
                 struct errmsg *e)
{
    uint64_t s = wish_s[tier];
    bool kept = now_s != NULL && s == now_s[tier];
    if (!kept && retain_is_shorter(s, least_s[tier]))
        return refuse("must be at least", least_s[tier], e);
    if (s > RETAIN_S_MAX)
        return refuse("must be at most", RETAIN_S_MAX, e);
    if (tier > 0 && retain_is_shorter(s, wish_s[tier - 1]))
        return refuse("must be at least as long as the finer tier's",
                      wish_s[tier - 1], e);
    return 0;
}
