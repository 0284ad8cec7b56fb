#include "gateway/sampler.h"

#include <stdlib.h>

void sampler_deinit(struct sampler *s)
{
    free(s->last.items);
    free(s->next.items);
    free(s->reports);
    *s = (struct sampler){0};
}

static int by_key(const void *a, const void *b)
{
    return memcmp(((const struct wg_peer *)a)->public_key,
                  ((const struct wg_peer *)b)->public_key, REPORT_KEY_SIZE);
}

static int make_room(struct sampler *s, size_t count)
{
    if (s->next.capacity < count) {
        struct sampled_peer *items =
            realloc(s->next.items, count * sizeof *items);
        if (items == NULL)
            return ERR_NOMEM;
        s->next.items = items;
        s->next.capacity = count;
    }
    if (s->report_capacity < count) {
        struct stat_report *reports =
            realloc(s->reports, count * sizeof *reports);
        if (reports == NULL)
            return ERR_NOMEM;
        s->reports = reports;
        s->report_capacity = count;
    }
    return 0;
}

/* Any difference counts, as at defguard's gateway. */
static bool same_record(const struct wg_peer *a, const struct wg_peer *b)
{
    return a->upload == b->upload && a->download == b->download &&
           a->handshake_s == b->handshake_s &&
           a->handshake_ns == b->handshake_ns &&
           a->keepalive_interval_s == b->keepalive_interval_s &&
           strcmp(a->endpoint, b->endpoint) == 0 &&
           strcmp(a->allowed_ips, b->allowed_ips) == 0;
}

static bool same_interface(const struct wg_identity *a,
                           const struct wg_identity *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->made_ns == b->made_ns && a->listener == b->listener;
}

static struct stat_report report_of(const struct sampled_peer *p)
{
    struct stat_report r = {
        .upload = p->peer.upload,
        .download = p->peer.download,
        .latest_handshake = p->peer.handshake_s,
        .endpoint = bytes_of_string(p->peer.endpoint),
        .allowed_ips = bytes_of_string(p->peer.allowed_ips),
        .keepalive_interval_s = p->peer.keepalive_interval_s,
        .from_zero = p->zero_due,
    };
    memcpy(r.public_key, p->peer.public_key, REPORT_KEY_SIZE);
    return r;
}

/* The bookkeeping of a peer that goes on from the last look. */
static struct sampled_peer continued(const struct sampled_peer *old,
                                     const struct wg_peer *peer, bool made_anew)
{
    bool fell =
        peer->upload < old->peer.upload || peer->download < old->peer.download;
    return (struct sampled_peer){
        .peer = *peer,
        .zero_sequence = old->zero_sequence,
        .zero_due = old->zero_due || fell || made_anew,
    };
}

int sampler_take(struct sampler *s, struct wg_interface *now, bool all,
                 uint64_t sequence, struct stat_report **reports, size_t *count)
{
    int rv = make_room(s, now->peer_count);
    if (rv != 0)
        return rv;
    bool made_anew =
        s->watched && !same_interface(&s->identity, &now->identity);
    if (now->peer_count > 0)
        qsort(now->peers, now->peer_count, sizeof *now->peers, by_key);

    size_t old = 0, changed = 0, stayed = 0;
    s->next.count = 0;
    for (size_t i = 0; i < now->peer_count; i++) {
        const struct wg_peer *peer = &now->peers[i];
        if (i > 0 && by_key(peer, peer - 1) == 0)
            continue; /* named twice: not a new peer */
        struct sampled_peer *next = &s->next.items[s->next.count];
        while (old < s->last.count &&
               by_key(&s->last.items[old].peer, peer) < 0)
            old++; /* was removed */
        bool known =
            old < s->last.count && by_key(&s->last.items[old].peer, peer) == 0;
        bool moved = true;
        if (known) {
            moved = !same_record(&s->last.items[old].peer, peer);
            *next = continued(&s->last.items[old], peer, made_anew);
            old++;
            stayed++;
        } else {
            *next =
                (struct sampled_peer){.peer = *peer, .zero_due = s->watched};
        }
        s->next.count++;
        if (!all && !moved && !next->zero_due)
            continue;
        s->reports[changed] = report_of(next);
        if (next->zero_due)
            next->zero_sequence = sequence + changed / REPORT_PEERS_MAX;
        next->zero_due = false;
        changed++;
    }
    s->shrank = stayed < s->last.count;
    struct sampled_peers done = s->last;
    s->last = s->next;
    s->next = done;
    s->identity = now->identity;
    s->watched = true;
    *reports = s->reports;
    *count = changed;
    return 0;
}

/* Where the peer is, or belongs. */
static size_t place_of(const struct sampled_peers *peers, const uint8_t *key)
{
    size_t low = 0, high = peers->count;
    if (high > 0 && memcmp(peers->items[high - 1].peer.public_key, key,
                           REPORT_KEY_SIZE) < 0)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(peers->items[middle].peer.public_key, key, REPORT_KEY_SIZE) <
            0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room_to_remember(struct sampled_peers *peers)
{
    if (peers->count < peers->capacity)
        return 0;
    size_t capacity = peers->capacity == 0 ? 64 : peers->capacity * 2;
    struct sampled_peer *items =
        realloc(peers->items, capacity * sizeof *items);
    if (items == NULL)
        return ERR_NOMEM;
    peers->items = items;
    peers->capacity = capacity;
    return 0;
}

int sampler_remember(struct sampler *s, const uint8_t *public_key,
                     uint64_t upload, uint64_t download, uint64_t zero_sequence)
{
    struct sampled_peers *peers = &s->last;
    size_t at = place_of(peers, public_key);
    bool known = at < peers->count && memcmp(peers->items[at].peer.public_key,
                                             public_key, REPORT_KEY_SIZE) == 0;
    if (!known) {
        if (make_room_to_remember(peers) != 0)
            return ERR_NOMEM;
        memmove(&peers->items[at + 1], &peers->items[at],
                (peers->count - at) * sizeof *peers->items);
        peers->items[at] = (struct sampled_peer){0};
        memcpy(peers->items[at].peer.public_key, public_key, REPORT_KEY_SIZE);
        peers->count++;
    }
    peers->items[at].peer.upload = upload;
    peers->items[at].peer.download = download;
    if (zero_sequence != 0)
        peers->items[at].zero_sequence = zero_sequence;
    return 0;
}

void sampler_absent(struct sampler *s)
{
    s->shrank = s->last.count > 0;
    s->last.count = 0;
    s->identity = (struct wg_identity){0};
    s->watched = true;
}

void sampler_give_up_session(struct sampler *s, uint64_t sent_sequence)
{
    for (size_t i = 0; i < s->last.count; i++) {
        struct sampled_peer *p = &s->last.items[i];
        if (p->zero_sequence > sent_sequence)
            p->zero_due = true;
        p->zero_sequence = 0;
    }
}
