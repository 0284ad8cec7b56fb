#define _GNU_SOURCE /* getrandom, pthread_cond_clockwait */
#include "raft/copies.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/durable.h"
#include "raft/repl.h"
#include "raft/peer_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static void ask_run(struct errand *errand);
static void flush_run(struct errand *errand);

int copies_init(struct repl *r, struct errmsg *e)
{
    struct copies *c = &r->copies;
    char dir[DURABLE_PATH_SIZE];
    c->repl = r;
    c->ask.run = ask_run;
    c->flush.run = flush_run;
    int rv = durable_path(dir, r->data_dir, "copies", e);
    return rv == 0 ? durable_remove(dir, e) : rv;
}

void copies_deinit(struct repl *r)
{
    struct copies *c = &r->copies;
    if (c->path != NULL)
        unlink(c->path);
    free(c->path);
}

static void announce(struct copies *c)
{
    pthread_cond_broadcast(&c->changed);
}

void copies_stop(struct repl *r)
{
    struct copies *c = &r->copies;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    announce(c);
    pthread_mutex_unlock(&c->lock);
}

bool copies_stopping(struct copies *c)
{
    pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    pthread_mutex_unlock(&c->lock);
    return stopping;
}

/* Under the lock; gives it up for at most COPY_WAIT_MS. */
static void wait_for_change(struct copies *c)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += COPY_WAIT_MS / 1000;
    pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC, &until);
}

/* --- the point ------------------------------------------------------------ */

/* The term of the entry at @index, 0 if it is not known. libraft has no call
 * for it; the trail keeps the last index of each term. */
static uint64_t term_at(const struct raft_trail *t, uint64_t index)
{
    if (index == t->snapshot.index)
        return t->snapshot.term;
    for (unsigned i = t->front; index > t->offset && i != t->back;
         i = (i + 1) % t->size)
        if (index <= t->records[i].index)
            return t->records[i].term;
    return 0;
}

/* All of it committed: the receiver begins with what nobody can take back. */
static bool take_point(struct repl *r, struct seed *out)
{
    if (!r->raft_open || r->phase != PHASE_RUNNING)
        return false;
    uint64_t index = raft_last_applied(&r->raft);
    const struct raft_configuration *members =
        r->raft.configuration_uncommitted_index != 0
            ? &r->raft.configuration_committed
            : &r->raft.configuration;
    *out = (struct seed){
        .index = index,
        .term = index == 0 ? 0 : term_at(&r->raft.trail, index),
        .current_term = raft_current_term(&r->raft),
        .configuration_index = r->raft.configuration_committed_index,
    };
    memcpy(out->cluster_id, r->identity.cluster_id, CLUSTER_ID_SIZE);
    for (unsigned i = 0; i < members->n && i < PEERS_MAX; i++) {
        struct seed_member *m = &out->members[out->member_count++];
        m->id = members->servers[i].id;
        m->role = members->servers[i].role;
        snprintf(m->address, sizeof m->address, "%s",
                 members->servers[i].address);
    }
    return out->term != 0 && out->member_count > 0 &&
           out->configuration_index != 0 && out->configuration_index <= index;
}

static void end_point(struct copies *c, enum point_state state)
{
    pthread_mutex_lock(&c->lock);
    c->point_state = state;
    announce(c);
    pthread_mutex_unlock(&c->lock);
}

/* Raft loop. */
static void ask_run(struct errand *errand)
{
    struct copies *c = CONTAINER_OF(errand, struct copies, ask);
    /* Nobody reads the point before the state says that it is there. */
    if (take_point(c->repl, &c->point))
        applier_run(&c->repl->applier, &c->flush);
    else
        end_point(c, POINT_FAILED);
}

/* Applier, behind all that was applied when the point was taken. */
static void flush_run(struct errand *errand)
{
    thread_role_assert(&applier_thread);
    struct copies *c = CONTAINER_OF(errand, struct copies, flush);
    bool flushed = applier_flush(&c->repl->applier);
    end_point(c, flushed ? POINT_TAKEN : POINT_FAILED);
}

/* --- making --------------------------------------------------------------- */

struct making {
    struct copies *copies;
    struct pace pace;
    int (*wait)(void *arg);
    void *arg;
    uint64_t waited_ms;
};

static bool go_on(struct making *m)
{
    uint64_t now = clock_mono_ms();
    if (copies_stopping(m->copies))
        return false;
    if (now - m->waited_ms < COPY_WAIT_MS)
        return true;
    m->waited_ms = now;
    return m->wait(m->arg) == 0;
}

static bool may_go_on(void *arg, uint64_t bytes)
{
    struct making *m = arg;
    pace_keep(&m->pace, bytes, COPY_BYTES_PER_S);
    return go_on(m);
}

static int obtain_point(struct copies *c, struct seed *out, struct errmsg *e)
{
    pthread_mutex_lock(&c->lock);
    /* An earlier one, whose asker gave up, may still be on its way. */
    while (c->point_state == POINT_ASKED && !c->stopping)
        wait_for_change(c);
    if (!c->stopping) {
        c->point_state = POINT_ASKED;
        mailbox_push(&c->repl->errands, &c->ask.letter);
    }
    while (c->point_state == POINT_ASKED && !c->stopping)
        wait_for_change(c);
    int rv = c->stopping                     ? ERR_CLOSED
             : c->point_state == POINT_TAKEN ? 0
                                             : ERR_AGAIN;
    if (rv == 0)
        *out = c->point;
    pthread_mutex_unlock(&c->lock);
    if (rv != 0)
        return errmsg_set(e, rv, "this node has no committed state to give");
    return 0;
}

static bool lists(const struct seed *seed, uint64_t peer_id)
{
    for (size_t i = 0; i < seed->member_count; i++)
        if (seed->members[i].id == peer_id)
            return true;
    return false;
}

static int check_room(struct copies *c, struct errmsg *e)
{
    struct repl *r = c->repl;
    struct store_status status;
    store_status(r->store, &status);
    uint64_t free_bytes = space_free_bytes(&r->space);
    if (status.used_bytes + r->space.reserve <= free_bytes)
        return 0;
    return errmsg_set(e, ERR_NOSPACE,
                      "no room for a copy of the store: it takes up to %llu "
                      "MiB, and of %llu free ones %llu are kept for the log",
                      (unsigned long long)status.used_bytes >> 20,
                      (unsigned long long)free_bytes >> 20,
                      (unsigned long long)r->space.reserve >> 20);
}

static int name_copy(struct copies *c, uint64_t id, char **path,
                     struct errmsg *e)
{
    char dir[DURABLE_PATH_SIZE], file[DURABLE_PATH_SIZE], name[32];
    snprintf(name, sizeof name, "%016llx.mdb", (unsigned long long)id);
    int rv = durable_path(dir, c->repl->data_dir, "copies", e);
    if (rv == 0)
        rv = durable_make_directory(dir, e);
    if (rv == 0)
        rv = durable_path(file, dir, name, e);
    if (rv != 0)
        return rv;
    *path = strdup(file);
    return *path != NULL ? 0 : errmsg_set(e, ERR_NOMEM, "copy: out of memory");
}

static int make_copy(struct making *m, const struct bulk_request *request,
                     uint64_t peer_id, struct bulk_answer *out, char **path,
                     struct errmsg *e)
{
    struct copies *c = m->copies;
    *out = (struct bulk_answer){.kind = BULK_COPY};
    *path = NULL;
    int rv = obtain_point(c, &out->seed, e);
    if (rv == 0 && !lists(&out->seed, peer_id))
        rv = errmsg_set(e, ERR_AGAIN,
                        "the raft id is not in the committed configuration "
                        "here");
    if (rv == 0 && out->seed.index < request->index)
        rv = errmsg_set(e, ERR_AGAIN, "this node is behind as well");
    /* A seed says 0 for "all": a store before its first command is none. */
    if (rv == 0 && store_applied_index(c->repl->store) == 0)
        rv = errmsg_set(e, ERR_AGAIN, "nothing was written here yet");
    if (rv == 0)
        rv = check_room(c, e);
    while (rv == 0 && out->copy_id == 0)
        if (getrandom(&out->copy_id, sizeof out->copy_id, 0) < 0 &&
            errno != EINTR)
            rv = errmsg_set(e, ERR_IO, "random number: %s", strerror(errno));
    if (rv == 0)
        rv = name_copy(c, out->copy_id, path, e);
    struct copy_info info;
    if (rv == 0)
        rv = store_copy(c->repl->store, *path, may_go_on, m, &info, e);
    if (rv != 0) {
        free(*path);
        *path = NULL;
        return rv;
    }
    out->bytes = info.bytes;
    memcpy(out->hash, info.hash, sizeof out->hash);
    return 0;
}

/* --- which copy ----------------------------------------------------------- */

/* The receiver of this copy can go on from it with the others' log, which
 * reaches back about as far as ours. Under the lock. */
static bool suits(const struct copies *c, uint64_t peer_id,
                  const struct bulk_request *request)
{
    const struct seed *seed = &c->copy.seed;
    bool begun = request->copy_id == c->copy.copy_id;
    return lists(seed, peer_id) && seed->index >= request->index &&
           seed->index >= atomic_load(&c->log_start) &&
           (begun || clock_mono_ms() - c->made_ms <= COPY_FRESH_MS);
}

/* In place of the one that is there. Under the lock, which it gives up
 * meanwhile: the raft loop takes it, and to remove a large file takes a
 * while. */
static int make_the_copy(struct copies *c, uint64_t peer_id,
                         const struct bulk_request *request, struct making *m,
                         struct errmsg *e)
{
    struct bulk_answer copy;
    char *path, *old = c->path;
    c->path = NULL;
    c->state = COPY_MAKING;
    pthread_mutex_unlock(&c->lock);
    if (old != NULL)
        unlink(old);
    free(old);
    int rv = make_copy(m, request, peer_id, &copy, &path, e);
    pthread_mutex_lock(&c->lock);
    c->state = rv == 0 ? COPY_READY : COPY_NONE;
    if (rv == 0) {
        c->copy = copy;
        c->path = path;
        c->made_ms = c->used_ms = clock_mono_ms();
    }
    announce(c);
    return rv;
}

int copies_obtain(struct copies *c, uint64_t peer_id,
                  const struct bulk_request *request, int (*wait)(void *arg),
                  void *arg, struct bulk_answer *out, const char **path,
                  struct errmsg *e)
{
    struct making m = {
        .copies = c, .wait = wait, .arg = arg, .waited_ms = clock_mono_ms()};
    int rv = 0;
    pthread_mutex_lock(&c->lock);
    while (rv == 0) {
        if (c->state == COPY_READY && suits(c, peer_id, request))
            break;
        if (c->stopping) {
            rv = errmsg_set(e, ERR_CLOSED, "this node stops");
        } else if (c->state == COPY_MAKING) {
            wait_for_change(c);
            pthread_mutex_unlock(&c->lock);
            if (!go_on(&m))
                rv = errmsg_set(e, ERR_CLOSED, "nobody waits any more");
            pthread_mutex_lock(&c->lock);
        } else if (c->users > 0) {
            rv = errmsg_set(e, ERR_AGAIN,
                            "an older copy is being sent to another node");
        } else {
            rv = make_the_copy(c, peer_id, request, &m, e);
            if (rv == 0 && !suits(c, peer_id, request))
                rv = errmsg_set(e, ERR_AGAIN,
                                "while the copy was made so much was written "
                                "that the log does not reach back to it");
        }
    }
    if (rv == 0) {
        c->users++;
        *out = c->copy;
        *path = c->path;
    }
    pthread_mutex_unlock(&c->lock);
    return rv;
}

void copies_release(struct copies *c)
{
    pthread_mutex_lock(&c->lock);
    ASSERT(c->users > 0);
    c->users--;
    c->used_ms = clock_mono_ms();
    pthread_mutex_unlock(&c->lock);
}

/* --- removing ------------------------------------------------------------- */

static void on_removed(uv_fs_t *req)
{
    struct copies *c = req->data;
    uv_fs_req_cleanup(req);
    c->removing = false;
}

/* To remove a large file takes a while: libuv's pool does it. */
static void expire(struct copies *c, uint64_t now_ms)
{
    if (c->state != COPY_READY || c->users > 0 || c->removing ||
        clock_elapsed(c->used_ms, now_ms) < COPY_KEPT_MS)
        return;
    c->removal.data = c;
    if (uv_fs_unlink(&c->repl->loop, &c->removal, c->path, on_removed) != 0)
        return;
    c->removing = true;
    free(c->path); /* libuv has a copy */
    c->path = NULL;
    c->state = COPY_NONE;
}

void copies_beat(struct repl *r, uint64_t now_ms)
{
    struct copies *c = &r->copies;
    if (now_ms - c->looked_ms < 1000)
        return;
    c->looked_ms = now_ms;
    atomic_store(&c->log_start, r->raft.trail.offset);
    pthread_mutex_lock(&c->lock);
    expire(c, now_ms);
    pthread_mutex_unlock(&c->lock);
}
