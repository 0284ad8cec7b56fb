#include "raft/rebuild.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/thread.h"
#include "raft/refound.h"
#include "store/raw_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TELL_EVERY_MS = 1000 };

struct rebuild {
    const struct rebuild_options *options;
    struct rebuild_report *report;
    struct raw_file *raw;
    struct store *store;
    uint64_t term; /* of the last entry: terms only grow */
    uint64_t told_ms;
};

static void tell(struct rebuild *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(struct rebuild *b, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    b->told_ms = clock_mono_ms();
    if (b->options->progress != NULL)
        b->options->progress(b->options->arg, text);
}

/* --- may it be done? ------------------------------------------------------ */

static int missing(uint64_t have, uint64_t next, struct errmsg *e)
{
    return errmsg_set(e, ERR_BEHIND,
                      "entries from index %llu up to %llu are missing in the "
                      "raw reports: give --base a copy of the store at index "
                      "%llu or later (holdfastctl snapshot save), or take "
                      "another node's",
                      (unsigned long long)have + 1,
                      (unsigned long long)next - 1,
                      (unsigned long long)next - 1);
}

static int check_reach(struct rebuild *b, struct errmsg *e)
{
    struct raw_coverage c;
    struct rebuild_report *r = b->report;
    int rv = raw_file_cover(b->raw, 0, &c, e);
    if (rv != 0)
        return rv;
    r->raw_first_index = c.first_index;
    r->raw_last_index = c.last_index;
    r->raw_first_ms = c.first_ms;
    r->raw_last_ms = c.last_ms;
    if (c.chunks == 0)
        return errmsg_set(e, ERR_NOTFOUND,
                          "%.200s/raw: there are no raw reports",
                          b->options->data_dir);
    if (c.gaps > 0 && c.gap_before > r->base_index + 1)
        return missing(r->base_index > c.gap_after ? r->base_index
                                                   : c.gap_after,
                       c.gap_before, e);
    if (c.last_index <= r->base_index)
        return errmsg_set(e, ERR_INVALID,
                          "the copy is of index %llu and the raw reports end "
                          "at %llu: there is nothing to add",
                          (unsigned long long)r->base_index,
                          (unsigned long long)c.last_index);
    return 0;
}

static int check_base(struct rebuild *b, const struct identity *own,
                      struct errmsg *e)
{
    struct copy_info info;
    if (b->options->base == NULL)
        return 0;
    int rv = store_copy_inspect(b->options->base, &info, e);
    if (rv == 0 &&
        memcmp(info.cluster_id, own->cluster_id, CLUSTER_ID_SIZE) != 0)
        rv = errmsg_set(e, ERR_FOREIGN,
                        "%.150s is of another cluster than %.80s",
                        b->options->base, b->options->data_dir);
    b->report->base_index = info.applied_index;
    return rv;
}

/* --- doing it ------------------------------------------------------------- */

/* Digests that the log asked for are computed again on the way: who kept what
 * one was can compare. */
static void note_digest(struct rebuild *b, uint64_t index, struct bytes entry)
{
    struct entry_header header;
    struct reader records;
    struct record record;
    struct errmsg e;
    if (entry_open(entry, &header, &records, &e) != 0)
        return;
    while (record_next(&records, &record) > 0)
        if (record.kind == RECORD_DIGEST &&
            store_digest_at(b->store, index, &b->report->digest) == 0)
            b->report->digest_index = index;
}

static int apply(struct rebuild *b, uint64_t index, struct bytes entry,
                 struct errmsg *e) REQUIRES(applier_thread)
{
    struct apply_result result;
    int rv = store_apply(b->store, index, entry, &result, e);
    if (rv < 0 || result.skipped)
        return rv;
    if (result.header.term < b->term)
        return errmsg_set(e, ERR_CORRUPT,
                          "raw reports: entry %llu is of term %llu, one before "
                          "it of %llu: they are not of one log",
                          (unsigned long long)index,
                          (unsigned long long)result.header.term,
                          (unsigned long long)b->term);
    b->term = result.header.term;
    b->report->entries++;
    note_digest(b, index, entry);
    return result.flush_due ? store_flush(b->store, e) : 0;
}

static int apply_chunk(struct rebuild *b, const struct raw_chunk *c,
                       struct errmsg *e) REQUIRES(applier_thread)
{
    struct raw_reader r = raw_reader_of(c);
    uint64_t have = store_applied_index(b->store), index;
    struct bytes entry;
    int rv;
    if (c->key.after > have)
        return missing(have, c->key.first, e);
    while ((rv = raw_reader_next(&r, &index, &entry)) > 0) {
        rv = apply(b, index, entry, e);
        if (rv < 0)
            return rv;
    }
    if (rv != 0)
        return errmsg_set(e, rv, "raw reports: a damaged chunk at index %llu",
                          (unsigned long long)c->key.first);
    if (clock_mono_ms() > b->told_ms + TELL_EVERY_MS)
        tell(b, "applied up to index %llu of %llu", (unsigned long long)c->last,
             (unsigned long long)b->report->raw_last_index);
    return 0;
}

static int apply_all(struct rebuild *b, struct errmsg *e)
{
    int rv = 1;
    thread_role_assert(&applier_thread);
    while (rv == 1) {
        struct raw_chunk chunk;
        rv =
            raw_file_next(b->raw, store_applied_index(b->store) + 1, &chunk, e);
        if (rv == 1) {
            int applied = apply_chunk(b, &chunk, e);
            rv = applied < 0 ? applied : 1;
        }
        raw_chunk_deinit(&chunk);
    }
    return rv == 0 ? store_flush(b->store, e) : rv;
}

static int build(struct rebuild *b, struct errmsg *e)
{
    const struct rebuild_options *o = b->options;
    char file[DURABLE_PATH_SIZE];
    int rv = durable_path(file, o->to, "data.mdb", e);
    if (rv == 0 && o->base != NULL)
        rv = refound_copy_file(o->base, file, e);
    if (rv == 0)
        rv = store_open(&(struct store_options){.path = o->to}, &b->store, e);
    if (rv == 0)
        rv = apply_all(b, e);
    if (rv == 0) {
        b->report->applied_index = store_applied_index(b->store);
        b->report->log_time_ms = store_log_time_ms(b->store);
    }
    store_close(b->store);
    return rv;
}

/* The log's settings have the id of the cluster as it was founded; a node that
 * was made a new cluster of has another one. */
static int take_cluster(struct rebuild *b, const struct identity *own,
                        struct errmsg *e)
{
    char file[DURABLE_PATH_SIZE];
    struct copy_info info;
    int rv = durable_path(file, b->options->to, "data.mdb", e);
    if (rv == 0)
        rv = store_copy_inspect(file, &info, e);
    if (rv == 0 &&
        memcmp(info.cluster_id, own->cluster_id, CLUSTER_ID_SIZE) != 0)
        rv = store_copy_rename_cluster(b->options->to, own->cluster_id, e);
    return rv == 0 ? durable_sync(b->options->to, e) : rv;
}

static int build_into(struct rebuild *b, const struct identity *own,
                      struct errmsg *e)
{
    const char *to = b->options->to;
    struct errmsg ignored;
    int rv = durable_make_directory(to, e);
    if (rv == 0)
        rv = refound_check_empty(to, e);
    if (rv != 0)
        return rv;
    rv = build(b, e);
    if (rv == 0)
        rv = take_cluster(b, own, e);
    /* Half a state would look like a whole one. */
    if (rv != 0)
        (void)!durable_remove(to, &ignored);
    return rv;
}

int rebuild_from_raw(const struct rebuild_options *options,
                     struct rebuild_report *out, struct errmsg *e)
{
    struct rebuild b = {.options = options, .report = out};
    struct identity own;
    char path[DURABLE_PATH_SIZE];
    int lock_fd = -1;
    *out = (struct rebuild_report){0};
    int rv = refound_take_directory(options->data_dir, &own, &lock_fd, e);
    if (rv == 0)
        rv = durable_path(path, options->data_dir, "raw", e);
    if (rv == 0)
        rv = raw_file_open(path, &b.raw, e);
    if (rv == 0)
        rv = check_base(&b, &own, e);
    if (rv == 0)
        rv = check_reach(&b, e);
    if (rv == 0)
        rv = build_into(&b, &own, e);
    raw_file_close(b.raw);
    if (lock_fd >= 0)
        close(lock_fd);
    return rv;
}
