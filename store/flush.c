/* A flush: one LMDB transaction that takes the file from the state at one log
 * index to the state at a later one: cells of closed buckets as blocks and
 * totals (late cells merged into what is there), expiry, the checkpoint of all
 * slots, addresses, the roster, and the meta record. docs/format.md, "What a
 * flush does". The applier begins it, which fixes the index; the flusher ends
 * it beside apply: it gathers the job in short holds of the lock
 * (store/flush_job.h) and writes it without; store_flush does both on the
 * applier. There is one job at a time, and only who ends it has a write
 * transaction. */
#include "store/state.h"

#include "base/clock.h"
#include "store/flush_cells.h"
#include "store/lmdb_error.h"
#include "store/retention.h"

/* --- the transaction --------------------------------------------------------
 */

/* Puts rows as a job holds them. */
static int put_rows(MDB_txn *txn, MDB_dbi dbi, const struct buf *rows,
                    unsigned flags)
{
    struct reader r = reader_of(buf_bytes(rows));
    while (r.size > 0) {
        struct bytes row_key = reader_bytes(&r), row = reader_bytes(&r);
        MDB_val key = val_of(row_key.data, row_key.size);
        MDB_val value = val_of(row.data, row.size);
        int rc = row.size > 0 ? mdb_put(txn, dbi, &key, &value, flags)
                              : mdb_del(txn, dbi, &key, NULL);
        /* Made and deleted between two flushes. */
        if (rc != 0 && (row.size > 0 || rc != MDB_NOTFOUND))
            return rc;
    }
    return 0;
}

static int put_checkpoint(const struct environment *env,
                          const struct flush_job *job, MDB_txn *txn)
{
    /* Dropping frees the pages without visiting the rows. */
    int rc = mdb_drop(txn, env->checkpoint, 0);
    return rc == 0
               ? put_rows(txn, env->checkpoint, &job->checkpoint, MDB_APPEND)
               : rc;
}

static int put_meta(const struct environment *env, const struct flush_job *job,
                    MDB_txn *txn)
{
    uint8_t record[META_SIZE];
    meta_put(record, &job->meta);
    MDB_val key = val_of(meta_key.data, meta_key.size);
    MDB_val value = val_of(record, sizeof record);
    return mdb_put(txn, env->meta, &key, &value, 0);
}

static int fill(const struct environment *env, const struct flush_job *job,
                MDB_txn *txn)
{
    int rc = flush_cells(env, job, txn);
    if (rc == 0)
        rc = retention_expire(env, txn, job->meta.horizon);
    if (rc == 0)
        rc = put_checkpoint(env, job, txn);
    if (rc == 0)
        rc = put_rows(txn, env->addresses, &job->addresses, 0);
    if (rc == 0)
        rc = put_rows(txn, env->roster, &job->roster, 0);
    if (rc == 0)
        rc = put_meta(env, job, txn);
    return rc;
}

static int commit(const struct environment *env, const struct flush_job *job,
                  struct errmsg *e)
{
    int dead;
    int rc = mdb_reader_check(env->env, &dead);
    MDB_txn *txn = NULL;
    if (rc == 0)
        rc = mdb_txn_begin(env->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = fill(env, job, txn);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc != 0)
        return lmdb_error(rc, "writing the store in", env->path, e);
    return 0;
}

/* --- the steps --------------------------------------------------------------
 */

static const char out_of_memory[] = "flushing the store: out of memory";

static int failed_before(int code, struct errmsg *e)
{
    return errmsg_set(e, code, "the store failed before; restart the process");
}

/* The file has it now: a reader that holds the lock sees either both as before
 * or both as after. Under the lock; who calls frees the job without. */
static struct flush_job let_go(struct store *s)
{
    struct flush_job done = s->job;
    s->job = (struct flush_job){0};
    s->generation = done.meta.generation;
    atomic_store(&s->flushed_index, done.meta.applied_index);
    s->counters.flushes++;
    return done;
}

/* Walks over all slots. */
static int complete_job(struct store *s, struct errmsg *e)
{
    int rc;
    while ((rc = flush_job_walk(s, FLUSH_SLICE)) > 0)
        continue;
    return rc == 0 ? 0 : errmsg_set(e, rc, out_of_memory);
}

/* Without the lock: nobody changes a job that is complete. */
static int write_job(struct store *s, struct errmsg *e)
{
    int rc = complete_job(s, e);
    /* What the log may forget after the commit is in the raw reports by then.
     */
    if (rc == 0 && s->raw != NULL)
        rc = raw_await(s->raw, e);
    return rc == 0 ? commit(&s->env, &s->job, e) : rc;
}

static int end(struct store *s, struct errmsg *e)
{
    uint64_t start = clock_mono_ns();
    struct flush_job done = {0};
    int rc = write_job(s, e);
    pthread_mutex_lock(&s->lock);
    if (rc == 0)
        done = let_go(s);
    else
        s->flush_failed = rc;
    s->counters.flush_ns += clock_mono_ns() - start;
    pthread_cond_broadcast(&s->flush_ended);
    pthread_mutex_unlock(&s->lock);
    flush_job_deinit(&done);
    return rc;
}

/* Under the lock, which it gives up while it waits. */
static void await_end(struct store *s)
{
    if (s->job.under_way && s->flush_failed == 0)
        s->counters.flush_waits++;
    while (s->job.under_way && s->flush_failed == 0)
        pthread_cond_wait(&s->flush_ended, &s->lock);
}

void store_flush_await(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    await_end(s);
    pthread_mutex_unlock(&s->lock);
}

static int begin(struct store *s, struct errmsg *e) REQUIRES(applier_thread)
{
    await_end(s);
    if (s->flush_failed != 0)
        return failed_before(s->flush_failed, e);
    /* The file holds this index already. */
    if (s->applied_index == atomic_load(&s->flushed_index))
        return 0;
    uint64_t start = clock_mono_ns();
    int rc = flush_job_begin(s);
    s->counters.flush_ns += clock_mono_ns() - start;
    return rc == 0 ? 1 : errmsg_set(e, rc, out_of_memory);
}

int store_flush_begin(struct store *s, struct errmsg *e)
{
    thread_role_assert(&applier_thread);
    if (s->failed != 0)
        return failed_before(s->failed, e);
    pthread_mutex_lock(&s->lock);
    int rc = begin(s, e);
    pthread_mutex_unlock(&s->lock);
    if (rc < 0)
        s->failed = rc;
    return rc;
}

int store_flush_end(struct store *s, struct errmsg *e)
{
    thread_role_assert(&flusher_thread);
    return end(s, e);
}

int store_flush(struct store *s, struct errmsg *e)
{
    int rc = store_flush_begin(s, e);
    if (rc <= 0)
        return rc;
    return s->failed = end(s, e);
}
