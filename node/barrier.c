#include "node/barrier.h"

static void settled(struct proposal *p, int status)
{
    struct barrier *b = CONTAINER_OF(p, struct barrier, tick);
    if (status == 0) {
        b->applied_wanted = p->submission.outcome.index;
        b->state = BARRIER_APPLYING;
    } else {
        b->state = BARRIER_IDLE;
        b->wanted = true;
        b->ingest->retry_wanted = true;
    }
}

int barrier_init(struct barrier *b, struct ingest *ingest)
{
    *b = (struct barrier){.ingest = ingest, .tick = {.settled = settled}};
    record_put_tick(&b->record);
    return buf_failed(&b->record) ? ERR_NOMEM : 0;
}

void barrier_deinit(struct barrier *b)
{
    buf_deinit(&b->record);
}

uint64_t barrier_ticket(struct barrier *b)
{
    b->wanted = true;
    return b->started + 1;
}

bool barrier_has_passed(const struct barrier *b, uint64_t ticket)
{
    return b->passed >= ticket;
}

bool barrier_pump(struct barrier *b, uint64_t applied_index)
{
    bool passed = false;
    if (b->state == BARRIER_APPLYING && applied_index >= b->applied_wanted) {
        b->state = BARRIER_IDLE;
        b->passed = b->started;
        passed = true;
    }
    if (b->state != BARRIER_IDLE || !b->wanted)
        return passed;
    if (!b->ingest->has_leader) {
        b->ingest->retry_wanted = true;
        return passed;
    }
    b->wanted = false;
    b->started++;
    b->state = BARRIER_COMMITTING;
    b->tick.submission.record = buf_bytes(&b->record);
    b->ingest->submit(b->ingest, &b->tick);
    return passed;
}
