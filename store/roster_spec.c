#include "store/roster_spec.h"

/* Which times a settings change names. */
enum { NAMES_MINUTE = 1, NAMES_HOUR = 2, NAMES_DAY = 4 };

static void put_text(struct buf *out, const char *text)
{
    buf_put_string(out, text == NULL ? "" : text);
}

void spec_put_location(struct buf *out, const struct location_spec *spec)
{
    put_text(out, spec->name);
    put_text(out, spec->address);
    put_text(out, spec->endpoint);
    put_text(out, spec->allowed_ips);
    put_text(out, spec->dns);
    buf_put_varint(out, spec->port);
    buf_put_varint(out, spec->keepalive_interval_s);
    buf_put_varint(out, spec->peer_disconnect_threshold_s);
    buf_put_u8(out, spec->accept_unknown_peers);
}

void spec_put_device(struct buf *out, const struct device_spec *spec)
{
    buf_put_u8(out, (uint8_t)spec->kind);
    put_text(out, spec->name);
    put_text(out, spec->user);
    put_text(out, spec->description);
    buf_put(out, spec->public_key, PUBLIC_KEY_SIZE);
    buf_put_varint(out, spec->location);
}

void spec_put_settings(struct buf *out, const struct settings_spec *spec)
{
    buf_put(out, spec->cluster_id, CLUSTER_ID_SIZE);
    put_text(out, spec->gateway_secret);
    buf_put_varint(out, spec->retain_minute_s);
    buf_put_varint(out, spec->retain_hour_s);
    buf_put_varint(out, spec->retain_day_s);
}

void spec_put_settings_change(struct buf *out,
                              const struct settings_change *change)
{
    buf_put_u8(out, (uint8_t)((change->has_minute ? NAMES_MINUTE : 0) |
                              (change->has_hour ? NAMES_HOUR : 0) |
                              (change->has_day ? NAMES_DAY : 0)));
    if (change->has_minute)
        buf_put_varint(out, change->retain_minute_s);
    if (change->has_hour)
        buf_put_varint(out, change->retain_hour_s);
    if (change->has_day)
        buf_put_varint(out, change->retain_day_s);
}

struct bytes spec_take_text(struct reader *r)
{
    struct bytes text = reader_bytes(r);
    if (text.size > ROSTER_TEXT_LENGTH_MAX || !bytes_are_text(text))
        r->failed = true;
    return text;
}

const uint8_t *spec_take_raw(struct reader *r, size_t size)
{
    return reader_take(r, size).data;
}

static bool take_bool(struct reader *r)
{
    uint8_t value = reader_u8(r);
    if (value > 1)
        r->failed = true;
    return value == 1;
}

void spec_take_location(struct reader *r, struct location_fields *out)
{
    out->name = spec_take_text(r);
    out->address = spec_take_text(r);
    out->endpoint = spec_take_text(r);
    out->allowed_ips = spec_take_text(r);
    out->dns = spec_take_text(r);
    uint32_t port = reader_varint32(r);
    if (port > UINT16_MAX)
        r->failed = true;
    out->port = (uint16_t)port;
    out->keepalive_interval_s = reader_varint32(r);
    out->peer_disconnect_threshold_s = reader_varint32(r);
    out->accept_unknown_peers = take_bool(r);
}

void spec_take_device(struct reader *r, struct device_fields *out)
{
    uint8_t kind = reader_u8(r);
    if (kind > DEVICE_UNCLAIMED)
        r->failed = true;
    out->kind = (enum device_kind)kind;
    out->name = spec_take_text(r);
    out->user = spec_take_text(r);
    out->description = spec_take_text(r);
    out->public_key = spec_take_raw(r, PUBLIC_KEY_SIZE);
    out->location = reader_varint32(r);
}

void spec_take_settings(struct reader *r, struct settings_fields *out)
{
    out->cluster_id = spec_take_raw(r, CLUSTER_ID_SIZE);
    out->gateway_secret = spec_take_text(r);
    out->retain_minute_s = reader_varint(r);
    out->retain_hour_s = reader_varint(r);
    out->retain_day_s = reader_varint(r);
}

/* A time that the change names, 0 where it does not. */
static uint64_t take_retention(struct reader *r, bool named)
{
    uint64_t value = named ? reader_varint(r) : 0;
    if (value > RETAIN_S_MAX)
        r->failed = true;
    return value;
}

void spec_take_settings_change(struct reader *r, struct settings_change *out)
{
    uint8_t named = reader_u8(r);
    if (named == 0 || named >= NAMES_DAY << 1)
        r->failed = true;
    out->has_minute = (named & NAMES_MINUTE) != 0;
    out->has_hour = (named & NAMES_HOUR) != 0;
    out->has_day = (named & NAMES_DAY) != 0;
    out->retain_minute_s = take_retention(r, out->has_minute);
    out->retain_hour_s = take_retention(r, out->has_hour);
    out->retain_day_s = take_retention(r, out->has_day);
}

/* --- commands ------------------------------------------------------------ */

/* Frames the body that was built, and frees it. */
static void put_command(struct buf *out, enum record_kind kind,
                        struct buf *body)
{
    if (buf_failed(body))
        out->failed = true;
    else
        record_put(out, kind, buf_bytes(body));
    buf_deinit(body);
}

static struct buf begin_command(void)
{
    struct buf body = {0};
    buf_put_u8(&body, SPEC_VERSION);
    return body;
}

/* A command that says no more than which object. */
static void put_id_command(struct buf *out, enum record_kind kind, uint32_t id)
{
    struct buf body = begin_command();
    buf_put_varint(&body, id);
    put_command(out, kind, &body);
}

void record_put_settings(struct buf *out, const struct settings_spec *spec)
{
    struct buf body = begin_command();
    spec_put_settings(&body, spec);
    buf_put(&body, spec->admin_token_hash, API_TOKEN_HASH_SIZE);
    put_command(out, RECORD_SETTINGS, &body);
}

void record_put_settings_change(struct buf *out,
                                const struct settings_change *change)
{
    struct buf body = begin_command();
    spec_put_settings_change(&body, change);
    put_command(out, RECORD_SETTINGS_CHANGE, &body);
}

void record_put_location_create(struct buf *out,
                                const struct location_spec *spec)
{
    struct buf body = begin_command();
    spec_put_location(&body, spec);
    buf_put(&body, spec->private_key, sizeof spec->private_key);
    buf_put(&body, spec->public_key, sizeof spec->public_key);
    put_command(out, RECORD_LOCATION_CREATE, &body);
}

void record_put_location_change(struct buf *out, uint32_t id,
                                const struct location_spec *spec)
{
    struct buf body = begin_command();
    buf_put_varint(&body, id);
    spec_put_location(&body, spec);
    put_command(out, RECORD_LOCATION_CHANGE, &body);
}

void record_put_location_delete(struct buf *out, uint32_t id)
{
    put_id_command(out, RECORD_LOCATION_DELETE, id);
}

void record_put_device_create(struct buf *out, const struct device_spec *spec)
{
    struct buf body = begin_command();
    spec_put_device(&body, spec);
    put_command(out, RECORD_DEVICE_CREATE, &body);
}

void record_put_device_change(struct buf *out, uint32_t id,
                              const struct device_spec *spec)
{
    struct buf body = begin_command();
    buf_put_varint(&body, id);
    spec_put_device(&body, spec);
    put_command(out, RECORD_DEVICE_CHANGE, &body);
}

void record_put_device_delete(struct buf *out, uint32_t id)
{
    put_id_command(out, RECORD_DEVICE_DELETE, id);
}

void record_put_token_create(struct buf *out, const char *name,
                             const uint8_t hash[API_TOKEN_HASH_SIZE])
{
    struct buf body = begin_command();
    put_text(&body, name);
    buf_put(&body, hash, API_TOKEN_HASH_SIZE);
    put_command(out, RECORD_TOKEN_CREATE, &body);
}

void record_put_member(struct buf *out, const char *name, enum member_wish wish)
{
    struct buf body = begin_command();
    buf_put_u8(&body, (uint8_t)wish);
    put_text(&body, name);
    put_command(out, RECORD_MEMBER, &body);
}

void record_put_level(struct buf *out, unsigned level)
{
    struct buf body = begin_command();
    buf_put_varint(&body, level);
    put_command(out, RECORD_LEVEL, &body);
}

void record_put_gateway_delete(struct buf *out, uint32_t id)
{
    put_id_command(out, RECORD_GATEWAY_DELETE, id);
}

void record_put_token_revoke(struct buf *out, uint32_t id)
{
    put_id_command(out, RECORD_TOKEN_REVOKE, id);
}
