#include "node/presence.h"

#include "base/assert.h"
#include "store/cell.h"

#include <stdlib.h>

static void settled(struct proposal *proposal, int status);

void presence_init(struct presence_round *p, struct ingest *ingest,
                   struct barrier *barrier,
                   void (*listen)(struct presence_round *p))
{
    *p = (struct presence_round){.ingest = ingest,
                                 .barrier = barrier,
                                 .proposal = {.settled = settled},
                                 .listen = listen};
}

void presence_deinit(struct presence_round *p)
{
    ASSERT(p->state != PRESENCE_TOLD);
    buf_deinit(&p->record);
    free(p->gateways);
}

/* --- who is heard --------------------------------------------------------- */

void presence_add(struct presence_round *p, uint32_t gateway)
{
    if (gateway == 0 || p->count == PRESENCE_GATEWAYS_MAX)
        return;
    if (p->count == p->capacity) {
        size_t capacity = p->capacity == 0 ? 64 : 2 * p->capacity;
        uint32_t *grown = realloc(p->gateways, capacity * sizeof *grown);
        if (grown == NULL)
            return;
        p->gateways = grown;
        p->capacity = capacity;
    }
    p->gateways[p->count++] = gateway;
}

static void listen_now(struct presence_round *p)
{
    p->count = 0;
    p->listen(p);
}

static int compare_ids(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Rising, none twice: a gateway that moved has two streams for a while. */
static void put_in_order(struct presence_round *p)
{
    qsort(p->gateways, p->count, sizeof *p->gateways, compare_ids);
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++)
        if (kept == 0 || p->gateways[kept - 1] != p->gateways[i])
            p->gateways[kept++] = p->gateways[i];
    p->count = kept;
}

/* --- telling it ----------------------------------------------------------- */

static void rest(struct presence_round *p, uint64_t ms)
{
    p->state = PRESENCE_RESTING;
    p->next_ms = p->ingest->now_ms + ms;
}

static void tell(struct presence_round *p)
{
    uint32_t minute = minute_of(p->ingest->log_time_ms(p->ingest));
    listen_now(p);
    put_in_order(p);
    buf_clear(&p->record);
    record_put_presence(&p->record, minute, p->gateways, p->count);
    if (p->count == 0 || buf_failed(&p->record)) {
        rest(p, PRESENCE_AGAIN_MS);
        return;
    }
    p->state = PRESENCE_TOLD;
    p->proposal.submission.record = buf_bytes(&p->record);
    p->ingest->submit(p->ingest, &p->proposal);
}

static void settled(struct proposal *proposal, int status)
{
    struct presence_round *p =
        CONTAINER_OF(proposal, struct presence_round, proposal);
    bool taken =
        status == 0 && proposal->submission.outcome.code == OUTCOME_TAKEN;
    uint64_t into_minute_ms = p->ingest->log_time_ms(p->ingest) % MINUTE_MS;
    /* Its middle, so that neither a hiccup of the leader nor one of the clock
     * leaves a minute out. */
    rest(p, taken ? MINUTE_MS - into_minute_ms + MINUTE_MS / 2
                  : PRESENCE_AGAIN_MS);
}

void presence_pump(struct presence_round *p)
{
    switch (p->state) {
    case PRESENCE_RESTING:
        if (p->ingest->now_ms < p->next_ms || !p->ingest->has_leader)
            return;
        listen_now(p);
        if (p->count == 0) {
            rest(p, PRESENCE_AGAIN_MS);
            return;
        }
        p->ticket = barrier_ticket(p->barrier);
        p->ingest->retry_wanted = true; /* the barrier is under way soon */
        p->state = PRESENCE_ASKED;
        return;
    case PRESENCE_ASKED:
        if (barrier_has_passed(p->barrier, p->ticket))
            tell(p);
        return;
    case PRESENCE_TOLD:
        return;
    }
}
