/* /api/v1/device: devices of users and network devices, with the bodies and
 * answers of defguard 1.5 (reference: defguard-1.x.md, section 4). See api.h.
 */
#include "node/api.h"

#include "node/http_route.h"
#include "node/wg_text.h"

enum { ROWS_PER_LOCK = 256 };

struct device_body {
    const char *name, *wireguard_pubkey, *description;
    uint64_t location_id;
};

#define AT(member) offsetof(struct device_body, member)
static const struct body_field device_fields[] = {
    {"location_id", BODY_UINT, true, 1, UINT32_MAX, AT(location_id),
     "the one location that a network device belongs to"},
    {"name", BODY_TEXT, true, 1, 100, AT(name), "shown to people"},
    {"wireguard_pubkey", BODY_TEXT, true, 44, 44, AT(wireguard_pubkey),
     "base64 of 32 bytes"},
    {"description", BODY_TEXT, false, 0, 1000, AT(description), NULL},
};
#undef AT
enum { FIELD_COUNT = sizeof device_fields / sizeof *device_fields };
/* A user's device goes to all locations: the first field is not its. */
const struct body_schema device_schema = {device_fields + 1, FIELD_COUNT - 1};
const struct body_schema network_device_schema = {device_fields, FIELD_COUNT};

/* --- answers -------------------------------------------------------------- */

/* The members of defguard's Device, without the braces. user_id is a number of
 * its user table, which we have not; username stands beside it. */
static void out_device_members(struct json_out *o, const struct device *d)
{
    static const char *const kinds[] = {
        [DEVICE_USER] = "user",
        [DEVICE_NETWORK] = "network",
        [DEVICE_UNCLAIMED] = "unclaimed",
    };
    char key[KEY_TEXT_SIZE], created[TIME_TEXT_SIZE];
    key_format(d->public_key, key);
    time_format(d->created_ms, created);
    out_member_uint(o, "id", d->id);
    out_member(o, "name", d->name);
    out_member(o, "wireguard_pubkey", key);
    out_member_null(o, "user_id");
    out_member(o, "username", d->user[0] != '\0' ? d->user : NULL);
    out_member(o, "created", created);
    out_member(o, "device_type", kinds[d->kind]);
    out_member(o, "description",
               d->description[0] != '\0' ? d->description : NULL);
    out_member_bool(o, "configured", true);
}

static void out_device(struct json_out *o, const struct device *d)
{
    out_object(o);
    out_device_members(o, d);
    out_object_end(o);
}

/* The client's wg-quick file; the private key never leaves the client. */
static void out_config_text(struct json_out *o, const struct location *l,
                            const char *addresses)
{
    struct buf text = {0};
    char key[KEY_TEXT_SIZE];
    key_format(l->public_key, key);
    buf_printf(&text,
               "[Interface]\nPrivateKey = YOUR_PRIVATE_KEY\n"
               "Address = %s\n",
               addresses);
    if (l->dns[0] != '\0')
        buf_printf(&text, "DNS = %s\n", l->dns);
    buf_printf(&text, "\n[Peer]\nPublicKey = %s\n", key);
    if (l->allowed_ips[0] != '\0')
        buf_printf(&text, "AllowedIPs = %s\n", l->allowed_ips);
    bool bare_ipv6 = strchr(l->endpoint, ':') != NULL && l->endpoint[0] != '[';
    buf_printf(&text, bare_ipv6 ? "Endpoint = [%s]:%u\n" : "Endpoint = %s:%u\n",
               l->endpoint, l->port);
    if (l->keepalive_interval_s != 0)
        buf_printf(&text, "PersistentKeepalive = %u\n",
                   l->keepalive_interval_s);
    if (buf_failed(&text))
        o->buf->failed = true;
    out_key(o, "config");
    out_text(o, buf_bytes(&text));
    buf_deinit(&text);
}

static void out_config(struct json_out *o, const struct location *l,
                       const struct attachment *a)
{
    char key[KEY_TEXT_SIZE];
    key_format(l->public_key, key);
    out_object(o);
    out_member_uint(o, "network_id", l->id);
    out_member(o, "network_name", l->name);
    out_config_text(o, l, a->addresses);
    out_key(o, "address");
    out_comma_list(o, a->addresses);
    out_member(o, "endpoint", l->endpoint);
    out_key(o, "allowed_ips");
    out_comma_list(o, l->allowed_ips);
    out_member(o, "pubkey", key);
    out_member(o, "dns", l->dns[0] != '\0' ? l->dns : NULL);
    out_member_bool(o, "mfa_enabled", false);
    out_member(o, "location_mfa_mode", "disabled");
    out_member_uint(o, "keepalive_interval", l->keepalive_interval_s);
    out_object_end(o);
}

/* {configs: [...], device: {...}}; a network device has one config. */
static void answer_with_configs(struct http_request *rq, uint32_t id)
{
    struct roster *r = store_roster(rq->node->store);
    struct json_out *o = &rq->json;
    roster_read_lock(r);
    const struct device *d = roster_device(r, id);
    if (d == NULL) {
        roster_read_unlock(r);
        http_error(rq, 404, "not_found", "device: was deleted meanwhile");
        return;
    }
    out_object(o);
    out_key(o, "configs");
    out_array(o);
    for (size_t i = 0; i < d->attachment_count; i++) {
        const struct location *l =
            roster_location(r, d->attachments[i].location);
        if (l != NULL)
            out_config(o, l, &d->attachments[i]);
    }
    out_array_end(o);
    out_key(o, "device");
    out_device(o, d);
    out_object_end(o);
    roster_read_unlock(r);
    http_answer(rq, 201);
}

static void answer_device(struct http_request *rq, uint32_t id,
                          bool network_only)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct device *d = roster_device(r, id);
    if (d == NULL || (network_only && d->kind != DEVICE_NETWORK)) {
        http_error(rq, 404, "not_found", "device: not found");
    } else {
        out_device(&rq->json, d);
        http_answer(rq, 200);
    }
    roster_read_unlock(r);
}

void api_device_get(struct http_request *rq)
{
    answer_device(rq, rq->id, false);
}

void api_network_device_get(struct http_request *rq)
{
    answer_device(rq, rq->id, true);
}

/* A hundred thousand rows must not keep the applier waiting: in slices. */
static void list_devices(struct http_request *rq, bool network_only)
{
    struct roster *r = store_roster(rq->node->store);
    uint32_t after = 0;
    bool more = true;
    out_array(&rq->json);
    while (more) {
        roster_read_lock(r);
        const struct device *d = roster_next_device(r, after);
        for (int i = 0; i < ROWS_PER_LOCK && d != NULL; i++) {
            if (!network_only || d->kind == DEVICE_NETWORK)
                out_device(&rq->json, d);
            after = d->id;
            d = roster_next_device(r, after);
        }
        more = d != NULL;
        roster_read_unlock(r);
    }
    out_array_end(&rq->json);
    http_answer(rq, 200);
}

void api_device_list(struct http_request *rq)
{
    list_devices(rq, false);
}

void api_network_device_list(struct http_request *rq)
{
    list_devices(rq, true);
}

static void out_user_device(struct json_out *o, const struct roster *r,
                            const struct device *d)
{
    out_object(o);
    out_device_members(o, d);
    out_key(o, "networks");
    out_array(o);
    for (size_t i = 0; i < d->attachment_count; i++) {
        const struct location *l =
            roster_location(r, d->attachments[i].location);
        if (l == NULL)
            continue;
        out_object(o);
        out_member_uint(o, "network_id", l->id);
        out_member(o, "network_name", l->name);
        out_member(o, "network_gateway_ip", l->endpoint);
        out_key(o, "device_wireguard_ips");
        out_comma_list(o, d->attachments[i].addresses);
        out_object_end(o);
    }
    out_array_end(o);
    out_object_end(o);
}

void api_device_list_of_user(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    out_array(&rq->json);
    for (const struct device *d = roster_next_device(r, 0); d != NULL;
         d = roster_next_device(r, d->id))
        if (d->kind == DEVICE_USER && strcmp(d->user, rq->name) == 0)
            out_user_device(&rq->json, r, d);
    out_array_end(&rq->json);
    roster_read_unlock(r);
    http_answer(rq, 200);
}

/* --- changes -------------------------------------------------------------- */

/* On failure the 400 is written. */
static int read_spec(struct http_request *rq, struct body *body,
                     struct device_body *b, struct device_spec *spec)
{
    int rv = http_read_body(rq, body, b);
    if (rv != 0)
        return rv;
    if (key_parse(b->wireguard_pubkey, spec->public_key) != 0) {
        http_error(rq, 400, "invalid",
                   "wireguard_pubkey: must be base64 of 32 bytes");
        return ERR_INVALID;
    }
    spec->name = b->name;
    spec->description = b->description;
    return 0;
}

/* What can be missing of a network device is its location. */
static void answer_created(struct http_request *rq, int status)
{
    bool missing = status == 0 && rq->outcome.code == OUTCOME_NOTFOUND;
    const char *what = missing && rq->route->body == &network_device_schema
                           ? "location"
                           : "device";
    if (!http_write_failed(rq, status, what))
        answer_with_configs(rq, (uint32_t)rq->outcome.value);
}

/* The change that makes the unclaimed device @id what the body asks for; false:
 * there is none. Two who claim it at once both may: the later one's stays, as
 * with any two changes of a device. */
static bool put_claim(struct http_request *rq, uint32_t id,
                      struct device_spec *spec, struct buf *record)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct device *d = roster_device(r, id);
    bool unclaimed = d != NULL && d->kind == DEVICE_UNCLAIMED;
    if (unclaimed) {
        if (spec->description == NULL)
            spec->description = d->description;
        record_put_device_change(record, id, spec);
    }
    roster_read_unlock(r);
    return unclaimed;
}

/* Reads the body for what POST makes. On failure the 400 is written. */
static int read_new(struct http_request *rq, struct body *body,
                    struct device_spec *spec)
{
    struct device_body b = {0};
    bool network = rq->route->body == &network_device_schema;
    spec->kind = network ? DEVICE_NETWORK : DEVICE_USER;
    spec->user = network ? NULL : rq->name;
    int rv = read_spec(rq, body, &b, spec);
    spec->location = (uint32_t)b.location_id;
    return rv;
}

/* The key that is there already may be an unclaimed device's, which some
 * gateway reported before its owner was entered: then it takes that one's
 * place, and its id and history stay. A replica that has not applied the
 * outcome does not know that device yet. */
static void created(struct http_request *rq, int status)
{
    struct body body = {0};
    struct device_spec spec = {0};
    struct buf record = {0};
    if (status != 0 || rq->outcome.code != OUTCOME_EXISTS) {
        answer_created(rq, status);
        return;
    }
    if (store_applied_index(rq->node->store) < rq->outcome.index) {
        http_wait_failed(rq, ERR_TIMEOUT);
        return;
    }
    if (read_new(rq, &body, &spec) == 0) {
        if (put_claim(rq, (uint32_t)rq->outcome.value, &spec, &record))
            http_submit(rq, &record, answer_created);
        else
            answer_created(rq, status);
    }
    body_close(&body);
}

static void create(struct http_request *rq)
{
    struct body body = {0};
    struct device_spec spec = {0};
    struct buf record = {0};
    if (read_new(rq, &body, &spec) == 0) {
        record_put_device_create(&record, &spec);
        http_submit(rq, &record, created);
    }
    body_close(&body);
}

void api_device_create(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    bool any = roster_next_location(r, 0) != NULL;
    roster_read_unlock(r);
    if (any)
        create(rq);
    else
        http_error(rq, 400, "no_network",
                   "there is no location yet: POST /api/v1/network first");
}

void api_network_device_create(struct http_request *rq)
{
    create(rq);
}

/* A network device whose location was deleted. */
static bool is_stranded(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct device *d = roster_device(r, rq->id);
    bool stranded = d != NULL && d->kind == DEVICE_NETWORK &&
                    roster_location(r, d->location) == NULL;
    roster_read_unlock(r);
    return stranded;
}

static void changed(struct http_request *rq, int status)
{
    if (status == 0 && rq->outcome.code != OUTCOME_TAKEN && is_stranded(rq))
        http_error(rq, 409, "no_location",
                   "device: its location was deleted; delete the device and "
                   "create it where it belongs");
    else if (!http_write_failed(rq, status, "device"))
        answer_device(rq, rq->id, false);
}

void api_device_change(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    struct body body = {0};
    struct device_body b = {0};
    struct device_spec spec = {0};
    struct buf record = {0};
    if (read_spec(rq, &body, &b, &spec) != 0)
        goto out;
    roster_read_lock(r);
    const struct device *d = roster_device(r, rq->id);
    if (d != NULL) {
        /* What the body does not name stays. */
        spec.kind = d->kind;
        spec.user = d->user;
        if (spec.description == NULL)
            spec.description = d->description;
        spec.location = d->kind == DEVICE_NETWORK ? d->location : 0;
        record_put_device_change(&record, rq->id, &spec);
    }
    roster_read_unlock(r);
    if (d != NULL)
        http_submit(rq, &record, changed);
    else
        http_error(rq, 404, "not_found", "device: not found");
out:
    body_close(&body);
}

static void deleted(struct http_request *rq, int status)
{
    if (http_write_failed(rq, status, "device"))
        return;
    out_null(&rq->json);
    http_answer(rq, 200);
}

void api_device_delete(struct http_request *rq)
{
    struct buf record = {0};
    record_put_device_delete(&record, rq->id);
    http_submit(rq, &record, deleted);
}

void api_network_device_delete(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct device *d = roster_device(r, rq->id);
    bool fits = d != NULL && d->kind == DEVICE_NETWORK;
    roster_read_unlock(r);
    if (fits)
        api_device_delete(rq);
    else
        http_error(rq, 404, "not_found", "device: not found");
}
