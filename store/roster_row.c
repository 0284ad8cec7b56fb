/* The roster as rows of (kind, id) -> bytes: what the store writes with its
 * transactions, what it loads at start and what the digest reads. Rows hold the
 * state and nothing that follows from it. docs/format.md, "Roster rows".
 * Applier thread, or before the threads start. */
#include "store/address.h"
#include "store/roster_spec.h"
#include "store/roster_state.h"

#include <stdlib.h>

enum { ROW_VERSION = 1 };

/* In the order in which rows are written and loaded: what refers to something
 * comes after it. */
enum row_kind {
    ROW_SEQUENCES = 1, /* id 0: the next ids */
    ROW_SETTINGS = 2,  /* id 0 */
    ROW_LOCATION = 3,
    ROW_DEVICE = 4,
    ROW_GATEWAY = 5,
    ROW_TOKEN = 6,
    ROW_MEMBERS = 7, /* id 0 */
};

/* --- writing ------------------------------------------------------------- */

static void put_sequences(struct buf *out, const struct roster *r)
{
    buf_put_varint(out, r->locations.next_id);
    buf_put_varint(out, r->devices.next_id);
    buf_put_varint(out, r->gateways.next_id);
    buf_put_varint(out, r->tokens.next_id);
}

static void put_settings(struct buf *out, const struct settings *s)
{
    struct settings_spec spec = {.gateway_secret = s->gateway_secret,
                                 .retain_minute_s = s->retain_minute_s,
                                 .retain_hour_s = s->retain_hour_s,
                                 .retain_day_s = s->retain_day_s};
    memcpy(spec.cluster_id, s->cluster_id, CLUSTER_ID_SIZE);
    spec_put_settings(out, &spec);
}

static void put_location(struct buf *out, const struct location *l)
{
    struct location_spec spec = {
        .name = l->name,
        .address = l->address,
        .endpoint = l->endpoint,
        .allowed_ips = l->allowed_ips,
        .dns = l->dns,
        .port = l->port,
        .keepalive_interval_s = l->keepalive_interval_s,
        .peer_disconnect_threshold_s = l->peer_disconnect_threshold_s,
        .accept_unknown_peers = l->accept_unknown_peers};
    spec_put_location(out, &spec);
    buf_put(out, l->private_key, sizeof l->private_key);
    buf_put(out, l->public_key, sizeof l->public_key);
    buf_put_varint(out, l->created_ms);
    buf_put_varint(out, l->next_host);
}

static void put_device(struct buf *out, const struct device *d)
{
    struct device_spec spec = {.kind = d->kind,
                               .name = d->name,
                               .user = d->user,
                               .description = d->description,
                               .location = d->location};
    memcpy(spec.public_key, d->public_key, PUBLIC_KEY_SIZE);
    spec_put_device(out, &spec);
    buf_put_varint(out, d->created_ms);
    buf_put_varint(out, d->attachment_count);
    for (size_t i = 0; i < d->attachment_count; i++) {
        buf_put_varint(out, d->attachments[i].location);
        buf_put_string(out, d->attachments[i].addresses);
    }
}

static void put_gateway(struct buf *out, const struct gateway *g)
{
    buf_put_varint(out, g->location);
    buf_put_u8(out, (uint8_t)g->kind);
    buf_put_string(out, g->identity);
    buf_put_string(out, g->hostname);
    buf_put_string(out, g->name);
    buf_put_varint(out, g->session);
    buf_put_varint(out, g->sequence);
    buf_put_varint(out, g->sampled_ms);
    buf_put_u64(out, g->machine);
    buf_put_varint(out, g->seen_ms);
    buf_put_varint(out, g->hearing.minute);
    buf_put_varint(out, g->hearing.gap_first);
    buf_put_varint(out, g->hearing.gap_end);
}

static void put_token(struct buf *out, const struct api_token *t)
{
    buf_put_string(out, t->name);
    buf_put(out, t->hash, API_TOKEN_HASH_SIZE);
}

/* The table of a kind; NULL for the kinds of one row. */
static const struct id_table *table_of(const struct roster *r,
                                       enum row_kind kind)
{
    switch (kind) {
    case ROW_LOCATION:
        return &r->locations;
    case ROW_DEVICE:
        return &r->devices;
    case ROW_GATEWAY:
        return &r->gateways;
    case ROW_TOKEN:
        return &r->tokens;
    case ROW_SEQUENCES:
    case ROW_SETTINGS:
    case ROW_MEMBERS:
        break;
    }
    return NULL;
}

/* The row into the cleared @out; nothing if there is no such object. */
static void put_row(struct buf *out, const struct roster *r, enum row_kind kind,
                    uint32_t id)
{
    const struct id_table *table = table_of(r, kind);
    const void *object = table == NULL ? NULL : id_table_get(table, id);
    buf_clear(out);
    if ((table != NULL && object == NULL) ||
        (kind == ROW_SETTINGS && !r->settings.present) ||
        (kind == ROW_MEMBERS && !roster_has_members(r)))
        return;
    buf_put_u8(out, ROW_VERSION);
    switch (kind) {
    case ROW_SEQUENCES:
        put_sequences(out, r);
        break;
    case ROW_SETTINGS:
        put_settings(out, &r->settings);
        break;
    case ROW_LOCATION:
        put_location(out, object);
        break;
    case ROW_DEVICE:
        put_device(out, object);
        break;
    case ROW_GATEWAY:
        put_gateway(out, object);
        break;
    case ROW_TOKEN:
        put_token(out, object);
        break;
    case ROW_MEMBERS:
        roster_put_members(out, r);
        break;
    }
}

/* One row to @fn. */
static int hand_over(const struct roster *r, struct buf *scratch,
                     enum row_kind kind, uint32_t id, roster_row_fn *fn,
                     void *arg)
{
    put_row(scratch, r, kind, id);
    if (buf_failed(scratch))
        return ERR_NOMEM;
    return fn(arg, (uint8_t)kind, id, buf_bytes(scratch));
}

int roster_each_dirty(struct roster *r, roster_row_fn *fn, void *arg)
{
    struct buf scratch = {0};
    int rc = 0;
    if (r->sequences_dirty)
        rc = hand_over(r, &scratch, ROW_SEQUENCES, 0, fn, arg);
    if (rc == 0 && r->settings_dirty)
        rc = hand_over(r, &scratch, ROW_SETTINGS, 0, fn, arg);
    for (int kind = ROW_LOCATION; rc == 0 && kind <= ROW_TOKEN; kind++) {
        const struct id_table *t = table_of(r, (enum row_kind)kind);
        for (uint32_t id = id_table_next_marked(t, 0); rc == 0 && id != 0;
             id = id_table_next_marked(t, id))
            rc = hand_over(r, &scratch, (enum row_kind)kind, id, fn, arg);
    }
    if (rc == 0 && r->members_dirty)
        rc = hand_over(r, &scratch, ROW_MEMBERS, 0, fn, arg);
    buf_deinit(&scratch);
    return rc;
}

int roster_each_row(const struct roster *r, roster_row_fn *fn, void *arg)
{
    struct buf scratch = {0};
    int rc = hand_over(r, &scratch, ROW_SEQUENCES, 0, fn, arg);
    if (rc == 0 && r->settings.present)
        rc = hand_over(r, &scratch, ROW_SETTINGS, 0, fn, arg);
    for (int kind = ROW_LOCATION; rc == 0 && kind <= ROW_TOKEN; kind++) {
        const struct id_table *t = table_of(r, (enum row_kind)kind);
        for (uint32_t id = 1; rc == 0 && id < t->capacity; id++) {
            if (id_table_get(t, id) != NULL)
                rc = hand_over(r, &scratch, (enum row_kind)kind, id, fn, arg);
        }
    }
    if (rc == 0 && roster_has_members(r))
        rc = hand_over(r, &scratch, ROW_MEMBERS, 0, fn, arg);
    buf_deinit(&scratch);
    return rc;
}

void roster_flushed(struct roster *r)
{
    r->sequences_dirty = false;
    r->settings_dirty = false;
    r->members_dirty = false;
    id_table_unmark_all(&r->locations);
    id_table_unmark_all(&r->devices);
    id_table_unmark_all(&r->gateways);
    id_table_unmark_all(&r->tokens);
}

/* --- loading ------------------------------------------------------------- */

/* Each of these returns 0, ERR_NOMEM, or ERR_CORRUPT; the caller checks the
 * reader when they are through. What cannot be put in is freed again. */

static int load_sequences(struct roster *r, struct reader *in)
{
    struct id_table *tables[] = {&r->locations, &r->devices, &r->gateways,
                                 &r->tokens};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        uint32_t next_id = reader_varint32(in);
        if (next_id == 0 || tables[i]->count > 0)
            return ERR_CORRUPT;
        tables[i]->next_id = next_id;
    }
    return 0;
}

static int load_settings(struct roster *r, struct reader *in)
{
    struct settings_fields f;
    spec_take_settings(in, &f);
    if (in->failed || r->settings.present)
        return ERR_CORRUPT;
    r->settings.gateway_secret = text_copy(f.gateway_secret);
    if (r->settings.gateway_secret == NULL)
        return ERR_NOMEM;
    r->settings.present = true;
    memcpy(r->settings.cluster_id, f.cluster_id, CLUSTER_ID_SIZE);
    r->settings.retain_minute_s = f.retain_minute_s;
    r->settings.retain_hour_s = f.retain_hour_s;
    r->settings.retain_day_s = f.retain_day_s;
    return 0;
}

static int fill_location(struct location *l, struct reader *in)
{
    struct location_fields f;
    struct subnets subnets;
    spec_take_location(in, &f);
    const uint8_t *private_key = spec_take_raw(in, sizeof l->private_key);
    const uint8_t *public_key = spec_take_raw(in, sizeof l->public_key);
    l->created_ms = reader_varint(in);
    l->next_host = reader_varint32(in);
    if (in->failed)
        return ERR_CORRUPT;
    memcpy(l->private_key, private_key, sizeof l->private_key);
    memcpy(l->public_key, public_key, sizeof l->public_key);
    l->port = f.port;
    l->keepalive_interval_s = f.keepalive_interval_s;
    l->peer_disconnect_threshold_s = f.peer_disconnect_threshold_s;
    l->accept_unknown_peers = f.accept_unknown_peers;
    l->name = text_copy(f.name);
    l->address = text_copy(f.address);
    l->endpoint = text_copy(f.endpoint);
    l->allowed_ips = text_copy(f.allowed_ips);
    l->dns = text_copy(f.dns);
    if (l->name == NULL || l->address == NULL || l->endpoint == NULL ||
        l->allowed_ips == NULL || l->dns == NULL)
        return ERR_NOMEM;
    return subnets_parse(l->address, &subnets) == 0 ? 0 : ERR_CORRUPT;
}

static int load_location(struct roster *r, uint32_t id, struct reader *in)
{
    struct location *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NOMEM;
    l->id = id;
    int rc = fill_location(l, in);
    if (rc == 0)
        rc = roster_insert_location(r, l);
    if (rc != 0)
        location_free(l);
    return rc;
}

/* In order of their locations, which are there. */
static int fill_attachments(const struct roster *r, struct device *d,
                            struct reader *in)
{
    uint64_t count = reader_varint(in);
    if (in->failed || count > r->locations.count)
        return ERR_CORRUPT;
    d->attachments = calloc((size_t)count + 1, sizeof *d->attachments);
    if (d->attachments == NULL)
        return ERR_NOMEM;
    uint32_t last = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t location = reader_varint32(in);
        struct bytes addresses = spec_take_text(in);
        if (in->failed || location <= last ||
            roster_location(r, location) == NULL)
            return ERR_CORRUPT;
        last = location;
        char *text = text_copy(addresses);
        if (text == NULL)
            return ERR_NOMEM;
        d->attachments[d->attachment_count++] =
            (struct attachment){location, text};
    }
    return 0;
}

static int fill_device(const struct roster *r, struct device *d,
                       struct reader *in)
{
    struct device_fields f;
    spec_take_device(in, &f);
    d->created_ms = reader_varint(in);
    if (in->failed || roster_device_by_key(r, f.public_key) != 0)
        return ERR_CORRUPT;
    d->kind = f.kind;
    d->location = f.location;
    memcpy(d->public_key, f.public_key, PUBLIC_KEY_SIZE);
    d->name = text_copy(f.name);
    d->user = text_copy(f.user);
    d->description = text_copy(f.description);
    if (d->name == NULL || d->user == NULL || d->description == NULL)
        return ERR_NOMEM;
    return fill_attachments(r, d, in);
}

static int load_device(struct roster *r, uint32_t id, struct reader *in)
{
    struct device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return ERR_NOMEM;
    d->id = id;
    int rc = fill_device(r, d, in);
    if (rc == 0)
        rc = roster_insert_device(r, d);
    if (rc != 0)
        device_free(d);
    return rc;
}

static int fill_gateway(const struct roster *r, struct gateway *g,
                        struct reader *in)
{
    g->location = reader_varint32(in);
    uint8_t kind = reader_u8(in);
    struct bytes identity = spec_take_text(in);
    struct bytes hostname = spec_take_text(in);
    struct bytes name = spec_take_text(in);
    g->session = reader_varint(in);
    g->sequence = reader_varint(in);
    g->sampled_ms = reader_varint(in);
    g->machine = reader_u64(in);
    g->seen_ms = reader_varint(in);
    g->hearing.minute = reader_varint32(in);
    g->hearing.gap_first = reader_varint32(in);
    g->hearing.gap_end = reader_varint32(in);
    if (in->failed || kind > GATEWAY_LEGACY ||
        g->hearing.gap_first > g->hearing.gap_end ||
        g->hearing.gap_end > g->hearing.minute)
        return ERR_CORRUPT;
    g->kind = (enum gateway_kind)kind;
    if (roster_gateway_by_identity(r, g->location, g->kind, identity, name) !=
        0)
        return ERR_CORRUPT;
    g->identity = text_copy(identity);
    g->hostname = text_copy(hostname);
    g->name = text_copy(name);
    return g->identity == NULL || g->hostname == NULL || g->name == NULL
               ? ERR_NOMEM
               : 0;
}

static int load_gateway(struct roster *r, uint32_t id, struct reader *in)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (g == NULL)
        return ERR_NOMEM;
    g->id = id;
    int rc = fill_gateway(r, g, in);
    if (rc == 0)
        rc = roster_insert_gateway(r, g);
    if (rc != 0)
        gateway_free(g);
    return rc;
}

static int load_token(struct roster *r, uint32_t id, struct reader *in)
{
    struct bytes name = spec_take_text(in);
    const uint8_t *hash = spec_take_raw(in, API_TOKEN_HASH_SIZE);
    if (in->failed)
        return ERR_CORRUPT;
    struct api_token *t = calloc(1, sizeof *t);
    if (t == NULL)
        return ERR_NOMEM;
    t->id = id;
    memcpy(t->hash, hash, API_TOKEN_HASH_SIZE);
    t->name = text_copy(name);
    int rc = t->name == NULL ? ERR_NOMEM : roster_insert_token(r, t);
    if (rc != 0)
        api_token_free(t);
    return rc;
}

static int load_body(struct roster *r, uint8_t kind, uint32_t id,
                     struct reader *in)
{
    switch (kind) {
    case ROW_SEQUENCES:
        return load_sequences(r, in);
    case ROW_SETTINGS:
        return load_settings(r, in);
    case ROW_LOCATION:
        return load_location(r, id, in);
    case ROW_DEVICE:
        return load_device(r, id, in);
    case ROW_GATEWAY:
        return load_gateway(r, id, in);
    case ROW_TOKEN:
        return load_token(r, id, in);
    case ROW_MEMBERS:
        return roster_load_members(r, in);
    default:
        return ERR_CORRUPT;
    }
}

/* The id is one that was given out and is not there yet. */
static bool id_is_good(const struct roster *r, uint8_t kind, uint32_t id)
{
    const struct id_table *t = kind >= ROW_SEQUENCES && kind <= ROW_TOKEN
                                   ? table_of(r, (enum row_kind)kind)
                                   : NULL;
    if (t == NULL)
        return id == 0;
    return id != 0 && id < t->next_id && id_table_get(t, id) == NULL;
}

int roster_load_row(struct roster *r, uint8_t kind, uint32_t id,
                    struct bytes row, struct errmsg *e)
{
    struct reader in = reader_of(row);
    uint8_t version = reader_u8(&in);
    if (version > ROW_VERSION || kind > ROW_MEMBERS)
        return errmsg_set(e, ERR_NEWER,
                          "roster row %u/%u has version %u, this program "
                          "knows %d: run a newer one",
                          (unsigned)kind, (unsigned)id, (unsigned)version,
                          ROW_VERSION);
    int rc = version == 0 || !id_is_good(r, kind, id)
                 ? ERR_CORRUPT
                 : load_body(r, kind, id, &in);
    if (rc == ERR_NEWER)
        return errmsg_set(e, rc,
                          "the cluster has agreed on a feature level above %d: "
                          "run a newer version",
                          LEVEL_NEWEST);
    if (rc == 0 && (in.failed || in.size > 0))
        rc = ERR_CORRUPT;
    if (rc != 0)
        return errmsg_set(e, rc, "roster row %u/%u: %s", (unsigned)kind,
                          (unsigned)id, err_text(rc));
    return 0;
}

const uint8_t roster_settings_key[ROSTER_KEY_SIZE] = {ROW_SETTINGS};

int roster_rename_settings(struct bytes row, const uint8_t cluster_id[],
                           struct buf *out)
{
    struct reader in = reader_of(row);
    uint8_t version = reader_u8(&in);
    struct reader rest = in;
    struct settings_fields f;
    spec_take_settings(&in, &f);
    if (version > ROW_VERSION)
        return ERR_NEWER;
    if (version == 0 || in.failed || in.size > 0)
        return ERR_CORRUPT;
    /* The cluster id comes first in the settings. */
    reader_take(&rest, CLUSTER_ID_SIZE);
    buf_put_u8(out, version);
    buf_put(out, cluster_id, CLUSTER_ID_SIZE);
    buf_put(out, rest.data, rest.size);
    return buf_failed(out) ? ERR_NOMEM : 0;
}
