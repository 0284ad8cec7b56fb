#include "store/test/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 200000, SMALL_MAX = 256, SPANS = 3 };

static const uint64_t spans_s[SPANS] = {60, 3600, 86400};

struct row {
    uint64_t span_s; /* of its tier */
    uint32_t bucket, location, device, gateway;
    uint64_t up, down;
};

struct last {
    uint32_t location, device, gateway;
    uint64_t up, down, handshake, time, origin, seen, connected;
    char endpoint[32];
};

struct host {
    uint32_t id, location;
    bool native;
    unsigned identity;
    uint64_t session, sequence, sampled, machine;
};

/* Bytes by slot, without a time. */
struct moved {
    uint32_t location, device, gateway;
    uint64_t up, down;
};

struct heard {
    uint32_t gateway, minute;
};

struct dev {
    uint32_t id;
    unsigned key;
    bool there;
};

struct loc {
    uint32_t id;
    bool there, accepts;
};

struct model {
    uint64_t now, retain_s[SPANS];
    bool settings;
    uint32_t horizon[SPANS];
    struct row rows[LIST_MAX];
    size_t row_count;
    struct last lasts[SMALL_MAX];
    size_t last_count;
    struct host hosts[SMALL_MAX];
    size_t host_count;
    struct moved moved[SMALL_MAX];
    size_t moved_count;
    struct heard heards[LIST_MAX];
    size_t heard_count;
    struct dev devs[SMALL_MAX];
    size_t dev_count;
    struct loc locs[SMALL_MAX];
    size_t loc_count;
};

struct model *model_create(void)
{
    return calloc(1, sizeof(struct model));
}

void model_destroy(struct model *m)
{
    free(m);
}

static void add_row(struct model *m, uint64_t span_s, uint32_t bucket,
                    uint32_t location, uint32_t device, uint32_t gateway,
                    uint64_t up, uint64_t down)
{
    for (size_t i = m->row_count; i-- > 0;) {
        struct row *r = &m->rows[i];
        if (r->span_s == span_s && r->bucket == bucket &&
            r->location == location && r->device == device &&
            r->gateway == gateway) {
            r->up += up;
            r->down += down;
            return;
        }
    }
    if (m->row_count == LIST_MAX)
        abort();
    m->rows[m->row_count++] =
        (struct row){span_s, bucket, location, device, gateway, up, down};
}

static void add(struct model *m, uint64_t time_ms, uint32_t location,
                uint32_t device, uint32_t gateway, uint64_t up, uint64_t down)
{
    for (size_t i = 0; i < SPANS; i++) {
        uint32_t bucket = (uint32_t)(time_ms / 1000 / spans_s[i]);
        if (bucket >= m->horizon[i])
            add_row(m, spans_s[i], bucket, location, device, gateway, up, down);
    }
}

static struct loc *find_location(struct model *m, uint32_t id)
{
    return id >= 1 && id <= m->loc_count && m->locs[id - 1].there
               ? &m->locs[id - 1]
               : NULL;
}

uint32_t model_device_of(const struct model *m, unsigned key)
{
    for (size_t i = 0; i < m->dev_count; i++)
        if (m->devs[i].key == key && m->devs[i].there)
            return m->devs[i].id;
    return 0;
}

static uint32_t make_device(struct model *m, unsigned key)
{
    uint32_t id = (uint32_t)m->dev_count + 1;
    m->devs[m->dev_count++] = (struct dev){id, key, true};
    return id;
}

static struct last *find_last(struct model *m, uint32_t location,
                              uint32_t device, uint32_t gateway)
{
    for (size_t i = 0; i < m->last_count; i++) {
        struct last *l = &m->lasts[i];
        if (l->location == location && l->device == device &&
            l->gateway == gateway) {
            if (l->seen + (uint64_t)30 * 86400000 >= m->now)
                return l;
            *l = m->lasts[--m->last_count]; /* 30 days unseen: forgotten */
            return NULL;
        }
    }
    return NULL;
}

static struct host *find_host(struct model *m, const struct model_command *c)
{
    bool native = c->kind == MODEL_NATIVE;
    for (size_t i = 0; i < m->host_count; i++) {
        struct host *h = &m->hosts[i];
        if (h->location == c->location && h->identity == c->identity &&
            h->native == native)
            return h;
    }
    struct host *h = &m->hosts[m->host_count++];
    *h = (struct host){.id = (uint32_t)m->host_count,
                       .location = c->location,
                       .native = native,
                       .identity = c->identity};
    return h;
}

static uint32_t device_of_peer(struct model *m, const struct loc *l,
                               const struct model_peer *p)
{
    if (p->device != 0)
        return p->device <= m->dev_count && m->devs[p->device - 1].there
                   ? p->device
                   : 0;
    uint32_t id = model_device_of(m, p->key);
    if (id == 0 && l->accepts)
        id = make_device(m, p->key);
    return id;
}

/* Rule 1 with the machine, rule 2 with the receipt stamp, rule 3. Returns
 * whether the sample becomes the stored one. */
static bool judge(const struct last *old, const struct last *new, bool native,
                  bool from_zero, uint64_t *up, uint64_t *down)
{
    *up = *down = 0;
    bool fell = old != NULL && (new->up < old->up || new->down < old->down);
    if (native) {
        if (from_zero) {
            *up = new->up;
            *down = new->down;
            return true;
        }
        if (old == NULL || (old->origin != 0 && old->origin != new->origin))
            return true;
    } else {
        if (old == NULL)
            return true;
        if (new->time < old->time)
            return false;
        if (new->origin != old->origin)
            return new->time > old->time;
        if (new->handshake < old->handshake)
            return false;
        if (new->handshake == old->handshake && fell)
            return false;
        if (new->handshake == old->handshake &&new->time ==
            old->time &&new->up == old->up &&new->down == old->down)
            return false;
    }
    *up = fell ? new->up : new->up - old->up;
    *down = fell ? new->down : new->down - old->down;
    return true;
}

static void note_moved(struct model *m, const struct last *slot, uint64_t up,
                       uint64_t down)
{
    size_t i = 0;
    while (i < m->moved_count && (m->moved[i].location != slot->location ||
                                  m->moved[i].device != slot->device ||
                                  m->moved[i].gateway != slot->gateway))
        i++;
    if (i == SMALL_MAX)
        abort();
    if (i == m->moved_count)
        m->moved[m->moved_count++] =
            (struct moved){slot->location, slot->device, slot->gateway, 0, 0};
    m->moved[i].up += up;
    m->moved[i].down += down;
}

/* --- rules 5 and 8 ----------------------------------------------------------
 */

static bool was_heard(const struct model *m, uint32_t gateway, uint32_t minute)
{
    for (size_t i = m->heard_count; i-- > 0;)
        if (m->heards[i].gateway == gateway && m->heards[i].minute == minute)
            return true;
    return false;
}

static void note_heard(struct model *m, uint32_t gateway, uint32_t minute)
{
    if (was_heard(m, gateway, minute))
        return;
    if (m->heard_count == LIST_MAX)
        abort();
    m->heards[m->heard_count++] = (struct heard){gateway, minute};
}

/* The minutes in which nobody heard the gateway, before those up to @minute in
 * which somebody did: their number, and the first. */
static uint32_t find_gap(const struct model *m, uint32_t gateway,
                         uint32_t minute, uint32_t *first, uint32_t *end)
{
    uint32_t last = 0;
    *end = minute;
    while (was_heard(m, gateway, *end - 1))
        --*end;
    for (size_t i = 0; i < m->heard_count; i++)
        if (m->heards[i].gateway == gateway && m->heards[i].minute < *end &&
            m->heards[i].minute > last)
            last = m->heards[i].minute;
    if (last == 0)
        return 0;
    *first = last + 1;
    if (*end - *first > 1440)
        *first = *end - 1440;
    if (*first < m->horizon[0])
        *first = m->horizon[0];
    return *first < *end ? *end - *first : 0;
}

/* What defguard's gateway moved: now, or in the minutes in which it was not
 * heard, if this is the first of the peer since then and follows soon. */
static void add_legacy(struct model *m, uint32_t minute,
                       const struct last *slot, uint64_t seen_before,
                       uint64_t up, uint64_t down)
{
    uint32_t first, end;
    uint32_t minutes = find_gap(m, slot->gateway, minute, &first, &end);
    if (minutes == 0 || seen_before / 60000 >= end || minute - end >= 2) {
        add(m, (uint64_t)minute * 60000, slot->location, slot->device,
            slot->gateway, up, down);
        add(m, (uint64_t)minute * 60000, slot->location, 0, slot->gateway, up,
            down);
        return;
    }
    uint32_t parts = minutes < 60 ? minutes : 60;
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t at = first + (i * minutes + slot->device % minutes) / parts;
        uint64_t u = up / parts + (i < up % parts);
        uint64_t d = down / parts + (i < down % parts);
        if (u == 0 && d == 0)
            continue;
        add(m, (uint64_t)at * 60000, slot->location, slot->device,
            slot->gateway, u, d);
        add(m, (uint64_t)at * 60000, slot->location, 0, slot->gateway, u, d);
    }
}

static void apply_presence(struct model *m, const struct model_command *c,
                           struct outcome *o)
{
    if (c->minute != m->now / 60000) {
        o->code = OUTCOME_DUPLICATE;
        return;
    }
    for (size_t i = 0; i < c->gateway_count; i++) {
        uint32_t id = c->gateways[i];
        const struct host *h = id <= m->host_count ? &m->hosts[id - 1] : NULL;
        if (h == NULL || h->native || find_location(m, h->location) == NULL)
            continue;
        note_heard(m, id, c->minute);
        add(m, (uint64_t)c->minute * 60000, h->location, 0, id, 0, 0);
    }
}

static void apply_batch(struct model *m, const struct model_command *c,
                        struct outcome *o)
{
    struct loc *l = find_location(m, c->location);
    if (l == NULL) {
        o->code = OUTCOME_NOTFOUND;
        return;
    }
    struct host *h = find_host(m, c);
    bool native = c->kind == MODEL_NATIVE;
    uint64_t time = m->now;
    if (native) {
        bool newer = c->session > h->session;
        if (c->session < h->session) {
            o->code = OUTCOME_SUPERSEDED;
            o->value = h->session;
        } else if (!newer && c->sequence <= h->sequence) {
            o->code = OUTCOME_DUPLICATE;
        } else if (c->sequence != (newer ? 1 : h->sequence + 1)) {
            o->code = OUTCOME_GAP;
            o->value = newer ? 1 : h->sequence + 1;
        }
        if (o->code != OUTCOME_TAKEN)
            return;
        time = c->sampled_ms;
        if (!newer && time < h->sampled)
            time = h->sampled;
        if (time > m->now)
            time = m->now;
        h->session = c->session;
        h->sequence = c->sequence;
        h->sampled = time;
        if (c->sequence == 1 && c->has_machine)
            h->machine = c->machine;
    }
    uint32_t minute = (uint32_t)(time / 60000);
    bool heard = native || c->peer_count == 0;
    for (size_t i = 0; i < c->peer_count; i++) {
        const struct model_peer *p = &c->peers[i];
        uint64_t rec = p->rec_ms < m->now ? p->rec_ms : m->now;
        if (!native && rec + (uint64_t)7 * 86400000 < m->now)
            continue;
        uint32_t device = device_of_peer(m, l, p);
        if (device == 0)
            continue;
        uint64_t ahead = m->now / 1000 + 300;
        struct last new = {.location = c->location,
                           .device = device,
                           .gateway = h->id,
                           .up = p->upload,
                           .down = p->download,
                           .handshake =
                               p->handshake < ahead ? p->handshake : ahead,
                           .time = native ? time : rec,
                           .origin = native ? h->machine : c->address,
                           .seen = m->now};
        struct last *old = find_last(m, c->location, device, h->id);
        uint64_t up, down;
        if (!judge(old, &new, native, p->from_zero, &up, &down))
            continue;
        heard = true;
        uint64_t seen_before = old == NULL ? 0 : old->seen;
        /* A break is more than the location's 300 s between handshakes. */
        bool broken = old == NULL || old->connected == 0 ||
                      new.handshake > old->handshake + 300 ||
                      new.handshake < old->connected;
        new.connected = broken ? new.handshake : old->connected;
        if (old == NULL)
            old = &m->lasts[m->last_count++];
        else
            memcpy(new.endpoint, old->endpoint, sizeof new.endpoint);
        if (p->has_endpoint)
            memcpy(new.endpoint, p->endpoint, sizeof new.endpoint);
        *old = new;
        note_moved(m, old, up, down);
        if (up == 0 && down == 0)
            continue;
        if (native) {
            add(m, (uint64_t)minute * 60000, c->location, device, h->id, up,
                down);
            add(m, (uint64_t)minute * 60000, c->location, 0, h->id, up, down);
        } else {
            add_legacy(m, minute, old, seen_before, up, down);
        }
    }
    if (!heard)
        return;
    add(m, (uint64_t)minute * 60000, c->location, 0, h->id, 0, 0);
    if (!native)
        note_heard(m, h->id, minute);
}

static void expire(struct model *m, size_t tier, uint64_t before_ms)
{
    uint64_t span_ms = spans_s[tier] * 1000;
    uint64_t before = before_ms / span_ms, now = m->now / span_ms;
    uint64_t kept = m->retain_s[tier] / spans_s[tier];
    uint32_t *horizon = &m->horizon[tier];
    if (m->retain_s[tier] == 0 || now == before)
        return;
    if (*horizon == 0)
        *horizon = (uint32_t)(before > kept ? before - kept : 0);
    for (int i = 0; i < 2; i++)
        if (*horizon + kept < now)
            (*horizon)++;
    size_t left = 0;
    for (size_t i = 0; i < m->row_count; i++)
        if (m->rows[i].span_s != spans_s[tier] || m->rows[i].bucket >= *horizon)
            m->rows[left++] = m->rows[i];
    m->row_count = left;
}

static void set_time(struct model *m, uint64_t log_time_ms)
{
    if (log_time_ms <= m->now)
        return;
    uint64_t before_ms = m->now;
    m->now = log_time_ms;
    for (size_t tier = 0; tier < SPANS && before_ms != 0 && m->settings; tier++)
        expire(m, tier, before_ms);
}

static void apply_command(struct model *m, const struct model_command *c,
                          struct outcome *o)
{
    switch (c->kind) {
    case MODEL_NATIVE:
    case MODEL_LEGACY:
        apply_batch(m, c, o);
        break;
    case MODEL_PRESENCE:
        apply_presence(m, c, o);
        break;
    case MODEL_TICK:
    case MODEL_DIGEST:
        break;
    case MODEL_SETTINGS:
        if (m->settings) {
            o->code = OUTCOME_EXISTS;
            break;
        }
        m->settings = true;
        memcpy(m->retain_s, c->retain_s, sizeof m->retain_s);
        break;
    case MODEL_LOCATION_CREATE:
        o->value = m->loc_count + 1;
        m->locs[m->loc_count++] =
            (struct loc){(uint32_t)o->value, true, c->accept_unknown};
        break;
    case MODEL_LOCATION_DELETE: {
        struct loc *l = find_location(m, c->location);
        if (l != NULL)
            l->there = false;
        else
            o->code = OUTCOME_NOTFOUND;
        break;
    }
    case MODEL_DEVICE_CREATE:
        o->value = model_device_of(m, c->key);
        if (o->value != 0)
            o->code = OUTCOME_EXISTS;
        else
            o->value = make_device(m, c->key);
        break;
    case MODEL_DEVICE_DELETE:
        if (c->device >= 1 && c->device <= m->dev_count &&
            m->devs[c->device - 1].there)
            m->devs[c->device - 1].there = false;
        else
            o->code = OUTCOME_NOTFOUND;
        break;
    }
}

void model_apply(struct model *m, const struct model_step *step,
                 struct outcome outcomes[MODEL_COMMANDS_MAX])
{
    set_time(m, step->log_time_ms);
    for (size_t i = 0; i < step->count; i++) {
        outcomes[i] = (struct outcome){.code = OUTCOME_TAKEN};
        apply_command(m, &step->commands[i], &outcomes[i]);
    }
}

/* --- answers ----------------------------------------------------------------
 */

static int by_size(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    uint64_t p = x->upload + x->download, q = y->upload + y->download;
    if (p != q)
        return p < q ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static struct series *series_of(struct answer *out, uint32_t id)
{
    for (size_t i = 0; i < out->series_count; i++)
        if (out->series[i].id == id)
            return &out->series[i];
    struct series *s = &out->series[out->series_count++];
    s->id = id;
    s->points = calloc(out->bucket_count, sizeof *s->points);
    return s;
}

static bool is_asked(const struct query *q, const struct row *r)
{
    bool found = q->device_count == 0;
    for (size_t i = 0; i < q->device_count; i++)
        found |= q->devices[i] == r->device;
    return found && (q->location == 0 || r->location == q->location) &&
           (q->gateway == 0 || r->gateway == q->gateway);
}

/* Who was heard when, by gateway or by location; place 0: anyone. */
static bool *hearing_of(const struct model *m, const struct query *q,
                        size_t buckets)
{
    bool *heard = calloc(SMALL_MAX * buckets, 1);
    uint32_t first = (uint32_t)(q->from_s / q->resolution);
    for (size_t i = 0; i < m->row_count; i++) {
        const struct row *r = &m->rows[i];
        if (r->span_s != q->resolution || r->device != 0 || r->bucket < first ||
            r->bucket >= first + buckets ||
            (q->location != 0 && r->location != q->location) ||
            (q->gateway != 0 && r->gateway != q->gateway))
            continue;
        uint32_t who = q->by == BY_GATEWAY ? r->gateway : r->location;
        heard[who * buckets + r->bucket - first] = true;
        heard[r->bucket - first] = true;
    }
    return heard;
}

static void look_who_was_heard(struct answer *out, struct series *s,
                               const bool *heard, uint32_t who)
{
    for (size_t b = 0; b < out->bucket_count; b++)
        s->points[b].observed |= heard[who * out->bucket_count + b];
}

void model_query(const struct model *m, const struct query *q,
                 struct answer *out)
{
    *out =
        (struct answer){.from_s = q->from_s,
                        .log_time_ms = m->now,
                        .bucket_count = (q->to_s - q->from_s) / q->resolution};
    out->series = calloc(SMALL_MAX, sizeof *out->series);
    uint32_t first = (uint32_t)(q->from_s / q->resolution);
    bool of_devices = q->by == BY_DEVICE || q->device_count > 0;
    bool found = false;
    bool *heard = hearing_of(m, q, out->bucket_count);
    if (q->by == BY_NONE)
        series_of(out, q->location);
    for (size_t i = 0; i < m->row_count; i++) {
        const struct row *r = &m->rows[i];
        if (r->span_s != q->resolution || r->bucket < first ||
            r->bucket >= first + out->bucket_count ||
            (r->device == 0) == of_devices || !is_asked(q, r))
            continue;
        found = true;
        struct series *s = series_of(out, q->by == BY_NONE      ? q->location
                                          : q->by == BY_GATEWAY ? r->gateway
                                                                : r->device);
        struct point *p = &s->points[r->bucket - first];
        s->upload += r->up;
        s->download += r->down;
        p->upload += r->up;
        p->download += r->down;
        p->observed = true;
        if (of_devices)
            look_who_was_heard(out, s, heard,
                               q->by == BY_GATEWAY ? r->gateway : r->location);
    }
    if (of_devices && q->by == BY_NONE && !found)
        look_who_was_heard(out, &out->series[0], heard, 0);
    free(heard);
    out->series_total = out->series_count;
    qsort(out->series, out->series_count, sizeof *out->series, by_size);
}

bool model_slot(const struct model *m, uint32_t location, uint32_t device,
                uint32_t gateway, struct presence *out)
{
    for (size_t i = 0; i < m->last_count; i++) {
        const struct last *l = &m->lasts[i];
        if (l->location != location || l->device != device ||
            l->gateway != gateway || l->seen + (uint64_t)30 * 86400000 < m->now)
            continue;
        *out = (struct presence){.location = location,
                                 .device = device,
                                 .gateway = gateway,
                                 .handshake_s = l->handshake,
                                 .connected_s = l->connected,
                                 .sampled_ms = l->time,
                                 .upload = l->up,
                                 .download = l->down};
        memcpy(out->endpoint, l->endpoint, sizeof l->endpoint);
        return true;
    }
    return false;
}

size_t model_slot_count(const struct model *m)
{
    size_t count = 0;
    for (size_t i = 0; i < m->last_count; i++)
        count += m->lasts[i].seen + (uint64_t)30 * 86400000 >= m->now;
    return count;
}

uint64_t model_log_time_ms(const struct model *m)
{
    return m->now;
}

void model_moved(const struct model *m, uint32_t location, uint32_t device,
                 uint32_t gateway, uint64_t *up, uint64_t *down)
{
    *up = *down = 0;
    for (size_t i = 0; i < m->moved_count; i++) {
        const struct moved *b = &m->moved[i];
        if ((location != 0 && b->location != location) ||
            (device != 0 && b->device != device) ||
            (gateway != 0 && b->gateway != gateway))
            continue;
        *up += b->up;
        *down += b->down;
    }
}
