#include "gateway/pace.h"

/* xorshift64*: jitter needs to differ between agents, no more. */
static uint64_t draw(struct pace *p, uint64_t below)
{
    p->random ^= p->random >> 12;
    p->random ^= p->random << 25;
    p->random ^= p->random >> 27;
    return (p->random * 2685821657736338717u >> 33) % below;
}

void pace_init(struct pace *p, size_t node_count, const char *identity,
               uint64_t seed)
{
    *p = (struct pace){
        .node_count = node_count,
        .backoff_ms = PACE_BACKOFF_MS,
        .overload_ms = PACE_OVERLOAD_MS,
        .patience_ms = PACE_PATIENCE_MS,
        .random = seed,
    };
    for (const char *c = identity; *c != '\0'; c++)
        p->random = (p->random ^ (uint8_t)*c) * 1099511628211u;
    p->random |= 1; /* zero would stay zero */
    p->node = draw(p, node_count);
}

void pace_progress(struct pace *p)
{
    p->backoff_ms = PACE_BACKOFF_MS;
    p->overload_ms = PACE_OVERLOAD_MS;
    p->refusals = 0;
    p->patience_ms = PACE_PATIENCE_MS;
}

/* @pause_ms with its upper half random; returns twice that, at most @max_ms. */
static uint64_t pause_double(struct pace *p, uint64_t now_ms, uint64_t pause_ms,
                             uint64_t max_ms)
{
    p->next_open_ms = now_ms + pause_ms / 2 + draw(p, pause_ms / 2 + 1);
    return pause_ms * 2 < max_ms ? pause_ms * 2 : max_ms;
}

void pace_move_on(struct pace *p, uint64_t now_ms, uint64_t least_ms)
{
    p->backoff_ms = pause_double(p, now_ms, p->backoff_ms, PACE_BACKOFF_MAX_MS);
    if (p->next_open_ms < now_ms + least_ms)
        p->next_open_ms = now_ms + least_ms;
    p->node = (p->node + 1) % p->node_count;
}

void pace_overloaded(struct pace *p, uint64_t now_ms)
{
    p->refusals++;
    if (p->refusals % p->node_count == 0)
        p->overload_ms =
            pause_double(p, now_ms, p->overload_ms, PACE_OVERLOAD_MAX_MS);
    else
        (void)pause_double(p, now_ms, PACE_BACKOFF_MS, PACE_BACKOFF_MS);
    p->node = (p->node + 1) % p->node_count;
}

void pace_lose_patience(struct pace *p, uint64_t now_ms)
{
    p->patience_ms *= 2;
    if (p->patience_ms > PACE_PATIENCE_MAX_MS)
        p->patience_ms = PACE_PATIENCE_MAX_MS;
    pace_move_on(p, now_ms, 0);
}
