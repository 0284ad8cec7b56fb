#include "node/ingest_legacy.h"

#include "base/assert.h"

#include <uthash.h>
#include <xxhash.h>

#include <stdlib.h>

/* What a stream remembers of a peer: the last sample that it saw of it. */
struct legacy_peer {
    uint8_t key[PUBLIC_KEY_SIZE];
    uint64_t upload, download, handshake;
    struct legacy_sample *newest; /* borrowed: pending; NULL when committed */
    UT_hash_handle hh;
};

static void settled(struct proposal *p, int status);
static void peers_forget(struct legacy_stream *s, bool all);

void legacy_stream_init(struct legacy_stream *s, struct ingest *ingest,
                        struct barrier *barrier, const struct reporter *who)
{
    *s = (struct legacy_stream){.ingest = ingest,
                                .barrier = barrier,
                                .ticket = barrier_ticket(barrier),
                                .proposal = {.settled = settled},
                                .who = *who};
    s->last = &s->first;
}

void legacy_stream_deinit(struct legacy_stream *s)
{
    ASSERT(s->state != RECORD_IN_FLIGHT);
    s->ingest->bytes_in_flight -= s->record.capacity;
    buf_deinit(&s->record);
    while (s->first != NULL) {
        struct legacy_sample *next = s->first->next;
        s->ingest->bytes_in_flight -= sizeof *s->first;
        free(s->first);
        s->first = next;
    }
    s->pending = 0;
    peers_forget(s, true);
    text_cache_deinit(&s->texts);
}

bool legacy_stream_has_room(const struct legacy_stream *s)
{
    size_t samples_max = ingest_is_scarce(s->ingest) ? LEGACY_SAMPLES_SCARCE
                                                     : LEGACY_SAMPLES_MAX;
    return s->end == STREAM_GOES_ON && s->pending < samples_max;
}

bool legacy_stream_is_drained(const struct legacy_stream *s)
{
    return s->state == RECORD_NONE && s->pending == 0;
}

bool legacy_stream_is_in_flight(const struct legacy_stream *s)
{
    return s->state == RECORD_IN_FLIGHT;
}

/* Under the roster's lock. Ids are never used twice. */
static uint32_t look_up_gateway(struct legacy_stream *s)
{
    if (s->gateway == 0)
        s->gateway = roster_gateway_by_identity(s->ingest->roster,
                                                s->who.location, GATEWAY_LEGACY,
                                                s->who.identity, s->who.name);
    return s->gateway;
}

uint32_t legacy_stream_gateway(struct legacy_stream *s)
{
    if (!s->identified || s->gateway != 0)
        return s->gateway;
    roster_read_lock(s->ingest->roster);
    (void)look_up_gateway(s);
    roster_read_unlock(s->ingest->roster);
    return s->gateway;
}

/* --- keeping the newest --------------------------------------------------- */

/* Those without a pending sample, or all. */
static void peers_forget(struct legacy_stream *s, bool all)
{
    struct legacy_peer *next;
    for (struct legacy_peer *peer = s->peers; peer != NULL; peer = next) {
        next = peer->hh.next;
        if (peer->newest != NULL && !all)
            continue;
        HASH_DEL(s->peers, peer);
        free(peer);
        s->peer_count--;
        s->ingest->peers_remembered--;
    }
}

/* Never so that most would have to stay: forgetting looks at each of them. */
static bool remembers_too_much(const struct legacy_stream *s)
{
    return s->peer_count >= LEGACY_PEERS_MAX ||
           (s->ingest->peers_remembered >= INGEST_PEERS_MAX &&
            s->peer_count >= 2 * s->pending + LEGACY_PEERS_LEAST);
}

static struct legacy_peer *peer_of(struct legacy_stream *s, const uint8_t *key)
{
    struct legacy_peer *peer;
    unsigned hash = (unsigned)ingest_key_hash(s->ingest, key);
    HASH_FIND_BYHASHVALUE(hh, s->peers, key, PUBLIC_KEY_SIZE, hash, peer);
    if (peer != NULL)
        return peer;
    /* Costs no more than the sight of a fall across this moment. */
    if (remembers_too_much(s))
        peers_forget(s, false);
    peer = calloc(1, sizeof *peer);
    if (peer == NULL)
        return NULL;
    memcpy(peer->key, key, sizeof peer->key);
    HASH_ADD_BYHASHVALUE(hh, s->peers, key, PUBLIC_KEY_SIZE, hash, peer);
    s->peer_count++;
    s->ingest->peers_remembered++;
    return peer;
}

static struct legacy_sample *sample_append(struct legacy_stream *s)
{
    struct legacy_sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL)
        return NULL;
    *s->last = sample;
    s->last = &sample->next;
    s->pending++;
    s->ingest->bytes_in_flight += sizeof *sample;
    return sample;
}

static uint8_t text_copy(char *out, struct bytes text, size_t length_max)
{
    size_t length = text.size < length_max ? text.size : length_max;
    if (length > 0)
        memcpy(out, text.data, length);
    return (uint8_t)length;
}

static void sample_fill(struct legacy_sample *sample,
                        const struct stat_report *report, uint64_t rec_ms)
{
    memcpy(sample->key, report->public_key, sizeof sample->key);
    sample->upload = report->upload;
    sample->download = report->download;
    sample->handshake = report->latest_handshake;
    sample->rec_ms = rec_ms;
    sample->endpoint_length =
        text_copy(sample->endpoint, report->endpoint, sizeof sample->endpoint);
    sample->allowed_ips_length = text_copy(
        sample->allowed_ips, report->allowed_ips, sizeof sample->allowed_ips);
}

int legacy_stream_add(struct legacy_stream *s, const struct stat_report *report)
{
    struct legacy_peer *peer = peer_of(s, report->public_key);
    if (peer == NULL)
        return ERR_LIMIT;
    /* A fall is a reset, and the sample before it and the one at it are what
     * apply needs to count both sides; a newer value that has passed the old
     * one would hide it. */
    bool fell = report->upload < peer->upload ||
                report->download < peer->download ||
                report->latest_handshake < peer->handshake;
    struct legacy_sample *sample = peer->newest;
    if (sample == NULL || sample->pinned || fell) {
        sample = ingest_is_full(s->ingest) ? NULL : sample_append(s);
        if (sample == NULL)
            return ERR_LIMIT;
        sample->pinned = fell;
    }
    sample_fill(sample, report,
                s->stamping ? s->ingest->log_time_ms(s->ingest) : 0);
    peer->newest = sample;
    peer->upload = report->upload;
    peer->download = report->download;
    peer->handshake = report->latest_handshake;
    return 0;
}

/* --- records -------------------------------------------------------------- */

static void put_sample(struct legacy_stream *s, struct batch_writer *w,
                       const struct legacy_sample *sample, uint32_t device)
{
    uint64_t key = ingest_key_hash(s->ingest, sample->key);
    struct batch_peer peer = {
        .device = device,
        .key = sample->key,
        .upload = sample->upload,
        .download = sample->download,
        .handshake = sample->handshake,
        .rec_ms = sample->rec_ms,
        .endpoint = {(const uint8_t *)sample->endpoint,
                     sample->endpoint_length},
        .allowed_ips = {(const uint8_t *)sample->allowed_ips,
                        sample->allowed_ips_length},
    };
    uint64_t text = XXH3_64bits_withSeed(
        peer.allowed_ips.data, peer.allowed_ips.size,
        XXH3_64bits_withSeed(peer.endpoint.data, peer.endpoint.size, device));
    peer.has_endpoint = text_cache_changed(&s->texts, key, text);
    batch_put(w, &peer);
}

/* The first sample leaves the list: it is in a record now. */
static void sample_leave(struct legacy_stream *s)
{
    struct legacy_sample *sample = s->first;
    struct legacy_peer *peer;
    ASSERT(sample != NULL);
    unsigned hash = (unsigned)ingest_key_hash(s->ingest, sample->key);
    HASH_FIND_BYHASHVALUE(hh, s->peers, sample->key, PUBLIC_KEY_SIZE, hash,
                          peer);
    if (peer != NULL && peer->newest == sample)
        peer->newest = NULL;
    s->first = sample->next;
    if (s->first == NULL)
        s->last = &s->first;
    s->pending--;
    s->ingest->bytes_in_flight -= sizeof *sample;
    free(sample);
}

/* Moves up to BATCH_PEERS_MAX samples, in order, into s->record. */
static int encode(struct legacy_stream *s)
{
    uint32_t devices[BATCH_PEERS_MAX];
    struct roster *roster = s->ingest->roster;
    struct batch_head head = {.location = s->who.location,
                              .identity = s->who.identity,
                              .hostname = s->who.hostname,
                              .name = s->who.name,
                              .address = s->who.address};
    size_t count = 0;
    roster_read_lock(roster);
    head.gateway = look_up_gateway(s);
    for (struct legacy_sample *at = s->first;
         at != NULL && count < BATCH_PEERS_MAX; at = at->next)
        devices[count++] = roster_device_by_key(roster, at->key);
    roster_read_unlock(roster);

    struct batch_writer w;
    batch_begin(&w, &s->record, RECORD_LEGACY_BATCH, &head);
    const struct legacy_sample *at = s->first;
    for (size_t i = 0; i < count; i++, at = at->next)
        put_sample(s, &w, at, devices[i]);
    batch_end(&w);
    if (buf_failed(&s->record)) {
        buf_deinit(&s->record);
        return ERR_NOMEM;
    }
    for (; count > 0; count--)
        sample_leave(s);
    s->ingest->bytes_in_flight += s->record.capacity;
    return 0;
}

static void stamp_held(struct legacy_stream *s)
{
    uint64_t rec_ms = s->ingest->log_time_ms(s->ingest);
    for (struct legacy_sample *at = s->first; at != NULL; at = at->next)
        at->rec_ms = rec_ms;
    s->stamping = true;
}

static void record_submit(struct legacy_stream *s)
{
    s->state = RECORD_IN_FLIGHT;
    s->proposal.submission.record = buf_bytes(&s->record);
    s->ingest->submit(s->ingest, &s->proposal);
}

void legacy_stream_pump(struct legacy_stream *s)
{
    if (s->end != STREAM_GOES_ON || s->state == RECORD_IN_FLIGHT ||
        legacy_stream_is_drained(s))
        return;
    if (!s->stamping && barrier_has_passed(s->barrier, s->ticket))
        stamp_held(s);
    if (!s->stamping)
        return; /* the barrier's end pumps every stream */
    if (!s->identified && s->identify != NULL && !s->identify(s)) {
        s->end = STREAM_UNNAMED;
        return;
    }
    s->identified = true;
    bool may_go =
        s->ingest->has_leader &&
        (s->state == RECORD_NONE || s->ingest->now_ms >= s->again_at_ms);
    if (!may_go || (s->state == RECORD_NONE && encode(s) != 0)) {
        s->ingest->retry_wanted = true;
        return;
    }
    record_submit(s);
}

static void settled(struct proposal *p, int status)
{
    struct legacy_stream *s = CONTAINER_OF(p, struct legacy_stream, proposal);
    if (status != 0) {
        /* The same bytes again: apply knows what it has seen. */
        s->state = RECORD_AGAIN;
        s->again_at_ms = s->ingest->now_ms + INGEST_RETRY_MS;
        atomic_fetch_add(&s->ingest->counters->resubmitted, 1);
    } else {
        s->state = RECORD_NONE;
        s->end = stream_end_of(&p->submission.outcome);
        if (s->end == STREAM_GOES_ON)
            atomic_fetch_add(&s->ingest->counters->acknowledged, 1);
        s->ingest->bytes_in_flight -= s->record.capacity;
        buf_deinit(&s->record);
    }
    legacy_stream_pump(s);
    s->changed(s);
}
