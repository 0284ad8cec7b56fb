/* GET and PUT /api/v1/settings: how long the tiers are kept, for the whole
 * cluster, changed while it runs (docs/format.md, "settings change"). What a
 * change would delete has to be confirmed. The cluster's id and the gateways'
 * secret are settings too; no request shows or changes them. See api.h. */
#include "node/api.h"

#include "node/retain.h"

#include <stdio.h>

static const struct tier_setting {
    const char *name;    /* of the field */
    const char *buckets; /* for people */
} tiers[RETAIN_TIERS] = {
    {"retain_minute", "minutes"},
    {"retain_hour", "hours"},
    {"retain_day", "days"},
};

struct settings_body {
    uint64_t retain_s[RETAIN_TIERS];
    bool confirm;
};

#define RETAIN(name, tier, about)                                              \
    {                                                                          \
        name, BODY_DURATION, false, 0, RETAIN_S_MAX,                           \
            offsetof(struct settings_body, retain_s[tier]), about              \
    }
static const struct body_field settings_fields[] = {
    RETAIN("retain_minute", 0, "how long minutes are kept; at least 1h"),
    RETAIN("retain_hour", 1, "how long hours are kept; at least 24h"),
    RETAIN("retain_day", 2, "how long days are kept; at least 48h"),
    {"confirm", BODY_BOOL, false, 0, 0, offsetof(struct settings_body, confirm),
     "true: history that a shorter time ends may be deleted"},
};
#undef RETAIN
const struct body_schema settings_schema = {
    settings_fields, sizeof settings_fields / sizeof *settings_fields};

/* --- the answer ----------------------------------------------------------- */

/* False before the cluster is founded. */
static bool read_retention(struct http_request *rq, uint64_t out[RETAIN_TIERS])
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct settings *s = roster_settings(r);
    bool there = s != NULL && s->present;
    if (there) {
        out[0] = s->retain_minute_s;
        out[1] = s->retain_hour_s;
        out[2] = s->retain_day_s;
    }
    roster_read_unlock(r);
    if (!there)
        http_error(rq, 503, "no_settings",
                   "the cluster is not founded yet: it has no settings");
    return there;
}

void api_settings(struct http_request *rq)
{
    uint64_t retain_s[RETAIN_TIERS];
    struct json_out *o = &rq->json;
    if (!read_retention(rq, retain_s))
        return;
    out_object(o);
    for (size_t i = 0; i < RETAIN_TIERS; i++) {
        char text[RETAIN_TEXT_SIZE], seconds[32];
        retain_format(retain_s[i], text);
        snprintf(seconds, sizeof seconds, "%s_s", tiers[i].name);
        out_member(o, tiers[i].name, text);
        out_member_uint(o, seconds, retain_s[i]);
    }
    out_object_end(o);
    http_answer(rq, 200);
}

/* --- changes -------------------------------------------------------------- */

/* On failure the refusal is written. */
static bool may_become(struct http_request *rq, const uint64_t now_s[],
                       const struct settings_body *wish)
{
    char before[RETAIN_TEXT_SIZE], after[RETAIN_TEXT_SIZE];
    struct errmsg e;
    for (size_t i = 0; i < RETAIN_TIERS; i++)
        if (retain_check(wish->retain_s, now_s, i, &e) != 0) {
            http_error(rq, 400, "invalid", "%s: %s", tiers[i].name, e.text);
            return false;
        }
    for (size_t i = 0; i < RETAIN_TIERS && !wish->confirm; i++) {
        if (!retain_is_shorter(wish->retain_s[i], now_s[i]))
            continue;
        http_error(rq, 409, "confirm",
                   "%s: from %s to %s, all %s older than that are deleted for "
                   "good; if so, send \"confirm\": true (holdfastctl: --yes)",
                   tiers[i].name, retain_words(now_s[i], before),
                   retain_words(wish->retain_s[i], after), tiers[i].buckets);
        return false;
    }
    return true;
}

bool api_level_is_there(struct http_request *rq, enum record_kind kind)
{
    unsigned level = store_level(rq->node->store);
    unsigned wanted = store_level_of(kind);
    if (level >= wanted)
        return true;
    http_error(rq, 409, "level",
               "this needs feature level %u, the cluster has %u: upgrade every "
               "member first",
               wanted, level);
    return false;
}

static void changed(struct http_request *rq, int status)
{
    if (!http_write_failed(rq, status, "settings"))
        api_settings(rq);
}

void api_settings_change(struct http_request *rq)
{
    uint64_t now_s[RETAIN_TIERS];
    struct settings_body wish = {.confirm = false};
    struct body body = {NULL};
    if (!read_retention(rq, now_s))
        return;
    memcpy(wish.retain_s, now_s, sizeof now_s);
    if (http_read_body(rq, &body, &wish) == 0 && may_become(rq, now_s, &wish) &&
        api_level_is_there(rq, RECORD_SETTINGS_CHANGE)) {
        struct settings_change change = {
            .has_minute = wish.retain_s[0] != now_s[0],
            .has_hour = wish.retain_s[1] != now_s[1],
            .has_day = wish.retain_s[2] != now_s[2],
            .retain_minute_s = wish.retain_s[0],
            .retain_hour_s = wish.retain_s[1],
            .retain_day_s = wish.retain_s[2],
        };
        struct buf record = {0};
        if (change.has_minute || change.has_hour || change.has_day) {
            record_put_settings_change(&record, &change);
            http_submit(rq, &record, changed);
        } else {
            api_settings(rq);
        }
    }
    body_close(&body);
}
