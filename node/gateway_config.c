#include "node/gateway_config.h"

#include "proto/gateway_messages.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>

enum { KEY_TEXT_SIZE = 45 }; /* base64 of 32 bytes, terminated */

/* A piece of text by position, since the text moves while it grows. */
struct span {
    size_t at, length;
};

struct peer_copy {
    struct span key;
    size_t first_address, address_count;
};

/* A location, or as much of one as a message needs, out of the roster. */
struct copy {
    struct buf text;
    struct buf addresses; /* struct span: of the location */
    struct buf hosts;     /* struct span: of the peers */
    struct buf peers;     /* struct peer_copy */
    struct span name, private_key;
    uint32_t port, keepalive_interval_s;
};

static void copy_deinit(struct copy *c)
{
    buf_deinit(&c->text);
    buf_deinit(&c->addresses);
    buf_deinit(&c->hosts);
    buf_deinit(&c->peers);
}

static bool copy_failed(const struct copy *c)
{
    return buf_failed(&c->text) || buf_failed(&c->addresses) ||
           buf_failed(&c->hosts) || buf_failed(&c->peers);
}

static struct span copy_text(struct copy *c, const char *text, size_t length)
{
    struct span span = {c->text.size, length};
    buf_put(&c->text, text, length);
    return span;
}

static struct span copy_key(struct copy *c, const uint8_t key[32])
{
    char text[KEY_TEXT_SIZE];
    sodium_bin2base64(text, sizeof text, key, 32,
                      sodium_base64_VARIANT_ORIGINAL);
    struct span span = copy_text(c, text, KEY_TEXT_SIZE - 1);
    sodium_memzero(text, sizeof text);
    return span;
}

/* The items of a comma list as spans; @host cuts each before its mask. */
static size_t copy_list(struct copy *c, struct buf *spans, const char *list,
                        bool host)
{
    size_t count = 0;
    while (*list != '\0') {
        list += strspn(list, ", ");
        size_t whole = strcspn(list, ", ");
        size_t length = host ? strcspn(list, ", /") : whole;
        if (length > 0) {
            struct span span = copy_text(c, list, length);
            buf_put(spans, &span, sizeof span);
            count++;
        }
        list += whole;
    }
    return count;
}

/* The device as a peer of @location; false when it is none of its peers. */
static bool copy_peer(struct copy *c, const struct device *d, uint32_t location)
{
    for (size_t i = 0; i < d->attachment_count; i++) {
        if (d->attachments[i].location != location)
            continue;
        struct peer_copy peer = {.key = copy_key(c, d->public_key),
                                 .first_address =
                                     c->hosts.size / sizeof(struct span)};
        peer.address_count =
            copy_list(c, &c->hosts, d->attachments[i].addresses, true);
        buf_put(&c->peers, &peer, sizeof peer);
        return true;
    }
    return false;
}

static void copy_location(struct copy *c, const struct roster *roster,
                          const struct location *l)
{
    c->name = copy_text(c, l->name, strlen(l->name));
    c->private_key = copy_key(c, l->private_key);
    c->port = l->port;
    c->keepalive_interval_s = l->keepalive_interval_s;
    copy_list(c, &c->addresses, l->address, false);
    const struct device *d = roster_next_device(roster, 0);
    for (; d != NULL; d = roster_next_device(roster, d->id))
        copy_peer(c, d, l->id);
}

static struct bytes text_of(const struct copy *c, struct span span)
{
    return (struct bytes){c->text.data + span.at, span.length};
}

/* A new array of views for an array of spans. NULL when memory is short. */
static struct bytes *views_of(const struct copy *c, const struct buf *spans,
                              size_t *count)
{
    *count = spans->size / sizeof(struct span);
    struct bytes *views = calloc(*count + 1, sizeof *views);
    for (size_t i = 0; views != NULL && i < *count; i++) {
        struct span span;
        memcpy(&span, spans->data + i * sizeof span, sizeof span);
        views[i] = text_of(c, span);
    }
    return views;
}

/* The copy in the form that proto/ encodes, for one call of @encode. */
typedef int encode_fn(struct buf *out, const struct gateway_configuration *c);

static int copy_encode(const struct copy *c, encode_fn *encode, struct buf *out)
{
    size_t address_count, host_count;
    size_t peer_count = c->peers.size / sizeof(struct peer_copy);
    struct bytes *addresses = views_of(c, &c->addresses, &address_count);
    struct bytes *hosts = views_of(c, &c->hosts, &host_count);
    struct gateway_peer *peers = calloc(peer_count + 1, sizeof *peers);
    int rv = ERR_NOMEM;
    if (addresses == NULL || hosts == NULL || peers == NULL)
        goto out;
    for (size_t i = 0; i < peer_count; i++) {
        struct peer_copy peer;
        memcpy(&peer, c->peers.data + i * sizeof peer, sizeof peer);
        peers[i] = (struct gateway_peer){
            .public_key = text_of(c, peer.key),
            .allowed_ips = hosts + peer.first_address,
            .allowed_ip_count = peer.address_count,
            .keepalive_interval_s = c->keepalive_interval_s,
        };
    }
    struct gateway_configuration configuration = {
        .name = text_of(c, c->name),
        .private_key = text_of(c, c->private_key),
        .addresses = addresses,
        .address_count = address_count,
        .port = c->port,
        .peers = peers,
        .peer_count = peer_count,
    };
    rv = encode(out, &configuration);
out:
    free(addresses);
    free(hosts);
    free(peers);
    return rv;
}

int gateway_configuration_encode(struct store *store, uint32_t location,
                                 struct buf *out, uint64_t *index)
{
    struct roster *roster = store_roster(store);
    struct copy copy = {0};
    /* Before the copy: what is applied in between is sent once more, which is
     * harmless; the other way round it would be lost. */
    *index = store_applied_index(store);
    roster_read_lock(roster);
    const struct location *l = roster_location(roster, location);
    if (l != NULL)
        copy_location(&copy, roster, l);
    roster_read_unlock(roster);
    int rv = l == NULL ? ERR_NOTFOUND
             : copy_failed(&copy)
                 ? ERR_NOMEM
                 : copy_encode(&copy, configuration_encode, out);
    copy_deinit(&copy);
    return rv;
}

/* --- updates -------------------------------------------------------------- */

int updates_init(struct updates *u, struct store *store, uint32_t location,
                 uint64_t after)
{
    struct roster *roster = store_roster(store);
    *u = (struct updates){.store = store, .location = location, .after = after};
    roster_read_lock(roster);
    const struct location *l = roster_location(roster, location);
    if (l != NULL)
        u->name = strdup(l->name);
    roster_read_unlock(roster);
    if (l == NULL)
        return ERR_NOTFOUND;
    return u->name == NULL ? ERR_NOMEM : 0;
}

void updates_deinit(struct updates *u)
{
    buf_deinit(&u->queue);
    free(u->name);
}

static int encode_modify(struct buf *out, const struct gateway_configuration *c)
{
    return update_encode_network(out, UPDATE_MODIFY, c);
}

static int queue_message(struct updates *u, const struct buf *message, int rv)
{
    if (rv == 0)
        buf_put_bytes(&u->queue, buf_bytes(message));
    return rv != 0 ? rv : buf_failed(&u->queue) ? ERR_NOMEM : 0;
}

static int queue_removal(struct updates *u, const uint8_t key[PUBLIC_KEY_SIZE])
{
    static const uint8_t none[PUBLIC_KEY_SIZE];
    char text[KEY_TEXT_SIZE];
    struct buf message = {0};
    if (memcmp(key, none, PUBLIC_KEY_SIZE) == 0)
        return 0;
    sodium_bin2base64(text, sizeof text, key, PUBLIC_KEY_SIZE,
                      sodium_base64_VARIANT_ORIGINAL);
    struct gateway_peer peer = {.public_key = bytes_of_string(text)};
    int rv = update_encode_peer(&message, UPDATE_DELETE, &peer);
    rv = queue_message(u, &message, rv);
    buf_deinit(&message);
    return rv;
}

/* A device that is a peer here, as it is now. One that came and went meanwhile
 * is not there any more, and its removal follows. A new key is journalled as a
 * removal and a creation, since gateways know peers by key. */
static int queue_device(struct updates *u, const struct roster *roster,
                        const struct change *change)
{
    const struct device *d = roster_device(roster, change->id);
    const struct location *l = roster_location(roster, u->location);
    struct copy copy = {0};
    struct buf message = {0};
    int rv = 0;
    if (d == NULL || l == NULL || !copy_peer(&copy, d, u->location))
        goto out;
    bool changed = change->kind == CHANGE_DEVICE_CHANGED;
    size_t count;
    struct bytes *hosts = views_of(&copy, &copy.hosts, &count);
    rv = hosts == NULL || copy_failed(&copy) ? ERR_NOMEM : 0;
    if (rv == 0) {
        struct gateway_peer peer = {
            .public_key = text_of(&copy, (struct span){0, KEY_TEXT_SIZE - 1}),
            .allowed_ips = hosts,
            .allowed_ip_count = count,
            .keepalive_interval_s = l->keepalive_interval_s,
        };
        rv = update_encode_peer(&message,
                                changed ? UPDATE_MODIFY : UPDATE_CREATE, &peer);
        rv = queue_message(u, &message, rv);
    }
    free(hosts);
out:
    buf_deinit(&message);
    copy_deinit(&copy);
    return rv;
}

static int queue_network(struct updates *u, const struct copy *copy, bool gone)
{
    struct buf message = {0};
    struct gateway_configuration name_only = {.name = bytes_of_string(u->name)};
    int rv = gone ? update_encode_network(&message, UPDATE_DELETE, &name_only)
                  : copy_encode(copy, encode_modify, &message);
    rv = queue_message(u, &message, rv);
    buf_deinit(&message);
    return rv;
}

/* Under the lock: devices are queued, the location is only copied, to be
 * encoded after it. It holds the devices as they are now, so its place behind
 * them is right whatever the order of the changes was. */
static int collect_locked(struct updates *u, const struct roster *roster,
                          const struct change *changes, int count,
                          struct copy *copy, bool *changed, bool *gone)
{
    int rv = 0;
    for (int i = 0; i < count && rv == 0; i++) {
        const struct change *change = &changes[i];
        switch (change->kind) {
        case CHANGE_LOCATION_CREATED: /* a stream begins behind that */
            break;
        case CHANGE_LOCATION_CHANGED:
            *changed |= change->id == u->location;
            break;
        case CHANGE_LOCATION_DELETED:
            *gone |= change->id == u->location;
            break;
        case CHANGE_DEVICE_CREATED:
        case CHANGE_DEVICE_CHANGED:
            rv = queue_device(u, roster, change);
            break;
        case CHANGE_DEVICE_DELETED:
            rv = queue_removal(u, change->public_key);
            break;
        }
    }
    const struct location *l = roster_location(roster, u->location);
    if (*changed && l != NULL)
        copy_location(copy, roster, l);
    *changed &= l != NULL;
    return rv;
}

int updates_collect(struct updates *u, struct change *scratch)
{
    struct roster *roster = store_roster(u->store);
    struct copy copy = {0};
    bool changed = false, gone = false;
    uint64_t applied = store_applied_index(u->store);
    roster_read_lock(roster);
    int count = roster_changes(roster, u->after, scratch, JOURNAL_CHANGES_MAX);
    /* What is above may be half an entry: its rest would be passed over. */
    while (count > 0 && scratch[count - 1].index > applied)
        count--;
    int rv = count < 0 ? count
                       : collect_locked(u, roster, scratch, count, &copy,
                                        &changed, &gone);
    roster_read_unlock(roster);
    if (rv == 0 && copy_failed(&copy))
        rv = ERR_NOMEM;
    if (rv == 0 && (changed || gone))
        rv = queue_network(u, &copy, gone);
    copy_deinit(&copy);
    if (rv != 0)
        return rv;
    if (applied > u->after)
        u->after = applied;
    return 0;
}

bool updates_next(struct updates *u, struct bytes *message)
{
    if (u->queue_sent == u->queue.size) {
        buf_clear(&u->queue);
        u->queue_sent = 0;
        return false;
    }
    struct reader rest = reader_of((struct bytes){
        u->queue.data + u->queue_sent, u->queue.size - u->queue_sent});
    *message = reader_bytes(&rest);
    u->queue_sent = u->queue.size - rest.size;
    return true;
}
