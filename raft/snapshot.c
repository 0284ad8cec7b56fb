/* The state machine as libraft sees it: committed entries go to the applier,
 * and a snapshot is a manifest of a few bytes, since the state itself is in the
 * store's own file (reference/libraft.md, rules 10, 11, 12, 19).
 *
 * A snapshot at index X lets libraft drop the log before X minus a tail. The
 * store is flushed to some F <= X; entries F+1..X are then in the tail, and are
 * given to the applier when the log is loaded, since libraft itself starts to
 * apply after X. So a snapshot waits for a flush into the tail, never for the
 * applier to stand still, and is taken only when the disk has the log up to X.
 * Raft loop (and repl_start before it runs). */
#include "base/bytes.h"
#include "base/clock.h"
#include "raft/manifest.h"
#include "raft/history.h"
#include "raft/repl.h"

enum {
    /* A snapshot after so much, and so much is kept before it: what a follower
     * that was away can still be sent. Memory is the sum. */
    LOG_BYTES_MAX = 64 * 1024 * 1024,
    LOG_ENTRIES_MAX = 16 * 1024,
    TAIL_BYTES = 192 * 1024 * 1024,
    TAIL_ENTRIES = 64 * 1024,
};

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
                    void **result);
static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                       unsigned *count);
static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf);
static int on_loaded(void *arg, uint64_t term,
                     const struct raft_snapshot *snapshot, uint64_t start_index,
                     const struct raft_entry *entries, size_t count);

void snapshot_init(struct repl *r)
{
    r->fsm = (struct raft_fsm){.version = 1,
                               .data = r,
                               .apply = on_apply,
                               .snapshot = on_snapshot,
                               .restore = on_restore};
    r->guard.loaded = on_loaded;
    r->guard.arg = r;
    r->handed_index = store_applied_index(r->store);
    if (r->log_entries_max == 0)
        r->log_entries_max = LOG_ENTRIES_MAX;
    if (r->tail_entries == 0)
        r->tail_entries = TAIL_ENTRIES;
}

static uint64_t tail_of(const struct repl *r)
{
    return logsize_entries_in(&r->guard.log, TAIL_BYTES, r->tail_entries);
}

void snapshot_beat(struct repl *r)
{
    uint64_t kept = r->raft.trail.snapshot.index;
    bool large = logsize_bytes_after(&r->guard.log, kept) > LOG_BYTES_MAX;
    raft_set_snapshot_threshold(&r->raft, large ? 1 : r->log_entries_max);
    raft_set_snapshot_trailing(&r->raft, (unsigned)tail_of(r));
}

/* --- entries -------------------------------------------------------------- */

static void hand_over(struct repl *r, uint64_t index, struct bytes entry)
{
    struct entry_header header;
    struct reader records;
    struct errmsg e;
    struct submission *waiters = NULL;
    /* A damaged entry is the store's to judge; it has no waiters. */
    if (entry_open(entry, &header, &records, &e) == 0 &&
        header.proposer == r->identity.raft_id)
        waiters = submit_claim(r, header.number);
    if (applier_put(&r->applier, index, entry, waiters) != 0) {
        events_fatal(&r->events, EXIT_RESTART, "apply", "out of memory");
        struct submission *next;
        for (struct submission *s = waiters; s != NULL; s = next) {
            next = s->next;
            submit_end(r, s, ERR_UNKNOWN);
        }
        return;
    }
    if (index > r->handed_index)
        r->handed_index = index;
}

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
                    void **result)
{
    struct repl *r = fsm->data;
    *result = NULL;
    hand_over(r, raft_last_applied(&r->raft) + 1,
              (struct bytes){buf->base, buf->len});
    return 0;
}

/* Between the flushed state and the snapshot libraft applies nothing. */
static void hand_over_tail(struct repl *r, uint64_t snapshot_index,
                           uint64_t start_index,
                           const struct raft_entry *entries, size_t count)
{
    uint64_t have = r->handed_index;
    if (start_index > have + 1)
        return; /* a hole: on_restore says so */
    for (size_t i = 0; i < count && start_index + i <= snapshot_index; i++)
        if (start_index + i > have && entries[i].type == RAFT_COMMAND)
            hand_over(r, start_index + i,
                      (struct bytes){entries[i].buf.base, entries[i].buf.len});
    if (start_index + count > snapshot_index && snapshot_index > have)
        r->handed_index = snapshot_index;
}

/* What a fetched store may hold beyond the log that was seeded beside it: all
 * committed, and the leader sends it again (raft/seed). */
static uint64_t given_index(const struct raft_snapshot *snapshot)
{
    struct manifest manifest;
    if (snapshot == NULL || snapshot->n_bufs != 1 ||
        manifest_decode(
            (struct bytes){snapshot->bufs[0].base, snapshot->bufs[0].len},
            &manifest) != 0)
        return 0;
    return manifest.index;
}

static int on_loaded(void *arg, uint64_t term,
                     const struct raft_snapshot *snapshot, uint64_t start_index,
                     const struct raft_entry *entries, size_t count)
{
    struct repl *r = arg;
    uint64_t last_index = count > 0          ? start_index + count - 1
                          : snapshot != NULL ? snapshot->index
                                             : 0;
    uint64_t last_term = count > 0          ? entries[count - 1].term
                         : snapshot != NULL ? snapshot->term
                                            : 0;
    uint64_t flushed = store_flushed_index(r->store);
    int rv = history_check_log(r->raft_dir, term, last_index, last_term,
                               flushed <= given_index(snapshot) ? 0 : flushed,
                               &r->guard.refused);
    if (rv != 0)
        return rv;
    atomic_store(&r->applier.stored_index, last_index);
    if (snapshot != NULL)
        hand_over_tail(r, snapshot->index, start_index, entries, count);
    return 0;
}

/* --- manifests ------------------------------------------------------------ */

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                       unsigned *count)
{
    struct repl *r = fsm->data;
    uint64_t index = raft_commit_index(&r->raft);
    uint64_t flushed = store_flushed_index(r->store);
    uint64_t tail = tail_of(r);
    raft_set_snapshot_trailing(&r->raft, (unsigned)tail);
    /* After a crash the log on disk must reach the snapshot and the tail must
     * reach the flushed state, with room to spare. */
    if (r->raft.last_stored < index)
        return RAFT_BUSY;
    if (flushed < index && index - flushed > tail / 2) {
        applier_want_flush(&r->applier);
        return RAFT_BUSY;
    }
    struct raft_buffer *buf = raft_malloc(sizeof *buf);
    uint8_t *data = raft_malloc(MANIFEST_SIZE);
    if (buf == NULL || data == NULL) {
        raft_free(buf);
        raft_free(data);
        return RAFT_NOMEM;
    }
    struct store_status status;
    store_status(r->store, &status);
    struct manifest manifest = {.index = index,
                                .term = raft_current_term(&r->raft),
                                .store_bytes = status.used_bytes};
    memcpy(manifest.cluster_id, r->identity.cluster_id, CLUSTER_ID_SIZE);
    manifest_encode(&manifest, data);
    *buf = (struct raft_buffer){data, MANIFEST_SIZE};
    *bufs = buf;
    *count = 1;
    return 0;
}

static void check_manifest(struct repl *r, const uint8_t *data, size_t size)
{
    struct manifest manifest;
    if (manifest_decode((struct bytes){data, size}, &manifest) != 0 ||
        memcmp(manifest.cluster_id, r->identity.cluster_id, CLUSTER_ID_SIZE) !=
            0) {
        events_fatal(&r->events, 1, "snapshot",
                     "%s: the snapshot's manifest is not one that this version "
                     "and this cluster wrote",
                     r->raft_dir);
        return;
    }
    if (manifest.index <= r->handed_index)
        return;
    /* At a start the log may go on behind the snapshot, with entries that count
     * as acknowledged by this node: a copy without them is too old. */
    uint64_t stored = atomic_load(&r->applier.stored_index);
    bool starting = r->phase != PHASE_RUNNING;
    fetch_behind(r,
                 starting && stored > manifest.index ? stored : manifest.index);
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    /* Never an error: it would poison the node (rule 10). */
    struct repl *r = fsm->data;
    check_manifest(r, buf->base, buf->len);
    raft_free(buf->base);
    return 0;
}
