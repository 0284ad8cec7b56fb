/* A message is built as protobuf-c wants it, out of NUL-terminated copies in an
 * arena that lives as long as the call, and packed behind what the buffer
 * holds. The two requests are one string each and are read with proto/wire.h,
 * because protobuf-c's strings hide a NUL. */
#include "proto/gateway_messages.h"

#include <stdalign.h>
#include <stdlib.h>

#include "gateway.pb-c.h"
#include "health.pb-c.h"

#include "proto/wire.h"

/* --- arena: small pieces, freed together --------------------------------- */

enum { CHUNK_SIZE = 16 * 1024 };

struct chunk {
    struct chunk *next;
    size_t size, capacity;
    alignas(max_align_t) uint8_t data[];
};

struct arena {
    struct chunk *chunks; /* owned; the newest first */
    int failure;          /* sticky: 0, ERR_NOMEM or ERR_INVALID */
};

static void arena_deinit(struct arena *a)
{
    while (a->chunks != NULL) {
        struct chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
}

/* @count items of @size bytes, zeroed; NULL (and failed) when memory is short.
 */
static void *arena_take(struct arena *a, size_t count, size_t size)
{
    if (count > SIZE_MAX / 2 / size) {
        a->failure = ERR_NOMEM;
        return NULL;
    }
    size_t align = alignof(max_align_t);
    size_t need = (count * size + align - 1) / align * align;
    struct chunk *c = a->chunks;

    if (c == NULL || c->capacity - c->size < need) {
        size_t capacity = need < CHUNK_SIZE ? CHUNK_SIZE : need;
        c = calloc(1, sizeof *c + capacity);
        if (c == NULL) {
            a->failure = ERR_NOMEM;
            return NULL;
        }
        c->next = a->chunks;
        c->capacity = capacity;
        a->chunks = c;
    }
    void *piece = c->data + c->size;
    c->size += need;
    return piece;
}

static char *arena_string(struct arena *a, struct bytes text)
{
    if (!bytes_are_text(text)) {
        a->failure = ERR_INVALID;
        return NULL;
    }
    char *copy = arena_take(a, text.size + 1, 1);
    if (copy != NULL && text.size > 0)
        memcpy(copy, text.data, text.size);
    return copy;
}

static char **arena_strings(struct arena *a, const struct bytes *texts,
                            size_t count)
{
    char **copies = arena_take(a, count, sizeof *copies);

    for (size_t i = 0; copies != NULL && i < count; i++)
        copies[i] = arena_string(a, texts[i]);
    return copies;
}

/* --- building
 * --------------------------------------------------------- */

static void build_peer(struct arena *a, const struct gateway_peer *peer,
                       Gateway__Peer *out)
{
    gateway__peer__init(out);
    out->pubkey = arena_string(a, peer->public_key);
    out->allowed_ips =
        arena_strings(a, peer->allowed_ips, peer->allowed_ip_count);
    out->n_allowed_ips = peer->allowed_ip_count;
    /* Present even when it is 0: absent would leave the old one in force. */
    out->_keepalive_interval_case =
        GATEWAY__PEER___KEEPALIVE_INTERVAL_KEEPALIVE_INTERVAL;
    out->keepalive_interval = peer->keepalive_interval_s;
}

static void build_peers(struct arena *a, const struct gateway_configuration *c,
                        Gateway__Configuration *out)
{
    Gateway__Peer *peers = arena_take(a, c->peer_count, sizeof *peers);
    Gateway__Peer **pointers = arena_take(a, c->peer_count, sizeof(void *));

    if (peers == NULL || pointers == NULL)
        return;
    for (size_t i = 0; i < c->peer_count; i++) {
        build_peer(a, &c->peers[i], &peers[i]);
        pointers[i] = &peers[i];
    }
    out->peers = pointers;
    out->n_peers = c->peer_count;
}

static void build_configuration(struct arena *a,
                                const struct gateway_configuration *c,
                                Gateway__Configuration *out)
{
    gateway__configuration__init(out);
    out->name = arena_string(a, c->name);
    out->prvkey = arena_string(a, c->private_key);
    out->port = c->port;
    out->addresses = arena_strings(a, c->addresses, c->address_count);
    out->n_addresses = c->address_count;
    build_peers(a, c, out);
}

/* Packs @message, unless building it failed, and drops the arena. */
static int pack(struct arena *a, const ProtobufCMessage *message,
                struct buf *out)
{
    int rc = a->failure;
    size_t size = rc == 0 ? protobuf_c_message_get_packed_size(message) : 0;

    if (size > 0) { /* a message of defaults is no bytes at all */
        uint8_t *room = buf_reserve(out, size);
        if (room == NULL)
            rc = ERR_NOMEM;
        else
            out->size += protobuf_c_message_pack(message, room);
    }
    arena_deinit(a);
    return rc;
}

int configuration_encode(struct buf *out, const struct gateway_configuration *c)
{
    struct arena a = {0};
    Gateway__Configuration message;

    build_configuration(&a, c, &message);
    return pack(&a, &message.base, out);
}

_Static_assert((int)UPDATE_CREATE == (int)GATEWAY__UPDATE_TYPE__CREATE &&
                   (int)UPDATE_MODIFY == (int)GATEWAY__UPDATE_TYPE__MODIFY &&
                   (int)UPDATE_DELETE == (int)GATEWAY__UPDATE_TYPE__DELETE,
               "update kinds are numbered as on the wire");

int update_encode_peer(struct buf *out, enum gateway_update kind,
                       const struct gateway_peer *peer)
{
    struct arena a = {0};
    Gateway__Peer body;
    Gateway__Update message = GATEWAY__UPDATE__INIT;

    if (kind == UPDATE_DELETE) {
        gateway__peer__init(&body);
        body.pubkey = arena_string(&a, peer->public_key);
    } else {
        build_peer(&a, peer, &body);
    }
    message.update_type = (Gateway__UpdateType)kind;
    message.update_case = GATEWAY__UPDATE__UPDATE_PEER;
    message.peer = &body;
    return pack(&a, &message.base, out);
}

int update_encode_network(struct buf *out, enum gateway_update kind,
                          const struct gateway_configuration *c)
{
    struct arena a = {0};
    Gateway__Configuration body;
    Gateway__Update message = GATEWAY__UPDATE__INIT;

    if (kind == UPDATE_DELETE) {
        gateway__configuration__init(&body);
        body.name = arena_string(&a, c->name);
    } else {
        build_configuration(&a, c, &body);
    }
    message.update_type = (Gateway__UpdateType)kind;
    message.update_case = GATEWAY__UPDATE__UPDATE_NETWORK;
    message.network = &body;
    return pack(&a, &message.base, out);
}

/* --- requests
 * --------------------------------------------------------- */

/* A message whose only field is the string @field, number 1. */
static int decode_string(struct bytes message, const char *field,
                         struct buf *scratch, struct bytes *out,
                         struct errmsg *e)
{
    const struct wire_field_spec fields[] = {[1] = {field, WIRE_BYTES}};
    struct wire w = wire_of(message, (struct wire_spec){fields, 2});
    struct wire_field f = {0};
    struct bytes value = {0};

    while (wire_next(&w, &f))
        value = f.bytes;
    if (w.fault != NULL && w.fault_field == 1)
        return errmsg_set(e, ERR_INVALID, "%s: %s", field, w.fault);
    if (w.fault != NULL)
        return errmsg_set(e, ERR_INVALID, "field %u: %s",
                          (unsigned)w.fault_field, w.fault);
    if (value.size > GATEWAY_NAME_LENGTH_MAX)
        return errmsg_set(e, ERR_INVALID, "%s: %zu bytes, at most %d", field,
                          value.size, GATEWAY_NAME_LENGTH_MAX);
    if (!bytes_are_text(value))
        return errmsg_set(e, ERR_INVALID, "%s: not UTF-8 text without NUL",
                          field);
    buf_clear(scratch);
    buf_put(scratch, value.data, value.size);
    if (buf_failed(scratch))
        return errmsg_set(e, ERR_NOMEM, "%s: out of memory", field);
    *out = buf_bytes(scratch);
    return 0;
}

int configuration_request_decode(struct bytes message, struct buf *scratch,
                                 struct bytes *name, struct errmsg *e)
{
    return decode_string(message, "name", scratch, name, e);
}

int health_request_decode(struct bytes message, struct buf *scratch,
                          struct bytes *service, struct errmsg *e)
{
    return decode_string(message, "service", scratch, service, e);
}

void health_response_encode(struct buf *out, bool serving)
{
    struct arena none = {0};
    Grpc__Health__V1__HealthCheckResponse message =
        GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    message.status =
        GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    if (serving)
        message.status =
            GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    /* The only failure is memory, and the buf remembers that. */
    (void)!pack(&none, &message.base, out);
}
