/* What the configuration commands do to the roster. A command is checked as a
 * whole before it changes anything: what cannot be done is an outcome without
 * effect. Applier thread, under the write lock. Reads the record and the roster
 * and nothing else (DESIGN, rule 7). */
#include "store/address.h"
#include "store/roster_spec.h"
#include "store/roster_state.h"

#include "base/assert.h"

#include <stdlib.h>

struct command {
    struct roster *r;
    struct reader body;
    uint64_t index, log_time_ms;
    struct outcome *outcome;
};

static int finish(struct command *c, enum outcome_code code, uint64_t value)
{
    c->outcome->code = code;
    c->outcome->value = value;
    return 0;
}

/* The body was read to its end, and no further. */
static bool is_read(const struct command *c)
{
    return !c->body.failed && c->body.size == 0;
}

static void journal(struct command *c, enum change_kind kind, uint32_t id,
                    const uint8_t *key)
{
    journal_push(&c->r->journal, c->index, kind, id, key);
}

/* Rules that came later hold from their feature level on: every node applies
 * the same rule at the same index (docs/format.md, "Feature levels"). */
static bool at_level(const struct command *c, unsigned level)
{
    return c->r->members.level >= level;
}

/* Ends nowhere near 2^32 in practice; then creating stops. */
static bool is_full(const struct id_table *t, uint32_t max)
{
    return t->count >= max || t->next_id == UINT32_MAX;
}

/* Replaces an owned text. ERR_NOMEM. */
static int set_text(char **text, struct bytes value)
{
    char *copy = text_copy(value);
    if (copy == NULL)
        return ERR_NOMEM;
    free(*text);
    *text = copy;
    return 0;
}

/* --- settings and tokens ------------------------------------------------- */

static uint32_t token_by_hash(const struct roster *r, const uint8_t *hash)
{
    for (const struct api_token *t = id_table_next(&r->tokens, 0); t != NULL;
         t = id_table_next(&r->tokens, t->id)) {
        if (memcmp(t->hash, hash, API_TOKEN_HASH_SIZE) == 0)
            return t->id;
    }
    return 0;
}

static int add_token(struct roster *r, struct bytes name, const uint8_t *hash)
{
    struct api_token *t = calloc(1, sizeof *t);
    if (t == NULL)
        return ERR_NOMEM;
    t->id = r->tokens.next_id;
    memcpy(t->hash, hash, API_TOKEN_HASH_SIZE);
    t->name = text_copy(name);
    if (t->name == NULL || roster_insert_token(r, t) != 0) {
        api_token_free(t);
        return ERR_NOMEM;
    }
    id_table_mark(&r->tokens, t->id);
    return 0;
}

static int apply_settings(struct command *c)
{
    struct roster *r = c->r;
    struct settings_fields f;
    spec_take_settings(&c->body, &f);
    const uint8_t *admin = spec_take_raw(&c->body, API_TOKEN_HASH_SIZE);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    if (r->settings.present)
        return finish(c, OUTCOME_EXISTS, 0);
    if (set_text(&r->settings.gateway_secret, f.gateway_secret) != 0 ||
        add_token(r, bytes_of_string("admin"), admin) != 0)
        return ERR_NOMEM;
    r->settings.present = true;
    memcpy(r->settings.cluster_id, f.cluster_id, CLUSTER_ID_SIZE);
    r->settings.retain_minute_s = f.retain_minute_s;
    r->settings.retain_hour_s = f.retain_hour_s;
    r->settings.retain_day_s = f.retain_day_s;
    r->settings_dirty = true;
    return finish(c, OUTCOME_TAKEN, 0);
}

static int apply_settings_change(struct command *c)
{
    struct settings *s = &c->r->settings;
    struct settings_change change;
    spec_take_settings_change(&c->body, &change);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    if (!s->present)
        return finish(c, OUTCOME_NOTFOUND, 0);
    if (change.has_minute)
        s->retain_minute_s = change.retain_minute_s;
    if (change.has_hour)
        s->retain_hour_s = change.retain_hour_s;
    if (change.has_day)
        s->retain_day_s = change.retain_day_s;
    c->r->settings_dirty = true;
    return finish(c, OUTCOME_TAKEN, 0);
}

static int apply_token_create(struct command *c)
{
    struct bytes name = spec_take_text(&c->body);
    const uint8_t *hash = spec_take_raw(&c->body, API_TOKEN_HASH_SIZE);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    uint32_t there = token_by_hash(c->r, hash);
    if (there != 0)
        return finish(c, OUTCOME_EXISTS, there);
    if (is_full(&c->r->tokens, API_TOKENS_MAX))
        return finish(c, OUTCOME_LIMIT, 0);
    uint32_t id = c->r->tokens.next_id;
    if (add_token(c->r, name, hash) != 0)
        return ERR_NOMEM;
    return finish(c, OUTCOME_TAKEN, id);
}

static int apply_token_revoke(struct command *c)
{
    uint32_t id = reader_varint32(&c->body);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    struct api_token *t = id_table_get(&c->r->tokens, id);
    if (t == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    /* Without any token nobody could ever make one again. */
    if (at_level(c, 4) && c->r->tokens.count == 1)
        return finish(c, OUTCOME_LIMIT, 0);
    roster_remove_token(c->r, t);
    return finish(c, OUTCOME_TAKEN, id);
}

/* --- locations ----------------------------------------------------------- */

/* How many devices a location has, or a new one would have. */
static uint64_t devices_wanting(const struct roster *r, uint32_t location)
{
    uint64_t count = 0;
    for (const struct device *d = roster_next_device(r, 0); d != NULL;
         d = roster_next_device(r, d->id))
        count += device_wants(d, location);
    return count;
}

static int set_location(struct location *l, const struct location_fields *f)
{
    l->port = f->port;
    l->keepalive_interval_s = f->keepalive_interval_s;
    l->peer_disconnect_threshold_s = f->peer_disconnect_threshold_s;
    l->accept_unknown_peers = f->accept_unknown_peers;
    if (set_text(&l->name, f->name) != 0 ||
        set_text(&l->address, f->address) != 0 ||
        set_text(&l->endpoint, f->endpoint) != 0 ||
        set_text(&l->allowed_ips, f->allowed_ips) != 0 ||
        set_text(&l->dns, f->dns) != 0)
        return ERR_NOMEM;
    return 0;
}

/* ERR_INVALID for an address that is no list of CIDRs. */
static int parse_address(struct bytes address, struct subnets *out)
{
    char *text = text_copy(address);
    if (text == NULL)
        return ERR_NOMEM;
    int rc = subnets_parse(text, out);
    free(text);
    return rc;
}

static int apply_location_create(struct command *c)
{
    struct roster *r = c->r;
    struct location_fields f;
    struct subnets subnets;
    spec_take_location(&c->body, &f);
    const uint8_t *private_key = spec_take_raw(&c->body, 32);
    const uint8_t *public_key = spec_take_raw(&c->body, 32);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    int rc = parse_address(f.address, &subnets);
    if (rc != 0)
        return rc == ERR_NOMEM ? rc : finish(c, OUTCOME_INVALID, 0);
    uint32_t id = r->locations.next_id;
    if (is_full(&r->locations, LOCATIONS_MAX) ||
        subnets_room(&subnets, 1) < devices_wanting(r, id))
        return finish(c, OUTCOME_LIMIT, 0);

    struct location *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NOMEM;
    l->id = id;
    l->created_ms = c->log_time_ms;
    l->next_host = 1;
    memcpy(l->private_key, private_key, sizeof l->private_key);
    memcpy(l->public_key, public_key, sizeof l->public_key);
    if (set_location(l, &f) != 0 || roster_insert_location(r, l) != 0) {
        location_free(l);
        return ERR_NOMEM;
    }
    id_table_mark(&r->locations, id);
    if (roster_attach_all(r, l) != 0)
        return ERR_NOMEM;
    journal(c, CHANGE_LOCATION_CREATED, id, NULL);
    return finish(c, OUTCOME_TAKEN, id);
}

/* The device that has one of the gateway's addresses, 0 if none. */
static uint32_t device_at_gateway(const struct roster *r, uint32_t location,
                                  const struct subnets *subnets)
{
    for (const struct device *d = roster_next_device(r, 0); d != NULL;
         d = roster_next_device(r, d->id)) {
        const struct attachment *a = device_attachment(d, location);
        if (a != NULL && subnets_gateway_in(subnets, a->addresses))
            return d->id;
    }
    return 0;
}

/* Where the networks stay, or grow at their end, devices keep their addresses;
 * in others all get new ones, from the first host on. */
static int apply_location_change(struct command *c)
{
    struct roster *r = c->r;
    struct location_fields f;
    struct subnets before, after;
    uint32_t id = reader_varint32(&c->body);
    spec_take_location(&c->body, &f);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    struct location *l = id_table_get(&r->locations, id);
    if (l == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    int rc = parse_address(f.address, &after);
    if (rc != 0)
        return rc == ERR_NOMEM ? rc : finish(c, OUTCOME_INVALID, 0);
    rc = subnets_parse(l->address, &before);
    ASSERT(rc == 0);
    bool readdress = !subnets_keep_hosts(&before, &after);
    uint32_t holder = readdress ? 0 : device_at_gateway(r, id, &after);
    if (holder != 0)
        return finish(c, OUTCOME_EXISTS, holder);
    if (readdress && subnets_room(&after, 1) < devices_wanting(r, id))
        return finish(c, OUTCOME_LIMIT, 0);

    if (set_location(l, &f) != 0)
        return ERR_NOMEM;
    id_table_mark(&r->locations, id);
    if (readdress) {
        l->next_host = 1;
        if (roster_readdress_all(r, l) != 0)
            return ERR_NOMEM;
    }
    journal(c, CHANGE_LOCATION_CHANGED, id, NULL);
    return finish(c, OUTCOME_TAKEN, id);
}

static int apply_location_delete(struct command *c)
{
    uint32_t id = reader_varint32(&c->body);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    struct location *l = id_table_get(&c->r->locations, id);
    if (l == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    roster_detach_all(c->r, id);
    roster_remove_location(c->r, l);
    journal(c, CHANGE_LOCATION_DELETED, id, NULL);
    return finish(c, OUTCOME_TAKEN, id);
}

/* --- devices ------------------------------------------------------------- */

static int set_device(struct device *d, const struct device_fields *f)
{
    if (set_text(&d->name, f->name) != 0 || set_text(&d->user, f->user) != 0 ||
        set_text(&d->description, f->description) != 0)
        return ERR_NOMEM;
    return 0;
}

/* A network device is in one location; 0 would put it into all. */
static bool is_astray(const struct command *c, const struct device_fields *f)
{
    return at_level(c, 4) && f->kind == DEVICE_NETWORK && f->location == 0;
}

static int apply_device_create(struct command *c)
{
    struct roster *r = c->r;
    struct device_fields f;
    spec_take_device(&c->body, &f);
    if (!is_read(c) || f.kind == DEVICE_UNCLAIMED || is_astray(c, &f))
        return finish(c, OUTCOME_INVALID, 0);
    uint32_t there = roster_device_by_key(r, f.public_key);
    if (there != 0)
        return finish(c, OUTCOME_EXISTS, there);
    if (f.location != 0 && roster_location(r, f.location) == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    struct device probe = {.kind = f.kind, .location = f.location};
    if (is_full(&r->devices, DEVICES_MAX) || !roster_has_room_for(r, &probe))
        return finish(c, OUTCOME_LIMIT, 0);

    struct device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return ERR_NOMEM;
    d->id = r->devices.next_id;
    d->kind = f.kind;
    d->location = f.location;
    d->created_ms = c->log_time_ms;
    memcpy(d->public_key, f.public_key, PUBLIC_KEY_SIZE);
    if (set_device(d, &f) != 0 || roster_insert_device(r, d) != 0) {
        device_free(d);
        return ERR_NOMEM;
    }
    id_table_mark(&r->devices, d->id);
    bool lost;
    if (roster_attach_device(r, d, &lost) != 0)
        return ERR_NOMEM;
    journal(c, CHANGE_DEVICE_CREATED, d->id, d->public_key);
    return finish(c, OUTCOME_TAKEN, d->id);
}

/* Whether the change may be made: TAKEN, or why not and @value. */
static enum outcome_code check_change(struct roster *r, const struct device *d,
                                      const struct device_fields *f,
                                      uint64_t *value)
{
    uint32_t holder = roster_device_by_key(r, f->public_key);
    if (holder != 0 && holder != d->id) {
        *value = holder;
        return OUTCOME_EXISTS;
    }
    if (f->kind == DEVICE_UNCLAIMED)
        return d->kind == DEVICE_UNCLAIMED ? OUTCOME_TAKEN : OUTCOME_INVALID;
    if (f->location != 0 && roster_location(r, f->location) == NULL)
        return OUTCOME_NOTFOUND;
    struct device probe = *d; /* borrows the attachments */
    probe.kind = f->kind;
    probe.location = f->location;
    return roster_has_room_for(r, &probe) ? OUTCOME_TAKEN : OUTCOME_LIMIT;
}

/* The device takes the kind and place of @f; an unclaimed one that is claimed
 * leaves the count of its location. */
static int move_device(struct roster *r, struct device *d,
                       const struct device_fields *f, bool *lost)
{
    *lost = false;
    if (f->kind == DEVICE_UNCLAIMED)
        return 0;
    struct location *seen_in = id_table_get(&r->locations, d->location);
    if (d->kind == DEVICE_UNCLAIMED && seen_in != NULL)
        seen_in->unclaimed--;
    d->kind = f->kind;
    d->location = f->location;
    return roster_attach_device(r, d, lost);
}

static int apply_device_change(struct command *c)
{
    struct roster *r = c->r;
    struct device_fields f;
    uint32_t id = reader_varint32(&c->body);
    spec_take_device(&c->body, &f);
    if (!is_read(c) || is_astray(c, &f))
        return finish(c, OUTCOME_INVALID, 0);
    struct device *d = id_table_get(&r->devices, id);
    if (d == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    uint64_t value = 0;
    enum outcome_code code = check_change(r, d, &f, &value);
    if (code != OUTCOME_TAKEN)
        return finish(c, code, value);

    bool was_peer = d->kind != DEVICE_UNCLAIMED, lost;
    uint8_t key_before[PUBLIC_KEY_SIZE];
    memcpy(key_before, d->public_key, PUBLIC_KEY_SIZE);
    bool new_key = memcmp(key_before, f.public_key, PUBLIC_KEY_SIZE) != 0;
    id_table_mark(&r->devices, id);
    if (set_device(d, &f) != 0 || move_device(r, d, &f, &lost) != 0 ||
        (new_key && roster_change_key(r, d, f.public_key) != 0))
        return ERR_NOMEM;

    bool again = was_peer && (new_key || lost);
    if (again)
        journal(c, CHANGE_DEVICE_DELETED, id, key_before);
    if (d->kind != DEVICE_UNCLAIMED)
        journal(c,
                again || !was_peer ? CHANGE_DEVICE_CREATED
                                   : CHANGE_DEVICE_CHANGED,
                id, d->public_key);
    return finish(c, OUTCOME_TAKEN, id);
}

static int apply_device_delete(struct command *c)
{
    uint32_t id = reader_varint32(&c->body);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    struct device *d = id_table_get(&c->r->devices, id);
    if (d == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    if (d->kind != DEVICE_UNCLAIMED)
        journal(c, CHANGE_DEVICE_DELETED, id, d->public_key);
    roster_remove_device(c->r, d);
    return finish(c, OUTCOME_TAKEN, id);
}

/* --- gateways ------------------------------------------------------------ */

static int apply_gateway_delete(struct command *c)
{
    uint32_t id = reader_varint32(&c->body);
    if (!is_read(c))
        return finish(c, OUTCOME_INVALID, 0);
    struct gateway *g = id_table_get(&c->r->gateways, id);
    if (g == NULL)
        return finish(c, OUTCOME_NOTFOUND, 0);
    roster_remove_gateway(c->r, g);
    return finish(c, OUTCOME_TAKEN, id);
}

/* --- dispatch ------------------------------------------------------------ */

static int apply_body(struct command *c, enum record_kind kind)
{
    if (reader_u8(&c->body) != SPEC_VERSION)
        return finish(c, OUTCOME_INVALID, 0);
    switch ((int)kind) {
    case RECORD_SETTINGS:
        return apply_settings(c);
    case RECORD_LOCATION_CREATE:
        return apply_location_create(c);
    case RECORD_LOCATION_CHANGE:
        return apply_location_change(c);
    case RECORD_LOCATION_DELETE:
        return apply_location_delete(c);
    case RECORD_DEVICE_CREATE:
        return apply_device_create(c);
    case RECORD_DEVICE_CHANGE:
        return apply_device_change(c);
    case RECORD_DEVICE_DELETE:
        return apply_device_delete(c);
    case RECORD_GATEWAY_DELETE:
        return apply_gateway_delete(c);
    case RECORD_TOKEN_CREATE:
        return apply_token_create(c);
    case RECORD_TOKEN_REVOKE:
        return apply_token_revoke(c);
    case RECORD_LEVEL:
        return finish(c, roster_apply_level(c->r, &c->body), 0);
    case RECORD_SETTINGS_CHANGE:
        return apply_settings_change(c);
    case RECORD_MEMBER:
        return finish(c, roster_apply_member(c->r, &c->body), 0);
    default:
        return finish(c, OUTCOME_INVALID, 0);
    }
}

int roster_apply(struct roster *r, const struct record *record, uint64_t index,
                 uint64_t log_time_ms, struct outcome *outcome)
{
    struct command c = {.r = r,
                        .body = reader_of(record->body),
                        .index = index,
                        .log_time_ms = log_time_ms,
                        .outcome = outcome};
    *outcome = (struct outcome){.index = index};
    roster_write_lock(r);
    int rc = apply_body(&c, record->kind);
    roster_write_unlock(r);
    return rc;
}
