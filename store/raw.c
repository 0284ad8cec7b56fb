#include "store/raw.h"

#include "base/clock.h"
#include "base/durable.h"
#include "store/lmdb_error.h"
#include "store/raw_file_state.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Of the limit this share stays unused: pages that one transaction frees
     * serve the next but one, and runs of them must fit. */
    SLACK_SHARE = 8,
    SLACK_BYTES_MAX = 64 * 1024 * 1024,
    /* More than what comes leaves at the front, so that a limit that became
     * smaller is reached, but never much at once. */
    EXPIRE_BYTES_LEAST = 1024 * 1024,
};

static struct thread_role raw_thread = {"raw"};

/* A chunk on its way to the thread. */
struct parcel {
    struct parcel *next;
    struct raw_chunk chunk;
};

struct raw_log {
    struct raw_file *file; /* owned */
    uint64_t bytes_max, age_ms_max;
    bool set_aside;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t work; /* for the thread: parcels, wishes, the end */
    pthread_cond_t done; /* from it: room, durable chunks, a failure */
    /* under the lock */
    struct parcel *open;         /* owned; the applier fills it */
    struct parcel *first, **end; /* owned; full, oldest first */
    uint64_t queued_bytes;       /* of those, and of what is being packed */
    uint64_t put_index;          /* everything up to here is kept or put */
    bool cut;                    /* the next chunk does not join the last */
    bool sync_wanted, stopping;
    int failed;
    struct errmsg failure;
    struct raw_status status;

    /* the thread's */
    struct raw_packer *packer; /* owned */
    struct buf value;          /* owned */
    MDB_txn *txn;              /* NULL: nothing is written */
    uint64_t txn_bytes, txn_last, txn_last_ms;
};

static void *raw_main(void *arg);

/* --- opening -------------------------------------------------------------- */

/* Room for twice the limit, since the map cannot grow under readers. */
static uint64_t map_bytes(uint64_t bytes_max)
{
    const uint64_t least = (uint64_t)64 << 30, most = (uint64_t)16 << 40;
    if (bytes_max > most / 2)
        return most;
    return bytes_max * 2 > least ? bytes_max * 2 : least;
}

/* The log goes on behind the last chunk, which is read whole to know that the
 * file can be trusted at its end. */
static int find_end(struct raw_log *l, uint64_t applied_index, struct errmsg *e)
{
    struct raw_coverage cover;
    struct raw_chunk last = {0};
    int rc = raw_file_cover(l->file, 0, &cover, e);
    if (rc != 0)
        return rc;
    if (cover.chunks > 0) {
        rc = raw_file_next(l->file, cover.last_index, &last, e);
        raw_chunk_deinit(&last);
        if (rc < 0)
            return rc;
    }
    l->status.bytes = cover.bytes;
    l->cut = cover.chunks > 0 && cover.last_index < applied_index;
    l->put_index =
        cover.last_index > applied_index ? cover.last_index : applied_index;
    l->status.kept_index = l->put_index;
    return 0;
}

static int open_file(struct raw_log *l, const struct raw_options *o,
                     uint64_t applied_index, struct errmsg *e)
{
    int rc = raw_file_make(o->path, map_bytes(o->bytes_max), &l->file, e);
    if (rc == 0)
        rc = find_end(l, applied_index, e);
    if (rc != 0) {
        raw_file_close(l->file);
        l->file = NULL;
    }
    return rc;
}

/* One damaged file is kept, the newest: somebody may want to look at it. */
static int set_aside(const char *path, struct errmsg *e)
{
    char aside[DURABLE_PATH_SIZE];
    int n = snprintf(aside, sizeof aside, "%s.damaged", path);
    if (n < 0 || (size_t)n >= sizeof aside)
        return errmsg_set(e, ERR_INVALID, "%.200s: the path is too long", path);
    int rc = durable_remove(aside, e);
    if (rc == 0 && rename(path, aside) != 0)
        rc = errmsg_set(e, ERR_IO, "setting %.150s aside: %s", path,
                        strerror(errno));
    return rc;
}

static int begin(struct raw_log *l, const struct raw_options *o,
                 uint64_t applied_index, struct errmsg *e)
{
    int rc = open_file(l, o, applied_index, e);
    if (rc == ERR_CORRUPT) {
        l->set_aside = true;
        rc = set_aside(o->path, e);
        if (rc == 0)
            rc = open_file(l, o, applied_index, e);
    }
    if (rc == 0 && raw_packer_create(&l->packer) != 0)
        rc = errmsg_set(e, ERR_NOMEM, "opening %.200s: out of memory", o->path);
    if (rc != 0)
        return rc;
    l->started = pthread_create(&l->thread, NULL, raw_main, l) == 0;
    return l->started ? 0
                      : errmsg_set(e, ERR_NOMEM,
                                   "cannot start the thread of raw reports");
}

int raw_open(const struct raw_options *o, uint64_t applied_index,
             struct raw_log **out, struct errmsg *e)
{
    *out = NULL;
    struct raw_log *l = calloc(1, sizeof *l);
    if (l == NULL)
        return errmsg_set(e, ERR_NOMEM, "opening %.200s: out of memory",
                          o->path);
    uint64_t slack = o->bytes_max / SLACK_SHARE;
    l->bytes_max =
        o->bytes_max - (slack < SLACK_BYTES_MAX ? slack : SLACK_BYTES_MAX);
    l->age_ms_max = o->age_ms_max;
    l->end = &l->first;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    int rc = begin(l, o, applied_index, e);
    if (rc != 0)
        raw_close(l);
    else
        *out = l;
    return rc;
}

static void parcel_destroy(struct parcel *p)
{
    if (p == NULL)
        return;
    raw_chunk_deinit(&p->chunk);
    free(p);
}

void raw_close(struct raw_log *l)
{
    if (l == NULL)
        return;
    if (l->started) {
        pthread_mutex_lock(&l->lock);
        l->stopping = true;
        pthread_cond_signal(&l->work);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    struct parcel *next;
    for (struct parcel *p = l->first; p != NULL; p = next) {
        next = p->next;
        parcel_destroy(p);
    }
    parcel_destroy(l->open);
    raw_packer_destroy(l->packer);
    buf_deinit(&l->value);
    raw_file_close(l->file);
    pthread_cond_destroy(&l->done);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* --- the applier's side --------------------------------------------------- */

static void hand_over(struct raw_log *l)
{
    struct parcel *p = l->open;
    if (p == NULL)
        return;
    l->open = NULL;
    *l->end = p;
    l->end = &p->next;
    l->queued_bytes += p->chunk.entries.size;
    pthread_cond_signal(&l->work);
}

static int add(struct raw_log *l, uint64_t index, uint64_t log_time_ms,
               struct bytes entry)
{
    if (l->open == NULL) {
        l->open = calloc(1, sizeof *l->open);
        if (l->open == NULL)
            return ERR_NOMEM;
        l->open->chunk.key =
            (struct raw_key){.after = l->put_index, .cut = l->cut};
        l->cut = false;
    }
    struct raw_chunk *c = &l->open->chunk;
    raw_chunk_add(c, index, log_time_ms, entry);
    if (buf_failed(&c->entries))
        return ERR_NOMEM;
    l->put_index = index;
    if (raw_chunk_is_full(c))
        hand_over(l);
    return 0;
}

int raw_put(struct raw_log *l, uint64_t index, uint64_t log_time_ms,
            struct bytes entry, struct errmsg *e)
{
    thread_role_assert(&applier_thread);
    pthread_mutex_lock(&l->lock);
    while (l->queued_bytes > RAW_QUEUE_BYTES_MAX && l->failed == 0)
        pthread_cond_wait(&l->done, &l->lock);
    int rc = l->failed;
    if (rc != 0) {
        *e = l->failure;
    } else if (index > l->put_index) {
        rc = add(l, index, log_time_ms, entry);
        if (rc != 0) {
            l->failed = rc;
            errmsg_set(&l->failure, rc, "keeping raw reports: out of memory");
            *e = l->failure;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

int raw_await(struct raw_log *l, struct errmsg *e)
{
    pthread_mutex_lock(&l->lock);
    uint64_t wanted = l->put_index;
    hand_over(l);
    while (l->status.kept_index < wanted && l->failed == 0) {
        l->sync_wanted = true;
        pthread_cond_signal(&l->work);
        pthread_cond_wait(&l->done, &l->lock);
    }
    int rc = l->failed;
    if (rc != 0)
        *e = l->failure;
    pthread_mutex_unlock(&l->lock);
    return rc;
}

void raw_status(struct raw_log *l, struct raw_status *out)
{
    uint64_t map;
    pthread_mutex_lock(&l->lock);
    *out = l->status;
    pthread_mutex_unlock(&l->lock);
    out->set_aside = l->set_aside;
    environment_size(&l->file->env, &out->file_bytes, &map);
}

const struct raw_file *raw_log_file(const struct raw_log *l)
{
    return l->file;
}

/* --- the thread ----------------------------------------------------------- */

/* The chunk at the front, and what tells whether it may go: log time when the
 * next one began. MDB_NOTFOUND: there is no next one, and the last one stays.
 */
static int look_at_front(MDB_cursor *cursor, uint64_t *next_ms)
{
    MDB_val key, value;
    struct raw_key next = {0};
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (rc == 0 && raw_key_get(bytes_of_val(&key), &next) != 0)
        rc = MDB_CORRUPTED;
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    *next_ms = next.first_ms;
    return rc;
}

static int expire_with(struct raw_log *l, MDB_cursor *cursor)
{
    uint64_t bytes, before, next_ms;
    int rc = raw_file_size(l->file, l->txn, &before);
    bytes = before;
    while (rc == 0 && before - bytes < 2 * l->txn_bytes + EXPIRE_BYTES_LEAST) {
        rc = look_at_front(cursor, &next_ms);
        if (rc != 0)
            break;
        bool old = next_ms + l->age_ms_max < l->txn_last_ms;
        if (!old && bytes <= l->bytes_max)
            break;
        rc = mdb_cursor_del(cursor, 0);
        if (rc == 0)
            rc = raw_file_size(l->file, l->txn, &bytes);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int expire(struct raw_log *l)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(l->txn, l->file->chunks, &cursor);
    if (rc != 0)
        return rc;
    rc = expire_with(l, cursor);
    mdb_cursor_close(cursor);
    return rc;
}

/* A transaction that is open already takes more. */
static int begin_transaction(struct raw_log *l)
{
    int dead;
    if (l->txn != NULL)
        return 0;
    l->txn_bytes = 0;
    int rc = mdb_reader_check(l->file->env.env, &dead);
    return rc == 0 ? mdb_txn_begin(l->file->env.env, NULL, 0, &l->txn) : rc;
}

static int write_chunk(struct raw_log *l, const struct raw_chunk *c)
{
    uint8_t raw[RAW_KEY_SIZE];
    if (raw_chunk_pack(l->packer, c, &l->value) != 0)
        return ENOMEM;
    int rc = begin_transaction(l);
    if (rc != 0)
        return rc;
    raw_key_put(raw, &c->key);
    MDB_val key = val_of(raw, sizeof raw);
    MDB_val value = val_of(l->value.data, l->value.size);
    l->txn_bytes += l->value.size;
    l->txn_last = c->last;
    l->txn_last_ms = c->last_ms;
    return mdb_put(l->txn, l->file->chunks, &key, &value, MDB_APPEND);
}

static int commit(struct raw_log *l, uint64_t *bytes)
{
    int rc = expire(l);
    if (rc == 0)
        rc = raw_file_size(l->file, l->txn, bytes);
    if (rc != 0)
        return rc;
    MDB_txn *txn = l->txn;
    l->txn = NULL; /* whatever becomes of it */
    return mdb_txn_commit(txn);
}

/* What a restart finds damaged is set aside; the process must not take it for
 * damage of the store, which no restart mends. */
static void fail(struct raw_log *l, int rc)
{
    int code = lmdb_error(rc, "keeping raw reports in", l->file->env.path,
                          &l->failure);
    l->failed = code == ERR_CORRUPT ? ERR_IO : code;
}

/* One parcel, or the commit that somebody waits for, without the lock. */
static int step(struct raw_log *l, struct parcel *p, bool sync,
                struct raw_status *status)
{
    uint64_t start = clock_mono_ns();
    int rc = p != NULL ? write_chunk(l, &p->chunk) : 0;
    parcel_destroy(p);
    if (rc == 0 && l->txn != NULL &&
        (sync || l->txn_bytes >= RAW_COMMIT_BYTES)) {
        rc = commit(l, &status->bytes);
        status->kept_index = l->txn_last;
        status->commits++;
    }
    status->work_ns += clock_mono_ns() - start;
    return rc;
}

static void turn(struct raw_log *l)
{
    struct parcel *p = l->first;
    uint64_t size = p != NULL ? p->chunk.entries.size : 0;
    if (p != NULL) {
        l->first = p->next;
        if (l->first == NULL)
            l->end = &l->first;
    }
    /* Whoever waits waits for all that was put before: the last parcel. */
    bool sync = l->sync_wanted && l->first == NULL;
    if (sync)
        l->sync_wanted = false;
    struct raw_status status = l->status;
    pthread_mutex_unlock(&l->lock);
    int rc = step(l, p, sync, &status);
    pthread_mutex_lock(&l->lock);
    l->queued_bytes -= size;
    if (rc == 0)
        l->status = status;
    else
        fail(l, rc);
    pthread_cond_broadcast(&l->done);
}

static void *raw_main(void *arg)
{
    struct raw_log *l = arg;
    thread_role_take(&raw_thread);
    pthread_mutex_lock(&l->lock);
    while (!l->stopping && l->failed == 0) {
        if (l->first != NULL || l->sync_wanted)
            turn(l);
        else
            pthread_cond_wait(&l->work, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    if (l->txn != NULL)
        mdb_txn_abort(l->txn);
    l->txn = NULL;
    return NULL;
}
