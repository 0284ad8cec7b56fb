/* Any bytes as a run of records, applied to a roster as committed ones are.
 * Whatever that did, the rows must load to the same rows again. */
#include "base/assert.h"
#include "store/roster.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply_batch(struct roster *r, const struct record *record,
                        uint64_t step) REQUIRES(applier_thread)
{
    struct batch_reader reader;
    struct batch_head head;
    struct batch_peer peer;
    struct gateway *g;
    struct outcome o = {0};
    uint32_t device;
    if (batch_open(&reader, record, &head) != 0)
        return;
    enum gateway_kind kind =
        record->kind == RECORD_NATIVE_BATCH ? GATEWAY_NATIVE : GATEWAY_LEGACY;
    ASSERT(roster_resolve_gateway(r, &head, kind, step, &g, &o) == 0);
    if (g == NULL) {
        ASSERT(o.code != OUTCOME_TAKEN);
        return;
    }
    struct gateway state = *g;
    state.session = head.session;
    state.sequence = head.sequence;
    roster_update_gateway(r, g, &state);
    while (batch_next(&reader, &peer) == 1) {
        if (peer.device == 0)
            ASSERT(roster_claim_key(r, head.location, peer.key, step, step,
                                    &device) == 0);
    }
}

struct copy {
    struct roster *into;
    struct buf text; /* all rows, one after the other */
};

static int copy_row(void *arg, uint8_t kind, uint32_t id, struct bytes row)
{
    struct copy *c = arg;
    struct errmsg e;
    ASSERT(row.size > 0);
    buf_put_u8(&c->text, kind);
    buf_put_u32(&c->text, id);
    buf_put_bytes(&c->text, row);
    if (c->into != NULL)
        ASSERT(roster_load_row(c->into, kind, id, row, &e) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct copy first = {0}, second = {0};
    struct roster *r;
    thread_role_assert(&applier_thread);
    ASSERT(roster_create(&r) == 0 && roster_create(&first.into) == 0);
    struct reader records = reader_of((struct bytes){data, size});
    struct record record;
    struct outcome o;
    for (uint64_t step = 1; record_next(&records, &record) == 1; step++) {
        if (record.kind == RECORD_NATIVE_BATCH ||
            record.kind == RECORD_LEGACY_BATCH)
            apply_batch(r, &record, step);
        else
            ASSERT(roster_apply(r, &record, step, step, &o) == 0);
    }
    ASSERT(roster_each_row(r, copy_row, &first) == 0);
    ASSERT(roster_each_row(first.into, copy_row, &second) == 0);
    ASSERT(bytes_equal(buf_bytes(&first.text), buf_bytes(&second.text)));
    buf_deinit(&first.text);
    buf_deinit(&second.text);
    roster_destroy(first.into);
    roster_destroy(r);
    return 0;
}
