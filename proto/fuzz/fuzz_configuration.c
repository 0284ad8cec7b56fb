/* The configuration messages. The input is first read as a request, then as a
 * recipe of a configuration, which must come back from protobuf-c as it was, or
 * be refused because of a string that is no text. */
#include <stdlib.h>

#include "gateway.pb-c.h"

#include "base/assert.h"
#include "proto/gateway_messages.h"
#include "proto/test/oracle.h"

enum { PEERS = 5, STRINGS = 3 };

struct recipe {
    struct gateway_configuration configuration;
    struct gateway_peer peers[PEERS];
    struct bytes addresses[STRINGS], allowed_ips[PEERS][STRINGS];
    bool is_text;
};

static struct bytes take_string(struct reader *r, struct recipe *out)
{
    struct bytes text = reader_take(r, reader_u8(r) % 64);

    if (r->failed)
        text = (struct bytes){0};
    out->is_text = out->is_text && bytes_are_text(text);
    return text;
}

static size_t take_strings(struct reader *r, struct recipe *recipe,
                           struct bytes *out)
{
    size_t count = reader_u8(r) % (STRINGS + 1);

    for (size_t i = 0; i < count; i++)
        out[i] = take_string(r, recipe);
    return count;
}

static void read_recipe(struct bytes input, struct recipe *out)
{
    struct reader r = reader_of(input);
    struct gateway_configuration *c = &out->configuration;

    *out = (struct recipe){.is_text = true};
    c->port = reader_u32(&r);
    c->name = take_string(&r, out);
    c->private_key = take_string(&r, out);
    c->addresses = out->addresses;
    c->address_count = take_strings(&r, out, out->addresses);
    c->peers = out->peers;
    c->peer_count = reader_u8(&r) % (PEERS + 1);
    for (size_t i = 0; i < c->peer_count; i++) {
        struct gateway_peer *p = &out->peers[i];
        p->public_key = take_string(&r, out);
        p->allowed_ips = out->allowed_ips[i];
        p->allowed_ip_count = take_strings(&r, out, out->allowed_ips[i]);
        p->keepalive_interval_s = reader_u32(&r);
    }
}

static void compare_string(const char *theirs, struct bytes ours)
{
    ASSERT(bytes_equal(bytes_of_string(theirs), ours));
}

static void compare(const struct gateway_configuration *c,
                    const Gateway__Configuration *m)
{
    compare_string(m->name, c->name);
    compare_string(m->prvkey, c->private_key);
    ASSERT(m->port == c->port);
    ASSERT(m->n_addresses == c->address_count);
    for (size_t i = 0; i < m->n_addresses; i++)
        compare_string(m->addresses[i], c->addresses[i]);
    ASSERT(m->n_peers == c->peer_count);
    for (size_t i = 0; i < m->n_peers; i++) {
        const struct gateway_peer *p = &c->peers[i];
        compare_string(m->peers[i]->pubkey, p->public_key);
        ASSERT(m->peers[i]->n_allowed_ips == p->allowed_ip_count);
        for (size_t k = 0; k < p->allowed_ip_count; k++)
            compare_string(m->peers[i]->allowed_ips[k], p->allowed_ips[k]);
        ASSERT(m->peers[i]->keepalive_interval == p->keepalive_interval_s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct recipe recipe;
    struct buf out = {0};

    (void)oracle_configuration_request((struct bytes){data, size});
    read_recipe((struct bytes){data, size}, &recipe);
    int rc = configuration_encode(&out, &recipe.configuration);
    ASSERT((rc == 0) == recipe.is_text);
    if (rc == 0) {
        Gateway__Configuration *m =
            gateway__configuration__unpack(NULL, out.size, out.data);
        ASSERT(m != NULL);
        compare(&recipe.configuration, m);
        gateway__configuration__free_unpacked(m, NULL);
    }
    buf_deinit(&out);
    return 0;
}
