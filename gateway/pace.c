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
    p->patience_ms = PACE_PATIENCE_MS;
}

void pace_move_on(struct pace *p, uint64_t now_ms, uint64_t least_ms)
{
    uint64_t wait_ms = p->backoff_ms / 2 + draw(p, p->backoff_ms / 2 + 1);
    p->next_open_ms = now_ms + (wait_ms > least_ms ? wait_ms : least_ms);
    p->backoff_ms *= 2;
    if (p->backoff_ms > PACE_BACKOFF_MAX_MS)
        p->backoff_ms = PACE_BACKOFF_MAX_MS;
    p->node = (p->node + 1) % p->node_count;
}

void pace_lose_patience(struct pace *p, uint64_t now_ms)
{
    p->patience_ms *= 2;
    if (p->patience_ms > PACE_PATIENCE_MAX_MS)
        p->patience_ms = PACE_PATIENCE_MAX_MS;
    pace_move_on(p, now_ms, 0);
}
