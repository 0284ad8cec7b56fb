#include "bench/fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* splitmix64 */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(uint64_t *state)
{
    return ((double)(mix(state) >> 11) + 0.5) / 9007199254740992.0;
}

/* Median 20 kB in 30 s, the upper percent above a megabyte. */
static uint32_t draw_increment(uint64_t *state)
{
    const double pi = 3.14159265358979323846;
    if (uniform(state) < 0.2)
        return 0;
    double normal =
        sqrt(-2.0 * log(uniform(state))) * cos(2.0 * pi * uniform(state));
    double bytes = exp(9.9 + 1.8 * normal);
    return bytes < 1e9 ? (uint32_t)bytes : 1000000000u;
}

static void make_key(uint32_t gateway, uint32_t peer,
                     uint8_t key[REPORT_KEY_SIZE])
{
    uint64_t state = (uint64_t)gateway << 32 | peer;
    for (size_t i = 0; i < REPORT_KEY_SIZE; i += 8)
        le64_put(key + i, mix(&state));
}

static void make_peers(struct fleet_gateway *g)
{
    for (uint32_t i = 0; i < g->peer_count; i++) {
        struct fleet_peer *peer = &g->peers[i];
        make_key(g->number, i, peer->key);
        int length =
            snprintf(peer->endpoint, sizeof peer->endpoint, "198.51.%u.%u:%u",
                     i >> 8 & 255, i & 255, 1024 + g->number);
        peer->endpoint_length = (uint8_t)length;
    }
}

int fleet_init(struct fleet *f, uint32_t gateways, uint32_t devices)
{
    uint64_t seed = 1;
    *f = (struct fleet){.gateway_count = 0};
    for (size_t i = 0; i < FLEET_INCREMENTS; i++)
        f->increments[i] = draw_increment(&seed);
    f->gateways = calloc(gateways, sizeof *f->gateways);
    if (f->gateways == NULL)
        return ERR_NOMEM;
    f->gateway_count = gateways;
    for (uint32_t i = 0; i < gateways; i++) {
        struct fleet_gateway *g = &f->gateways[i];
        g->number = i;
        g->random = i + 1;
        g->peer_count = devices;
        g->peers = calloc(devices, sizeof *g->peers);
        if (g->peers == NULL)
            return ERR_NOMEM;
        make_peers(g);
    }
    return 0;
}

void fleet_deinit(struct fleet *f)
{
    for (uint32_t i = 0; i < f->gateway_count; i++)
        free(f->gateways[i].peers);
    free(f->gateways);
    *f = (struct fleet){.gateway_count = 0};
}

void fleet_sample(const struct fleet *f, struct fleet_gateway *g,
                  uint32_t count, uint64_t now_s, struct stat_report *reports)
{
    for (uint32_t i = 0; i < count; i++) {
        struct fleet_peer *peer = &g->peers[g->next];
        uint64_t random = mix(&g->random);
        peer->upload += f->increments[random % FLEET_INCREMENTS];
        peer->download += f->increments[(random >> 16) % FLEET_INCREMENTS];
        if (peer->handshake == 0 || (random >> 32) % 4 == 0)
            peer->handshake = now_s;
        reports[i] = (struct stat_report){
            .upload = peer->upload,
            .download = peer->download,
            .latest_handshake = peer->handshake,
            .endpoint = {(const uint8_t *)peer->endpoint,
                         peer->endpoint_length},
            .allowed_ips = bytes_of_string("10.64.0.2/32"),
            .keepalive_interval_s = 25,
        };
        memcpy(reports[i].public_key, peer->key, REPORT_KEY_SIZE);
        g->next = g->next + 1 == g->peer_count ? 0 : g->next + 1;
    }
}
