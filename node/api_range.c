#include "node/api_range.h"

enum { DEFAULT_RANGE_S = 3600, TIER_COUNT = 3 };

static const struct grain {
    const char *name;
    enum query_resolution resolution;
} grains[TIER_COUNT] = {
    {"minute", BY_MINUTE},
    {"hour", BY_HOUR},
    {"day", BY_DAY},
};

const char *api_resolution_text(enum query_resolution resolution)
{
    for (size_t i = 0; i < TIER_COUNT; i++)
        if (grains[i].resolution == resolution)
            return grains[i].name;
    return "minute";
}

struct api_range api_range_of(uint64_t from_ms, uint64_t to_ms,
                              enum query_resolution resolution)
{
    uint64_t step = (uint64_t)resolution;
    uint64_t to_s = to_ms / 1000 + (to_ms % 1000 != 0);
    return (struct api_range){
        .from_s = from_ms / 1000 / step * step,
        .to_s = (to_s + step - 1) / step * step,
        .resolution = resolution,
    };
}

/* How long each tier is kept; all for ever before there are settings. */
static void read_retention(const struct node *n, uint64_t out[TIER_COUNT])
{
    struct roster *r = store_roster(n->store);
    memset(out, 0, TIER_COUNT * sizeof *out);
    roster_read_lock(r);
    const struct settings *s = roster_settings(r);
    if (s != NULL) {
        out[0] = s->retain_minute_s;
        out[1] = s->retain_hour_s;
        out[2] = s->retain_day_s;
    }
    roster_read_unlock(r);
}

enum query_resolution api_finest_tier(const struct node *n, uint64_t from_s,
                                      uint64_t to_s, uint64_t points_max)
{
    uint64_t kept_s[TIER_COUNT], now_s = node_now_ms(n) / 1000;
    read_retention(n, kept_s);
    for (size_t i = 0; i + 1 < TIER_COUNT; i++) {
        bool has = kept_s[i] == 0 || from_s + kept_s[i] >= now_s;
        uint64_t step = (uint64_t)grains[i].resolution;
        if (has && (to_s - from_s + step - 1) / step <= points_max)
            return grains[i].resolution;
    }
    return grains[TIER_COUNT - 1].resolution;
}

/* --- a request ------------------------------------------------------------ */

static int refuse(struct http_request *rq, const char *message)
{
    http_error(rq, 400, "invalid", "%s", message);
    return ERR_INVALID;
}

/* @out is not set for auto. */
static int read_resolution(struct http_request *rq, bool *is_auto,
                           enum query_resolution *out)
{
    const char *text = http_param(rq, "resolution");
    *is_auto = text == NULL || strcmp(text, "auto") == 0;
    for (size_t i = 0; i < TIER_COUNT && !*is_auto; i++) {
        if (strcmp(grains[i].name, text) != 0)
            continue;
        *out = grains[i].resolution;
        return 0;
    }
    return *is_auto
               ? 0
               : refuse(rq, "resolution: must be auto, minute, hour or day");
}

static int read_times(struct http_request *rq, uint64_t *from_ms,
                      uint64_t *to_ms)
{
    const char *from = http_param(rq, "from"), *to = http_param(rq, "to");
    uint64_t now_ms = node_now_ms(rq->node);
    *to_ms = now_ms;
    if (to != NULL && time_parse(to, to_ms) != 0)
        return refuse(rq, "to: must be an RFC 3339 time or Unix seconds");
    *from_ms =
        *to_ms > DEFAULT_RANGE_S * 1000 ? *to_ms - DEFAULT_RANGE_S * 1000 : 0;
    if (from == NULL) {
        /* As many whole minutes as an hour has, the running one included. */
        *from_ms = (*from_ms + BY_MINUTE * 1000 - 1) / (BY_MINUTE * 1000) *
                   (BY_MINUTE * 1000);
        return 0;
    }
    if (time_parse(from, from_ms) != 0)
        return refuse(rq, "from: must be an RFC 3339 time or Unix seconds");
    if (*from_ms > now_ms + BY_MINUTE * 1000)
        return refuse(rq, "from: is in the future");
    return 0;
}

int api_read_range(struct http_request *rq, struct api_range *out)
{
    uint64_t from_ms, to_ms;
    enum query_resolution resolution = BY_MINUTE;
    bool is_auto;
    int rv = read_resolution(rq, &is_auto, &resolution);
    if (rv == 0)
        rv = read_times(rq, &from_ms, &to_ms);
    if (rv != 0)
        return rv;
    if (from_ms > to_ms)
        return refuse(rq, "from: must be before to");
    if (is_auto)
        resolution = api_finest_tier(rq->node, from_ms / 1000,
                                     (to_ms + 999) / 1000, AUTO_POINTS_MAX);
    *out = api_range_of(from_ms, to_ms, resolution);
    return out->from_s < out->to_s ? 0 : refuse(rq, "from: must be before to");
}
