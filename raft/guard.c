#include "raft/guard.h"

#include "base/clock.h"
#include "base/mailbox.h"
#include "raft/anchor.h"
#include "raft/election.h"

#include <stdlib.h>
#include <string.h>

static struct guard *guard_of(struct raft_io *io)
{
    return CONTAINER_OF(io, struct guard, io);
}

int (*guard_fault)(enum guard_call call);

static int fault(enum guard_call call)
{
    return guard_fault == NULL ? 0 : guard_fault(call);
}

static void disk_failed(struct guard *g, const char *what, int rv)
{
    events_fatal(g->events, EXIT_RESTART, "disk",
                 "%s failed: %s (%s); the raft log cannot be trusted in "
                 "memory any more, start again",
                 what, raft_strerror(rv), g->io.errmsg);
}

/* --- writes --------------------------------------------------------------- */

/* A request of libraft with ours around it, since libraft's own callbacks only
 * assert, and its asserts are off. */
struct watched_append {
    struct raft_io_append own;
    struct guard *guard;
    struct raft_io_append *req;
    raft_io_append_cb cb;
};

static void append_done(struct raft_io_append *own, int status)
{
    struct watched_append *w = CONTAINER_OF(own, struct watched_append, own);
    if (status == 0)
        status = fault(GUARD_APPENDED);
    if (status != 0 && !w->guard->closing)
        disk_failed(w->guard, "append", status);
    w->cb(w->req, status);
    free(w);
}

static int guarded_append(struct raft_io *io, struct raft_io_append *req,
                          const struct raft_entry entries[], unsigned n,
                          raft_io_append_cb cb)
{
    struct guard *g = guard_of(io);
    struct watched_append *w = calloc(1, sizeof *w);
    if (w == NULL) {
        disk_failed(g, "append", RAFT_NOMEM);
        return RAFT_NOMEM;
    }
    w->guard = g;
    w->req = req;
    w->cb = cb;
    w->own.cb = append_done;
    int rv = fault(GUARD_APPEND);
    if (rv == 0)
        rv = g->inner.append(io, &w->own, entries, n, append_done);
    if (rv != 0) {
        disk_failed(g, "append", rv);
        free(w);
        return rv;
    }
    uint64_t last = raft_last_index((struct raft *)io->data);
    for (unsigned i = 0; i < n; i++)
        logsize_append(&g->log, last - n + 1 + i, entries[i].buf.len);
    return 0;
}

static int guarded_set_term(struct raft_io *io, raft_term term)
{
    int rv = fault(GUARD_SET_TERM);
    if (rv == 0)
        rv = guard_of(io)->inner.set_term(io, term);
    if (rv != 0)
        disk_failed(guard_of(io), "writing the term", rv);
    return rv;
}

static int guarded_set_vote(struct raft_io *io, raft_id id)
{
    int rv = fault(GUARD_SET_VOTE);
    if (rv == 0)
        rv = guard_of(io)->inner.set_vote(io, id);
    if (rv != 0)
        disk_failed(guard_of(io), "writing the vote", rv);
    return rv;
}

static int guarded_truncate(struct raft_io *io, raft_index index)
{
    int rv = fault(GUARD_TRUNCATE);
    if (rv == 0)
        rv = guard_of(io)->inner.truncate(io, index);
    if (rv != 0)
        disk_failed(guard_of(io), "truncate", rv);
    return rv;
}

struct watched_put {
    struct raft_io_snapshot_put own;
    struct guard *guard;
    struct raft_io_snapshot_put *req;
    raft_io_snapshot_put_cb cb;
};

static void put_done(struct raft_io_snapshot_put *own, int status)
{
    struct watched_put *w = CONTAINER_OF(own, struct watched_put, own);
    w->guard->puts--;
    if (status == 0)
        status = fault(GUARD_SNAPSHOT_PUT_DONE);
    if (status != 0 && !w->guard->closing)
        disk_failed(w->guard, "snapshot", status);
    w->cb(w->req, status);
    free(w);
}

static int guarded_snapshot_put(struct raft_io *io, unsigned trailing,
                                struct raft_io_snapshot_put *req,
                                const struct raft_snapshot *snapshot,
                                raft_io_snapshot_put_cb cb)
{
    struct guard *g = guard_of(io);
    struct watched_put *w = calloc(1, sizeof *w);
    if (w == NULL)
        return RAFT_NOMEM;
    w->guard = g;
    w->req = req;
    w->cb = cb;
    int rv = fault(GUARD_SNAPSHOT_PUT);
    if (rv == 0)
        rv = g->inner.snapshot_put(io, trailing, &w->own, snapshot, put_done);
    if (rv != 0) {
        disk_failed(g, "snapshot", rv);
        free(w);
        return rv;
    }
    g->puts++;
    return 0;
}

/* --- network -------------------------------------------------------------- */

static uint64_t bytes_of(const struct raft_append_entries *m)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < m->n_entries; i++)
        bytes += m->entries[i].buf.len;
    return bytes;
}

static bool has_commands(const struct raft_append_entries *m)
{
    for (unsigned i = 0; i < m->n_entries; i++)
        if (m->entries[i].type == RAFT_COMMAND)
            return true;
    return false;
}

struct watched_send {
    struct raft_io_send own;
    struct guard *guard;
    struct raft_io_send *req;
    raft_io_send_cb cb;
    uint64_t peer_id, bytes;
    struct resend_range range;
};

static void entries_sent(struct raft_io_send *own, int status)
{
    struct watched_send *w = CONTAINER_OF(own, struct watched_send, own);
    struct guard *g = w->guard;
    if (status == 0) {
        g->sent_bytes += w->bytes;
        resend_written(&g->resend, w->peer_id, &w->range, clock_mono_ms());
    } else {
        resend_forget(&g->resend, w->peer_id);
    }
    w->cb(w->req, status);
    free(w);
}

/* libraft frees a message twice when send itself fails: fail through the
 * callback; it will be sent again. */
static int fail_send(struct raft_io_send *req, raft_io_send_cb cb, int rv)
{
    cb(req, rv);
    return 0;
}

static struct resend_range range_of(const struct raft_append_entries *m)
{
    return (struct resend_range){.term = m->term,
                                 .first = m->prev_log_index + 1,
                                 .last = m->prev_log_index + m->n_entries};
}

static int send_entries(struct guard *g, struct raft_io_send *req,
                        const struct raft_message *message, raft_io_send_cb cb)
{
    struct watched_send *w = calloc(1, sizeof *w);
    if (w == NULL) {
        resend_forget(&g->resend, message->server_id);
        return fail_send(req, cb, RAFT_NOMEM);
    }
    w->guard = g;
    w->req = req;
    w->cb = cb;
    w->peer_id = message->server_id;
    w->bytes = bytes_of(&message->append_entries);
    w->range = range_of(&message->append_entries);
    int rv = g->inner.send(&g->io, &w->own, message, entries_sent);
    return rv == 0 ? 0 : fail_send(&w->own, entries_sent, rv);
}

/* Leaves out the first @n entries: the message says what precedes the rest. */
static void skip_entries(struct raft_append_entries *m, unsigned n)
{
    if (n == 0)
        return;
    m->prev_log_index += n;
    m->prev_log_term = m->entries[n - 1].term;
    m->entries += n;
    m->n_entries -= n;
}

/* Of the entries of @m, what the peer would throw away or is getting already is
 * not worth its bytes. Without any the message still says who leads, and
 * probes. */
static void leave_out_needless(struct guard *g, uint64_t peer_id,
                               struct raft_append_entries *m)
{
    if (m->n_entries == 0)
        return;
    if (g->peer_takes_entries != NULL &&
        !g->peer_takes_entries(g->arg, peer_id, m->prev_log_index,
                               has_commands(m))) {
        m->entries = NULL;
        m->n_entries = 0;
        return;
    }
    struct resend_range range = range_of(m);
    uint64_t under_way =
        resend_under_way(&g->resend, peer_id, &range, clock_mono_ms());
    if (under_way < m->n_entries) {
        skip_entries(m, (unsigned)under_way);
    } else {
        m->entries = NULL;
        m->n_entries = 0;
    }
}

static int guarded_send(struct raft_io *io, struct raft_io_send *req,
                        const struct raft_message *message, raft_io_send_cb cb)
{
    struct guard *g = guard_of(io);
    /* A snapshot that was being read when the stop came is sent after libraft
     * closed its links: it would open one that nobody closes. */
    if (g->closing)
        return fail_send(req, cb, RAFT_CANCELED);
    /* libraft keeps the original, to release what it holds of its log. */
    struct raft_message shorter = *message;
    if (message->type == RAFT_APPEND_ENTRIES) {
        leave_out_needless(g, message->server_id, &shorter.append_entries);
        if (shorter.append_entries.n_entries > 0)
            return send_entries(g, req, &shorter, cb);
    }
    int rv = election_concerns(message) ? election_send(g, req, message, cb)
                                        : g->inner.send(io, req, &shorter, cb);
    return rv == 0 ? 0 : fail_send(req, cb, rv);
}

/* Turns entries that there is no room for into a heartbeat: the leader is heard
 * and answered that nothing was appended, so it neither commits by this node
 * nor hurries, and sends them again later (raft/resend.h). What libraft's
 * decoder made for them is freed as libraft would: the payload, to which the
 * first entry's batch points, and the array. */
static void put_off_entries(struct raft_append_entries *m)
{
    raft_free(m->entries[0].batch);
    raft_free(m->entries);
    m->entries = NULL;
    m->n_entries = 0;
}

/* Leaves out what this node has behind it in its snapshot. */
static void anchor(const struct raft *raft, struct raft_append_entries *m)
{
    unsigned known = anchor_entries(&raft->trail, m);
    if (known > 0 && known == m->n_entries) {
        put_off_entries(m);
    } else if (known > 0) {
        /* They share one batch, to which each of them points. */
        m->n_entries -= known;
        memmove(m->entries, m->entries + known,
                m->n_entries * sizeof *m->entries);
    }
}

static void guarded_recv(struct raft_io *io, struct raft_message *message)
{
    struct guard *g = guard_of(io);
    const struct raft *raft = io->data;
    /* A leader sends a snapshot again before the first is on our disk; libraft
     * then overwrites what it keeps of the first and crashes when that is
     * done. The leader asks again if it still has to. */
    if (message->type == RAFT_INSTALL_SNAPSHOT &&
        (g->puts > 0 || events_failed(g->events))) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        return;
    }
    if (message->type == RAFT_APPEND_ENTRIES_RESULT &&
        message->append_entries_result.rejected > 0)
        resend_forget(&g->resend, message->server_id);
    raft_term term = 0;
    raft_index commit = 0;
    if (message->type == RAFT_APPEND_ENTRIES) {
        term = message->append_entries.term;
        commit = message->append_entries.leader_commit;
        if (message->append_entries.n_entries > 0 && g->takes_entries != NULL &&
            !g->takes_entries(g->arg, has_commands(&message->append_entries)))
            put_off_entries(&message->append_entries);
        anchor(raft, &message->append_entries);
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        term = message->install_snapshot.term;
        commit = message->install_snapshot.last_index;
    }
    if (term != 0 && term >= raft->current_term) {
        g->heard_ms = clock_mono_ms();
        g->heard_term = term;
        if (g->leader_commit_first == 0)
            g->leader_commit_first = commit;
    }
    g->recv(io, message);
}

static int guarded_start(struct raft_io *io, unsigned msecs,
                         raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    guard_of(io)->recv = recv;
    return guard_of(io)->inner.start(io, msecs, tick, guarded_recv);
}

static void free_loaded(struct raft_snapshot *snapshot,
                        struct raft_entry *entries, size_t count)
{
    if (snapshot != NULL) {
        for (unsigned i = 0; i < snapshot->n_bufs; i++)
            raft_free(snapshot->bufs[i].base);
        raft_free(snapshot->bufs);
        raft_configuration_close(&snapshot->configuration);
        raft_free(snapshot);
    }
    /* Entries of one batch follow one another. */
    const void *batch = NULL;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].batch != batch)
            raft_free(entries[i].batch);
        batch = entries[i].batch;
    }
    raft_free(entries);
}

static int guarded_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                        struct raft_snapshot **snapshot, raft_index *start,
                        struct raft_entry *entries[], size_t *n)
{
    struct guard *g = guard_of(io);
    int rv = g->inner.load(io, term, voted_for, snapshot, start, entries, n);
    if (rv != 0)
        return rv;
    for (size_t i = 0; i < *n; i++)
        logsize_append(&g->log, *start + i, (*entries)[i].buf.len);
    if (g->loaded == NULL ||
        g->loaded(g->arg, *term, *snapshot, *start, *entries, *n) == 0)
        return 0;
    free_loaded(*snapshot, *entries, *n);
    return RAFT_CORRUPT;
}

void guard_install(struct guard *g)
{
    g->inner = g->io;
    g->io.append = guarded_append;
    g->io.set_term = guarded_set_term;
    g->io.set_vote = guarded_set_vote;
    g->io.truncate = guarded_truncate;
    g->io.snapshot_put = guarded_snapshot_put;
    g->io.send = guarded_send;
    g->io.start = guarded_start;
    g->io.load = guarded_load;
}

void guard_beat(struct guard *g, uint64_t last_index, uint64_t now_ms)
{
    /* Time in which this loop did not run (a stopped or swapped-out process)
     * says nothing about the disk: count at most 100 ms a beat. */
    uint64_t passed = g->watched_ms == 0 ? 0 : now_ms - g->watched_ms;
    g->watched_ms = now_ms;
    if (g->raft->last_stored >= last_index ||
        g->raft->last_stored != g->stored_index) {
        g->stored_index = g->raft->last_stored;
        g->stuck_ms = 0;
        return;
    }
    g->stuck_ms += passed < 100 ? passed : 100;
    if (g->stuck_ms >= GUARD_STUCK_MS_MAX)
        events_fatal(g->events, EXIT_RESTART, "disk",
                     "no log entry reached the disk for %d ms (index %llu of "
                     "%llu): check the disk and its space",
                     GUARD_STUCK_MS_MAX, (unsigned long long)g->stored_index,
                     (unsigned long long)last_index);
}
