#include "store/raw_file_state.h"

#include "base/durable.h"
#include "store/lmdb_error.h"

#include <stdlib.h>

static int open_chunks(struct raw_file *f, struct errmsg *e)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(f->env.env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "chunks", MDB_CREATE, &f->chunks);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    return rc == 0 ? 0 : lmdb_error(rc, "opening", f->env.path, e);
}

int raw_file_make(const char *path, uint64_t map_bytes, struct raw_file **out,
                  struct errmsg *e)
{
    *out = NULL;
    struct raw_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return errmsg_set(e, ERR_NOMEM, "opening %s: out of memory", path);
    int rc = environment_open_bare(&f->env, path, map_bytes, e);
    if (rc == 0) {
        rc = open_chunks(f, e);
        if (rc != 0)
            environment_close(&f->env);
    }
    if (rc == 0)
        *out = f;
    else
        free(f);
    return rc;
}

int raw_file_open(const char *path, struct raw_file **out, struct errmsg *e)
{
    char file[DURABLE_PATH_SIZE];
    int rc = durable_path(file, path, "data.mdb", e);
    *out = NULL;
    if (rc == 0 && !durable_exists(file))
        rc = errmsg_set(e, ERR_NOTFOUND,
                        "%.200s: no raw reports are kept there", path);
    return rc == 0 ? raw_file_make(path, 0, out, e) : rc;
}

void raw_file_close(struct raw_file *f)
{
    if (f == NULL)
        return;
    environment_close(&f->env);
    free(f);
}

int raw_file_size(const struct raw_file *f, MDB_txn *txn, uint64_t *bytes)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, f->chunks, &stat);
    if (rc == 0)
        *bytes = (uint64_t)stat.ms_psize *
                 (stat.ms_branch_pages + stat.ms_leaf_pages +
                  stat.ms_overflow_pages);
    return rc;
}

/* --- one chunk ------------------------------------------------------------ */

struct look {
    const struct raw_file *file;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    struct raw_key at; /* where the cursor stands */
};

static int look_begin(struct look *l, const struct raw_file *f)
{
    *l = (struct look){.file = f};
    int rc = mdb_txn_begin(f->env.env, NULL, MDB_RDONLY, &l->txn);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_open(l->txn, f->chunks, &l->cursor);
    if (rc != 0)
        mdb_txn_abort(l->txn);
    return rc;
}

static void look_end(struct look *l)
{
    mdb_cursor_close(l->cursor);
    mdb_txn_abort(l->txn);
}

/* MDB_CORRUPTED also for a key that is none. */
static int look_go(struct look *l, MDB_cursor_op where)
{
    int rc = mdb_cursor_get(l->cursor, &l->key, &l->value, where);
    if (rc == 0 && raw_key_get(bytes_of_val(&l->key), &l->at) != 0)
        rc = MDB_CORRUPTED;
    return rc;
}

/* Which entry the chunk under the cursor ends with: only its value says it. */
static int peek(struct look *l, struct raw_chunk *head)
{
    int rc = raw_chunk_peek(&l->at, bytes_of_val(&l->value), head);
    return rc == 0 ? 0 : MDB_CORRUPTED;
}

static int damaged(const struct raw_file *f, int rc, struct errmsg *e)
{
    if (rc == ERR_NEWER)
        return errmsg_set(e, rc, "%s: written by a newer version", f->env.path);
    return errmsg_set(e, rc, "%s: a chunk: %s", f->env.path, err_text(rc));
}

/* Stands on the chunk before which nothing has @index. */
static int seek(struct look *l, uint64_t index)
{
    uint8_t raw[RAW_KEY_SIZE];
    struct raw_chunk head;
    raw_key_put(raw, &(struct raw_key){.first = index});
    l->key = val_of(raw, sizeof raw);
    int rc = look_go(l, MDB_SET_RANGE);
    bool beyond = rc == MDB_NOTFOUND;
    if ((rc == 0 && l->at.first > index) || beyond) {
        rc = look_go(l, beyond ? MDB_LAST : MDB_PREV);
        if (rc == MDB_NOTFOUND && !beyond)
            return look_go(l, MDB_FIRST);
        if (rc != 0)
            return rc;
        rc = peek(l, &head);
        if (rc == 0 && head.last < index)
            rc = look_go(l, MDB_NEXT);
    }
    return rc;
}

int raw_file_next(const struct raw_file *f, uint64_t index,
                  struct raw_chunk *out, struct errmsg *e)
{
    struct look l;
    *out = (struct raw_chunk){0};
    int rc = look_begin(&l, f);
    if (rc != 0)
        return lmdb_error(rc, "reading", f->env.path, e);
    rc = seek(&l, index);
    int found = 0;
    if (rc == 0) {
        found = raw_chunk_unpack(&l.at, bytes_of_val(&l.value), out);
        found = found == 0 ? 1 : damaged(f, found, e);
    }
    look_end(&l);
    return rc == 0 || rc == MDB_NOTFOUND
               ? found
               : lmdb_error(rc, "reading", f->env.path, e);
}

/* --- all of them ---------------------------------------------------------- */

static int note_gap(struct look *l, struct raw_coverage *out)
{
    struct raw_chunk head;
    out->gaps++;
    out->gap_before = l->at.first;
    int rc = look_go(l, MDB_PREV);
    if (rc == 0)
        rc = peek(l, &head);
    if (rc == 0) {
        out->gap_after = head.last;
        rc = look_go(l, MDB_NEXT);
    }
    return rc;
}

static int cover(struct look *l, uint64_t since_ms, struct raw_coverage *out)
{
    struct raw_chunk head;
    int rc = look_go(l, MDB_FIRST);
    if (rc != 0)
        return rc;
    out->first_index = out->since_index = l->at.first;
    out->first_ms = l->at.first_ms;
    out->from_the_first = l->at.after == 0;
    do {
        if (out->chunks++ > 0 && l->at.cut)
            rc = note_gap(l, out);
        if (rc == 0 && l->at.first_ms < since_ms)
            out->since_index = l->at.first;
        if (rc == 0)
            rc = look_go(l, MDB_NEXT);
    } while (rc == 0);
    if (rc == MDB_NOTFOUND)
        rc = look_go(l, MDB_LAST);
    if (rc == 0)
        rc = peek(l, &head);
    if (rc == 0) {
        out->last_index = head.last;
        out->last_ms = head.last_ms;
        rc = raw_file_size(l->file, l->txn, &out->bytes);
    }
    return rc;
}

int raw_file_cover(const struct raw_file *f, uint64_t since_ms,
                   struct raw_coverage *out, struct errmsg *e)
{
    struct look l;
    *out = (struct raw_coverage){0};
    int rc = look_begin(&l, f);
    if (rc == 0) {
        rc = cover(&l, since_ms, out);
        look_end(&l);
    }
    return rc == 0 || rc == MDB_NOTFOUND
               ? 0
               : lmdb_error(rc, "reading", f->env.path, e);
}
