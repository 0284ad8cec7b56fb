#include "store/test/scenario.h"

#include <stdio.h>

static const uint64_t begin_ms = 1700000000000;

uint64_t scenario_random(struct scenario *s, uint64_t below)
{
    /* splitmix64 */
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

static bool chance(struct scenario *s, unsigned percent)
{
    return scenario_random(s, 100) < percent;
}

void scenario_init(struct scenario *s, uint64_t seed, const struct model *model)
{
    *s = (struct scenario){.random = seed, .now = begin_ms, .model = model};
    for (unsigned i = 0; i < SCENARIO_SIMS; i++)
        s->sims[i] = (struct scenario_sim){.location = i % 3 + 1,
                                           .identity = i / 6 + 1,
                                           .native = i % 2 == 0,
                                           .session = 1,
                                           .machine = 1,
                                           .address = 1};
}

static void pass_time(struct scenario *s)
{
    uint64_t dice = scenario_random(s, 1000);
    if (dice < 700)
        s->now += scenario_random(s, 40000);
    else if (dice < 900)
        s->now += scenario_random(s, 120000);
    else if (dice < 950)
        s->now += 300000;
    else if (dice < 960)
        s->now += 3600000;
    else if (dice < 963)
        s->now += (uint64_t)31 * 86400000;
}

static uint64_t time_of_sample(struct scenario *s)
{
    uint64_t dice = scenario_random(s, 100);
    if (dice < 75)
        return s->now - scenario_random(s, 20000);
    if (dice < 93)
        return s->now - scenario_random(s, 3 * 3600000);
    if (dice < 95)
        return s->now - scenario_random(s, (uint64_t)4 * 86400000);
    if (dice < 98)
        return s->now + scenario_random(s, 600000);
    return scenario_random(s, 2) * 30000;
}

static void grow(struct scenario *s, struct scenario_sim *g, unsigned key,
                 struct model_peer *p)
{
    if (chance(s, 8)) {
        g->up[key] = scenario_random(s, 50);
        g->down[key] = scenario_random(s, 50);
        p->from_zero = chance(s, 50);
    }
    if (chance(s, 80))
        g->up[key] += scenario_random(s, 100000);
    if (chance(s, 80))
        g->down[key] += scenario_random(s, 1000000);
    if (chance(s, 35) || p->from_zero)
        g->shake[key] = s->now / 1000 + (chance(s, 4) ? 4000 : 0);
}

static void fill_peer(struct scenario *s, struct scenario_sim *g,
                      struct model_peer *p)
{
    unsigned key = (unsigned)scenario_random(s, MODEL_KEYS) + 1;
    *p = (struct model_peer){.key = key};
    grow(s, g, key, p);
    if (chance(s, 60))
        p->device = model_device_of(s->model, key);
    if (chance(s, 2))
        p->device = (uint32_t)scenario_random(s, 40) + 1;
    p->upload = g->up[key];
    p->download = g->down[key];
    p->handshake = g->shake[key];
    p->rec_ms = s->now - scenario_random(s, chance(s, 10) ? 3600000 : 9000);
    if (chance(s, 1))
        p->rec_ms = s->now - (uint64_t)8 * 86400000;
    if (chance(s, 2))
        p->rec_ms = s->now + 60000;
    p->has_endpoint = chance(s, 20);
    if (p->has_endpoint)
        snprintf(p->endpoint, sizeof p->endpoint, "198.51.100.%u:%u", key,
                 (unsigned)scenario_random(s, 60000));
}

static void place_native(struct scenario *s, const struct scenario_sim *g,
                         struct model_command *c)
{
    uint64_t dice = scenario_random(s, 100);
    c->session = g->session;
    c->sequence = g->sequence + 1;
    if (dice < 5) {
        c->sequence += 1 + scenario_random(s, 3); /* a gap */
    } else if (dice < 13) {
        c->session++;
        c->sequence = 1;
    } else if (dice < 16) {
        c->session++;
        c->sequence = 2; /* its first is still under way */
    } else if (dice < 19 && g->session > 1) {
        c->session--;
        c->sequence = 1 + scenario_random(s, 5);
    }
    c->sampled_ms = time_of_sample(s);
    c->has_machine = chance(s, 90);
    c->machine = chance(s, 20) ? 1 + scenario_random(s, 3) : g->machine;
}

static void make_batch(struct scenario *s, struct model_command *c)
{
    struct scenario_sim *g = &s->sims[scenario_random(s, SCENARIO_SIMS)];
    if (g->sent_count > 0 && chance(s, 15)) {
        size_t kept =
            g->sent_count < SCENARIO_HISTORY ? g->sent_count : SCENARIO_HISTORY;
        *c = g->sent[scenario_random(s, kept)]; /* again, or late */
        return;
    }
    *c = (struct model_command){.kind = g->native ? MODEL_NATIVE : MODEL_LEGACY,
                                .location = g->location,
                                .identity = g->identity,
                                .address = chance(s, 10) ? 2 : g->address};
    if (g->native)
        place_native(s, g, c);
    c->peer_count = scenario_random(s, MODEL_PEERS_MAX + 1);
    for (size_t i = 0; i < c->peer_count; i++)
        fill_peer(s, g, &c->peers[i]);
    g->sent[g->sent_count++ % SCENARIO_HISTORY] = *c;
}

/* What some node heard: now, or it comes too late, or out of the blue. */
static void make_presence(struct scenario *s, struct model_command *c)
{
    c->kind = MODEL_PRESENCE;
    c->minute = (uint32_t)(s->now / 60000);
    if (chance(s, 10))
        c->minute += chance(s, 30) ? 1u : -1u;
    uint32_t id = 0;
    for (size_t i = 0; i < MODEL_PEERS_MAX; i++) {
        id += 1 + (uint32_t)scenario_random(s, 4);
        c->gateways[c->gateway_count++] = id;
    }
}

static void make_command(struct scenario *s, struct model_command *c)
{
    uint64_t dice = scenario_random(s, 1000);
    *c = (struct model_command){.kind = MODEL_TICK};
    if (dice < 780) {
        make_batch(s, c);
    } else if (dice < 880) {
        make_presence(s, c);
    } else if (dice < 910) {
        c->kind = MODEL_DEVICE_CREATE;
        c->key = (unsigned)scenario_random(s, MODEL_KEYS) + 1;
    } else if (dice < 930) {
        c->kind = MODEL_DEVICE_DELETE;
        c->device = (uint32_t)scenario_random(s, 12) + 1;
    } else if (dice < 932) {
        c->kind = MODEL_LOCATION_DELETE;
        c->location = 3;
    } else if (dice < 935) {
        c->kind = MODEL_SETTINGS;
        c->retain_s[0] = 60;
    } else if (dice < 965) {
        c->kind = MODEL_DIGEST;
    }
}

static void set_scene(struct scenario *s, struct model_step *step)
{
    if (s->steps == 1) {
        step->count = 4;
        step->commands[0] = (struct model_command){
            .kind = MODEL_SETTINGS,
            .retain_s = {6 * 3600, 20 * 3600, 3 * 86400}};
        if (s->keeps_all)
            memset(step->commands[0].retain_s, 0,
                   sizeof step->commands[0].retain_s);
        for (size_t i = 1; i < 4; i++)
            step->commands[i] = (struct model_command){
                .kind = MODEL_LOCATION_CREATE, .accept_unknown = i == 1};
        return;
    }
    step->count = 4;
    for (unsigned i = 0; i < 4; i++)
        step->commands[i] =
            (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = i + 1};
}

void scenario_next(struct scenario *s, struct model_step *step)
{
    pass_time(s);
    step->log_time_ms = s->now;
    if (chance(s, 3))
        step->log_time_ms -= 600000; /* a new leader whose clock is behind */
    if (++s->steps <= 2) {
        set_scene(s, step);
        return;
    }
    step->count = 1 + scenario_random(s, MODEL_COMMANDS_MAX);
    for (size_t i = 0; i < step->count; i++)
        make_command(s, &step->commands[i]);
}

void scenario_told(struct scenario *s, const struct model_step *step,
                   const struct outcome *outcomes)
{
    for (size_t i = 0; i < step->count; i++) {
        const struct model_command *c = &step->commands[i];
        if (c->kind != MODEL_NATIVE || outcomes[i].code != OUTCOME_TAKEN)
            continue;
        for (size_t j = 0; j < SCENARIO_SIMS; j++) {
            struct scenario_sim *g = &s->sims[j];
            if (!g->native || g->location != c->location ||
                g->identity != c->identity)
                continue;
            g->session = c->session;
            g->sequence = c->sequence;
            g->machine = c->machine;
        }
    }
}
