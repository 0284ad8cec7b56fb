#include "node/ingest_native.h"

#include "base/assert.h"

#include <xxhash.h>

#include <stdlib.h>

static void submit(struct native_stream *s, struct native_batch *b);
static void settled(struct proposal *p, int status);
static void leave_in_order(struct native_stream *s);
static void batch_free(struct native_stream *s, struct native_batch *b);

void native_stream_init(struct native_stream *s, struct ingest *ingest,
                        void (*changed)(struct native_stream *s), void *arg)
{
    *s = (struct native_stream){
        .ingest = ingest, .changed = changed, .arg = arg};
}

void native_stream_deinit(struct native_stream *s)
{
    ASSERT(s->in_flight == 0);
    native_stream_stop(s);
    text_cache_deinit(&s->texts);
}

void native_stream_stop(struct native_stream *s)
{
    s->stopped = true;
    struct native_batch **at = &s->first;
    s->last = NULL;
    while (*at != NULL) {
        struct native_batch *b = *at;
        if (b->state == BATCH_IN_FLIGHT) {
            s->last = b;
            at = &b->next;
        } else {
            *at = b->next;
            batch_free(s, b);
        }
    }
}

int native_stream_add(struct native_stream *s, uint64_t session,
                      uint64_t sequence, struct buf *record)
{
    if (s->ingest->bytes_in_flight + record->capacity > INGEST_BYTES_MAX)
        return ERR_LIMIT;
    struct native_batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return ERR_LIMIT;
    b->proposal.settled = settled;
    b->stream = s;
    b->session = session;
    b->sequence = sequence;
    b->record = *record;
    *record = (struct buf){0};
    if (s->last != NULL)
        s->last->next = b;
    else
        s->first = b;
    s->last = b;
    s->count++;
    s->bytes += b->record.size;
    s->ingest->bytes_in_flight += b->record.capacity;
    native_stream_pump(s);
    return 0;
}

bool native_stream_has_room(const struct native_stream *s)
{
    if (s->stopped || s->end != STREAM_GOES_ON)
        return false;
    return s->count == 0 ||
           (!ingest_is_scarce(s->ingest) && s->count < NATIVE_BATCHES_MAX &&
            s->bytes < NATIVE_BYTES_MAX);
}

bool native_stream_ack(struct native_stream *s, uint64_t *sequence,
                       uint64_t *applied_index)
{
    if (!s->ack_due)
        return false;
    s->ack_due = false;
    *sequence = s->taken;
    *applied_index = s->applied_index;
    return true;
}

void native_stream_pump(struct native_stream *s)
{
    struct ingest *ingest = s->ingest;
    if (s->stopped || s->end != STREAM_GOES_ON || s->first == NULL)
        return;
    bool may_go =
        ingest->has_leader &&
        (!s->again || (s->in_flight == 0 && ingest->now_ms >= s->again_at_ms));
    if (!may_go) {
        ingest->retry_wanted = true;
        return;
    }
    if (s->again) {
        s->again = false;
        for (struct native_batch *b = s->first; b != NULL; b = b->next)
            if (b->state == BATCH_AGAIN)
                b->state = BATCH_READY;
    }
    /* A new session waits until the old one is through: in the log it would
     * supersede what is still to be repeated. */
    for (struct native_batch *b = s->first;
         b != NULL && b->session == s->first->session; b = b->next)
        if (b->state == BATCH_READY)
            submit(s, b);
}

static void submit(struct native_stream *s, struct native_batch *b)
{
    b->state = BATCH_IN_FLIGHT;
    b->was_first = b == s->first;
    b->proposal.submission.record = buf_bytes(&b->record);
    s->in_flight++;
    s->ingest->submit(s->ingest, &b->proposal);
}

/* What the outcome of one submission makes of a batch. */
static void judge(struct native_stream *s, struct native_batch *b, int status)
{
    const struct outcome *outcome = &b->proposal.submission.outcome;
    enum stream_end end = status != 0 ? STREAM_GOES_ON : stream_end_of(outcome);
    if (status == 0 && end == STREAM_GOES_ON) {
        b->state = BATCH_TAKEN;
        return;
    }
    b->state = BATCH_AGAIN;
    /* A gap says something of the gateway only if nothing of this stream was
     * open before the batch when it was submitted; else the one before it may
     * simply have been lost or overtaken on the way. */
    if (status != 0 || (end == STREAM_GAP && !b->was_first)) {
        s->again = true;
        s->again_at_ms = s->ingest->now_ms + INGEST_RETRY_MS;
        atomic_fetch_add(&s->ingest->counters->resubmitted, 1);
        return;
    }
    if (s->end == STREAM_GOES_ON) {
        s->end = end;
        s->end_value = outcome->value;
    }
}

static void settled(struct proposal *p, int status)
{
    struct native_batch *b = CONTAINER_OF(p, struct native_batch, proposal);
    struct native_stream *s = b->stream;
    s->in_flight--;
    judge(s, b, status);
    if (s->stopped) {
        native_stream_stop(s);
    } else {
        leave_in_order(s);
        native_stream_pump(s);
    }
    s->changed(s);
}

static void leave_in_order(struct native_stream *s)
{
    while (s->first != NULL && s->first->state == BATCH_TAKEN) {
        struct native_batch *b = s->first;
        s->taken = b->sequence;
        s->ack_due = true;
        s->applied_index = b->proposal.submission.outcome.index;
        atomic_fetch_add(&s->ingest->counters->acknowledged, 1);
        s->first = b->next;
        if (s->first == NULL)
            s->last = NULL;
        batch_free(s, b);
    }
}

static void batch_free(struct native_stream *s, struct native_batch *b)
{
    s->count--;
    s->bytes -= b->record.size;
    s->ingest->bytes_in_flight -= b->record.capacity;
    buf_deinit(&b->record);
    free(b);
}

/* --- the record ----------------------------------------------------------- */

struct row {
    uint32_t device, at; /* index in the batch: keeps equal devices in order */
};

static int row_compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* Small differences between neighbours make small records. */
static void rows_sort(struct row *rows, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (rows[i].device < rows[i - 1].device) {
            qsort(rows, count, sizeof *rows, row_compare);
            return;
        }
}

static void put_peer(struct native_stream *s, struct batch_writer *w,
                     const struct row *row, const struct stat_report *report,
                     struct buf *joined)
{
    uint64_t key = ingest_key_hash(s->ingest, report->public_key);
    buf_clear(joined);
    stat_report_join_allowed_ips(report, joined);
    /* The device is part of it: what was told of an unknown key is told again
     * once the key has a device. */
    uint64_t text = XXH3_64bits_withSeed(
        joined->data, joined->size,
        XXH3_64bits_withSeed(report->endpoint.data, report->endpoint.size,
                             row->device));
    struct batch_peer peer = {
        .device = row->device,
        .key = report->public_key,
        .upload = report->upload,
        .download = report->download,
        .handshake = report->latest_handshake,
        .from_zero = report->from_zero,
        .has_endpoint = text_cache_changed(&s->texts, key, text),
        .endpoint = report->endpoint,
        .allowed_ips = buf_bytes(joined),
    };
    batch_put(w, &peer);
}

int native_record_encode(struct native_stream *s, const struct reporter *who,
                         const struct report_batch *batch, struct buf *out)
{
    struct roster *roster = s->ingest->roster;
    struct batch_head head = {
        .location = who->location,
        .identity = who->identity,
        .hostname = who->hostname,
        .session = batch->session,
        .sequence = batch->sequence,
        /* Not told: now, as the log knows it. It is in the record, so it stays
         * the same however often that is submitted. */
        .sampled_at_ms = batch->sampled_at_ms != 0
                             ? batch->sampled_at_ms
                             : s->ingest->log_time_ms(s->ingest),
        .has_machine = batch->machine.size > 0,
        .machine = XXH3_64bits(batch->machine.data, batch->machine.size),
    };
    if (head.has_machine)
        s->machine = head.machine;
    struct row *rows = calloc(batch->peer_count + 1, sizeof *rows);
    if (rows == NULL)
        return ERR_NOMEM;
    roster_read_lock(roster);
    head.gateway =
        roster_gateway_by_identity(roster, who->location, GATEWAY_NATIVE,
                                   who->identity, (struct bytes){0});
    for (size_t i = 0; i < batch->peer_count; i++)
        rows[i] = (struct row){
            roster_device_by_key(roster, batch->peers[i].public_key),
            (uint32_t)i};
    roster_read_unlock(roster);
    rows_sort(rows, batch->peer_count);

    struct batch_writer w;
    struct buf joined = {0};
    batch_begin(&w, out, RECORD_NATIVE_BATCH, &head);
    for (size_t i = 0; i < batch->peer_count; i++)
        put_peer(s, &w, &rows[i], &batch->peers[rows[i].at], &joined);
    batch_end(&w);
    bool failed = buf_failed(out) || buf_failed(&joined);
    buf_deinit(&joined);
    free(rows);
    return failed ? ERR_NOMEM : 0;
}
