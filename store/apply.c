/* store_apply: one log entry into memory, by DESIGN's rules 1-7. Reads the
 * entry and the state, nothing else: every replica must come to the same.
 * Counting itself is in counting.c; here are identities, times and cells.
 * Applier thread, under the store's lock. */
#include "store/state.h"

#include "base/assert.h"
#include "store/apply.h"
#include "store/retention.h"

#include <stdlib.h>
#include <xxhash.h>

/* What the samples of one batch have in common. */
struct batch {
    uint32_t location, gateway;
    bool native;
    uint64_t origin;
    uint64_t sampled_ms;  /* native */
    uint32_t threshold_s; /* after which a peer is disconnected */
    uint32_t minute;      /* where growth falls */
    struct growth total;
    bool heard;             /* something in it is news */
    struct hearing hearing; /* legacy: of its gateway, if it is heard */
    struct spread spread;   /* what s->spread holds; none: nothing yet */
};

/* --- cells ------------------------------------------------------------------
 */

static int add_late(struct store *s, const struct slot *slot, uint32_t minute,
                    struct growth growth)
{
    struct cell cell = {.bucket = minute,
                        .location = slot->location,
                        .device = slot->device,
                        .gateway = slot->gateway,
                        .upload = growth.upload,
                        .download = growth.download};
    return cells_gather(&s->late, &cell);
}

/* Adds to the cell of @minute: the slot's open one, or a late one. */
static int add_to_cell(struct store *s, struct slot *slot, uint32_t minute,
                       struct growth growth)
{
    if (retention_is_over(s, minute))
        return 0;
    if (bucket_is_due(TIER_MINUTE, minute, s->log_time_ms))
        return add_late(s, slot, minute, growth);
    struct open_cell *open = &slot->open[minute & 1];
    if (open->used && open->minute != minute) {
        /* Of one parity, so two minutes older at least, so due. */
        ASSERT(open->minute < minute);
        int rc = add_late(s, slot, open->minute,
                          (struct growth){open->upload, open->download});
        if (rc != 0)
            return rc;
        open->used = false;
    }
    if (!open->used)
        *open = (struct open_cell){.minute = minute, .used = true};
    open->upload += growth.upload;
    open->download += growth.download;
    if (minute < s->earliest_open)
        s->earliest_open = minute;
    return 0;
}

/* Into the minute of the batch, where its samples fall. */
static int add_now(struct store *s, struct batch *batch, struct slot *slot,
                   struct growth growth)
{
    batch->total.upload += growth.upload;
    batch->total.download += growth.download;
    s->counters.late +=
        bucket_is_due(TIER_MINUTE, batch->minute, s->log_time_ms);
    return add_to_cell(s, slot, batch->minute, growth);
}

/* Over the minutes in which nobody heard the gateway; every sample of a batch
 * has the same ones, so that their sums can be added to its total at the end.
 */
static int add_spread(struct store *s, struct batch *batch, struct slot *slot,
                      struct spread spread, struct growth growth)
{
    if (batch->spread.count == 0)
        memset(s->spread, 0, spread.count * sizeof *s->spread);
    batch->spread = spread;
    s->counters.spread++;
    for (uint32_t i = 0; i < spread_shares(spread); i++) {
        uint32_t minute;
        struct growth share =
            spread_share(spread, growth, slot->device, i, &minute);
        if (share.upload == 0 && share.download == 0)
            continue;
        struct growth *sum = &s->spread[minute - spread.first];
        sum->upload += share.upload;
        sum->download += share.download;
        int rc = add_to_cell(s, slot, minute, share);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The slot that was found, or a new one, ready to be changed. NULL: no memory.
 */
static struct slot *slot_to_change(struct store *s, struct slot *found,
                                   struct slot_key key) REQUIRES(applier_thread)
{
    if (found != NULL)
        return flush_job_keep(s, found) == 0 ? found : NULL;
    struct slot *slot = table_add(&s->table, key);
    if (slot != NULL)
        flush_job_leave_out(s, slot);
    return slot;
}

/* An expired slot counts as absent: the sample that finds it begins anew. Its
 * open cells are history and stay. */
static void renew_slot(struct slot *slot)
{
    free(slot->address);
    slot->address = NULL;
    slot->address_changed = true;
    slot->last = (struct sample){0};
    slot->connected_s = 0;
}

/* --- samples ----------------------------------------------------------------
 */

/* 0 in @device when the sample is to be skipped. */
static int resolve_device(struct store *s, const struct batch *batch,
                          const struct batch_peer *peer, uint64_t index,
                          uint32_t *device) REQUIRES(applier_thread)
{
    *device = peer->device;
    if (*device != 0) {
        /* Deleted between ingest and here. */
        if (roster_device(s->roster, *device) == NULL)
            *device = 0;
        return 0;
    }
    *device = roster_device_by_key(s->roster, peer->key);
    if (*device != 0)
        return 0;
    return roster_claim_key(s->roster, batch->location, peer->key, index,
                            s->log_time_ms, device);
}

static void count_verdict(struct store *s, enum verdict verdict,
                          const struct sample *sample)
{
    switch (verdict) {
    case COUNT_DUPLICATE:
        s->counters.duplicates++;
        break;
    case COUNT_STALE:
        s->counters.stale++;
        break;
    case COUNT_RESET:
        s->counters.resets += !sample->from_zero;
        break;
    case COUNT_BASELINE:
    case COUNT_DIFFERENCE:
        break;
    }
}

static int store_sample(struct store *s, struct batch *batch, struct slot *slot,
                        struct slot_key key, const struct sample *sample,
                        const struct batch_peer *peer, struct growth growth)
    REQUIRES(applier_thread)
{
    bool expired = slot != NULL && slot_is_expired(slot, s->log_time_ms);
    slot = slot_to_change(s, slot, key);
    if (slot == NULL)
        return ERR_NOMEM;
    if (expired)
        renew_slot(slot);
    uint64_t stored_ms = slot->seen_ms;
    slot->connected_s =
        count_connected(slot->connected_s, slot->last.handshake_s,
                        sample->handshake_s, batch->threshold_s);
    slot->last = *sample;
    slot->last.from_zero = false;
    slot->seen_ms = s->log_time_ms;
    batch->heard = true;
    if (peer->has_endpoint &&
        slot_set_address(slot, peer->endpoint, peer->allowed_ips) != 0)
        return ERR_NOMEM;
    if (growth.upload == 0 && growth.download == 0)
        return 0;
    struct spread spread = {0};
    if (!batch->native)
        spread = spread_of(&batch->hearing, stored_ms, s->horizon[TIER_MINUTE]);
    return spread.count > 0 ? add_spread(s, batch, slot, spread, growth)
                            : add_now(s, batch, slot, growth);
}

static int apply_sample(struct store *s, struct batch *batch,
                        const struct batch_peer *peer, uint64_t index)
    REQUIRES(applier_thread)
{
    struct sample sample = {
        .upload = peer->upload,
        .download = peer->download,
        .handshake_s = count_handshake(peer->handshake, s->log_time_ms),
        .time_ms = batch->native ? batch->sampled_ms : peer->rec_ms,
        .origin = batch->origin,
        .from_zero = batch->native && peer->from_zero,
    };
    s->counters.reports++;
    s->unflushed++;
    if (!batch->native) {
        /* A receipt stamp is a log time that a replica knew; one beyond the
         * entry's own would make all that follow look stale. */
        if (sample.time_ms > s->log_time_ms)
            sample.time_ms = s->log_time_ms;
        if (s->log_time_ms - sample.time_ms > RECEIPT_AGE_MAX_MS) {
            s->counters.stale++;
            return 0;
        }
    }
    uint32_t device;
    int rc = resolve_device(s, batch, peer, index, &device);
    if (rc != 0)
        return rc;
    if (device == 0) {
        s->counters.unknown_keys++;
        return 0;
    }
    struct slot_key key = {batch->location, device, batch->gateway};
    struct slot *slot = table_find(&s->table, key);
    const struct sample *stored =
        slot == NULL || slot_is_expired(slot, s->log_time_ms) ? NULL
                                                              : &slot->last;
    struct growth growth;
    enum verdict verdict = batch->native
                               ? count_native(stored, &sample, &growth)
                               : count_legacy(stored, &sample, &growth);
    count_verdict(s, verdict, &sample);
    if (verdict == COUNT_DUPLICATE || verdict == COUNT_STALE)
        return 0;
    return store_sample(s, batch, slot, key, &sample, peer, growth);
}

/* --- batches ----------------------------------------------------------------
 */

/* The gateway's total marks the minute as observed, with zero bytes too. */
static int add_total(struct store *s, const struct batch *batch)
    REQUIRES(applier_thread)
{
    struct slot_key key = {batch->location, GATEWAY_TOTAL, batch->gateway};
    struct slot *slot = slot_to_change(s, table_find(&s->table, key), key);
    if (slot == NULL)
        return ERR_NOMEM;
    slot->seen_ms = s->log_time_ms;
    int rc = add_to_cell(s, slot, batch->minute, batch->total);
    for (uint32_t i = 0; i < batch->spread.count && rc == 0; i++) {
        struct growth growth = s->spread[i];
        if (growth.upload != 0 || growth.download != 0)
            rc = add_to_cell(s, slot, batch->spread.first + i, growth);
    }
    return rc;
}

/* Every peer of the record into s->peers, so that a record that breaks off in
 * the middle changes nothing. */
static int read_peers(struct store *s, struct batch_reader *r, size_t *count)
{
    int rc;
    struct batch_peer peer;
    *count = 0;
    while ((rc = batch_next(r, &peer)) > 0) {
        if (*count == BATCH_PEERS_MAX)
            return ERR_CORRUPT;
        s->peers[(*count)++] = peer;
    }
    return rc;
}

static void count_refusal(struct store *s, enum outcome_code code)
{
    s->counters.duplicates += code == OUTCOME_DUPLICATE;
    s->counters.gaps += code == OUTCOME_GAP;
    s->counters.superseded += code == OUTCOME_SUPERSEDED;
}

/* Rule 1: is it the next one? If so the gateway's state moves on. */
static void take_native(struct store *s, const struct batch_head *head,
                        struct gateway *gateway, struct batch *batch,
                        struct outcome *outcome) REQUIRES(applier_thread)
{
    struct place stored = {gateway->session, gateway->sequence};
    struct place place = {head->session, head->sequence};
    outcome->code = count_batch(stored, place, &outcome->value);
    count_refusal(s, outcome->code);
    if (outcome->code != OUTCOME_TAKEN)
        return;
    struct gateway state = *gateway;
    uint64_t sampled_ms = head->sampled_at_ms;
    if (place.session == stored.session && sampled_ms < gateway->sampled_ms)
        sampled_ms = gateway->sampled_ms;
    if (sampled_ms > s->log_time_ms)
        sampled_ms = s->log_time_ms;
    state.session = place.session;
    state.sequence = place.sequence;
    state.sampled_ms = sampled_ms;
    state.seen_ms = s->log_time_ms;
    if (head->has_machine && place.sequence == 1)
        state.machine = head->machine;
    roster_update_gateway(s->roster, gateway, &state);
    batch->origin = state.machine;
    batch->sampled_ms = sampled_ms;
    batch->minute = minute_of(sampled_ms);
    batch->heard = true;
}

static void take_legacy(struct store *s, const struct batch_head *head,
                        struct gateway *gateway, struct batch *batch)
    REQUIRES(applier_thread)
{
    struct gateway state = *gateway;
    state.seen_ms = s->log_time_ms;
    roster_update_gateway(s->roster, gateway, &state);
    batch->origin = XXH3_64bits(head->address.data, head->address.size);
    batch->minute = minute_of(s->log_time_ms);
    batch->hearing = hearing_at(gateway->hearing, batch->minute);
}

/* Rule 8: @hearing takes note of this minute. */
static void note_hearing(struct store *s, struct gateway *gateway,
                         struct hearing hearing) REQUIRES(applier_thread)
{
    struct gateway state = *gateway;
    state.seen_ms = s->log_time_ms;
    state.hearing = hearing;
    roster_update_gateway(s->roster, gateway, &state);
}

int apply_batch(struct store *s, const struct record *record, uint64_t index,
                struct outcome *outcome)
{
    struct batch_head head;
    struct batch_reader reader;
    size_t count;
    if (batch_open(&reader, record, &head) != 0 ||
        read_peers(s, &reader, &count) != 0) {
        outcome->code = OUTCOME_INVALID;
        return 0;
    }
    bool native = record->kind == RECORD_NATIVE_BATCH;
    struct gateway *gateway = NULL;
    int rc = roster_resolve_gateway(s->roster, &head,
                                    native ? GATEWAY_NATIVE : GATEWAY_LEGACY,
                                    s->log_time_ms, &gateway, outcome);
    if (rc != 0 || outcome->code != OUTCOME_TAKEN)
        return rc;
    const struct location *l = roster_location(s->roster, gateway->location);
    struct batch batch = {.location = gateway->location,
                          .gateway = gateway->id,
                          .native = native,
                          .threshold_s = l->peer_disconnect_threshold_s};
    if (native)
        take_native(s, &head, gateway, &batch, outcome);
    else
        take_legacy(s, &head, gateway, &batch);
    if (outcome->code != OUTCOME_TAKEN)
        return 0;
    s->counters.batches++;
    for (size_t i = 0; i < count; i++)
        if ((rc = apply_sample(s, &batch, &s->peers[i], index)) != 0)
            return rc;
    /* A legacy batch of nothing but old news proves nothing about now. */
    if (!batch.heard && count > 0)
        return 0;
    if (!native) {
        note_hearing(s, gateway, batch.hearing);
        roster_note_host(s->roster, gateway, head.address, s->log_time_ms);
    }
    return add_total(s, &batch);
}

/* --- presence ---------------------------------------------------------------
 */

static bool presence_is_whole(const struct record *record, uint32_t *minute)
{
    struct presence_reader r;
    uint32_t gateway;
    int rc = presence_open(&r, record);
    *minute = r.minute;
    while (rc == 0 && (rc = presence_next(&r, &gateway)) > 0)
        rc = 0;
    return rc == 0 && r.rest.size == 0;
}

/* Nothing to do for one that was heard in this minute already, by whomever. */
static int apply_heard(struct store *s, uint32_t id, uint32_t minute)
    REQUIRES(applier_thread)
{
    struct gateway *gateway =
        roster_reporting_gateway(s->roster, id, GATEWAY_LEGACY);
    if (gateway == NULL || gateway->hearing.minute >= minute)
        return 0;
    note_hearing(s, gateway, hearing_at(gateway->hearing, minute));
    return add_total(s, &(struct batch){.location = gateway->location,
                                        .gateway = id,
                                        .minute = minute});
}

int apply_presence(struct store *s, const struct record *record,
                   struct outcome *outcome)
{
    uint32_t minute, gateway;
    if (!presence_is_whole(record, &minute)) {
        outcome->code = OUTCOME_INVALID;
        return 0;
    }
    /* Of another minute than the entry's nobody knows whether somebody
     * listened: it came late, out of a frozen node or a slow leader. */
    if (minute != minute_of(s->log_time_ms)) {
        outcome->code = OUTCOME_DUPLICATE;
        return 0;
    }
    s->counters.presences++;
    struct presence_reader r;
    int rc = presence_open(&r, record);
    while (rc == 0 && (rc = presence_next(&r, &gateway)) > 0)
        rc = apply_heard(s, gateway, minute);
    return rc;
}

/* --- log time ---------------------------------------------------------------
 */

void apply_log_time(struct store *s, uint64_t log_time_ms)
{
    if (log_time_ms <= s->log_time_ms)
        return;
    uint64_t before_ms = s->log_time_ms;
    s->log_time_ms = log_time_ms;
    retention_move_horizons(s, before_ms);
}
