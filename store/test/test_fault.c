/* Every call of LMDB and every allocation of ours fails once, the Nth in turn:
 * the store says so, the process that stops loses nothing, and a replay leads
 * to the digest of a replica that never failed, with every raw report in its
 * place. The calls are wrapped by the
 * linker (store/CMakeLists.txt), so that the store itself knows nothing of
 * tests. */
#include "base/durable.h"
#include "store/raw.h"
#include "store/test/replica.h"
#include "store/test/scenario.h"

#include <errno.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS = 40 };

/* Calls until one fails; 0 or less = never. The raw reports' thread counts
 * too. */
static atomic_int calls_left;
static atomic_bool memory_fails, has_failed;

static bool fails_now(bool memory)
{
    if (atomic_load(&calls_left) <= 0 || memory != memory_fails ||
        atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    has_failed = true;
    return true;
}

/* cmocka has no hand in these: the linker does it. */
#define WRAP(name, parameters, arguments)                                      \
    int __real_##name parameters;                                              \
    int __wrap_##name parameters;                                              \
    int __wrap_##name parameters                                               \
    {                                                                          \
        return fails_now(false) ? EIO : __real_##name arguments;               \
    }

WRAP(mdb_env_create, (MDB_env * *env), (env))
WRAP(mdb_env_set_mapsize, (MDB_env * env, size_t size), (env, size))
WRAP(mdb_env_set_maxdbs, (MDB_env * env, MDB_dbi dbs), (env, dbs))
WRAP(mdb_env_set_maxreaders, (MDB_env * env, unsigned readers), (env, readers))
WRAP(mdb_env_open,
     (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode),
     (env, path, flags, mode))
WRAP(mdb_reader_check, (MDB_env * env, int *dead), (env, dead))
WRAP(mdb_txn_begin,
     (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn),
     (env, parent, flags, txn))
WRAP(mdb_dbi_open,
     (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *dbi),
     (txn, name, flags, dbi))
WRAP(mdb_get, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data),
     (txn, dbi, key, data))
WRAP(mdb_put,
     (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
     (txn, dbi, key, data, flags))
WRAP(mdb_del, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data),
     (txn, dbi, key, data))
WRAP(mdb_drop, (MDB_txn * txn, MDB_dbi dbi, int del), (txn, dbi, del))
WRAP(mdb_cursor_open, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor),
     (txn, dbi, cursor))
WRAP(mdb_cursor_get,
     (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op),
     (cursor, key, data, op))
WRAP(mdb_cursor_put,
     (MDB_cursor * cursor, MDB_val *key, MDB_val *data, unsigned flags),
     (cursor, key, data, flags))
WRAP(mdb_cursor_del, (MDB_cursor * cursor, unsigned flags), (cursor, flags))

/* A failed commit must end its transaction, as the real one does. */
int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (!fails_now(false))
        return __real_mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return ENOSPC;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails_now(true) ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now(true) ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
    return fails_now(true) ? NULL : __real_realloc(old, size);
}

/* --- the run ----------------------------------------------------------------
 */

static struct buf entries[STEPS + 1]; /* owned; the last asks for a digest */
static uint64_t last_time_ms;
static uint64_t digest_wanted;

static void make_entries(void)
{
    struct model *model = model_create();
    struct scenario scenario;
    assert_non_null(model);
    scenario_init(&scenario, 77, model);
    for (size_t i = 0; i < STEPS; i++) {
        struct model_step step;
        struct outcome outcomes[MODEL_COMMANDS_MAX];
        scenario_next(&scenario, &step);
        model_apply(model, &step, outcomes);
        scenario_told(&scenario, &step, outcomes);
        step_encode(&step, &entries[i]);
    }
    last_time_ms = model_log_time_ms(model);
    struct model_step last = {.log_time_ms = last_time_ms, .count = 1};
    last.commands[0].kind = MODEL_DIGEST;
    step_encode(&last, &entries[STEPS]);
    model_destroy(model);
}

static void raw_path(char out[80], const char *path)
{
    snprintf(out, 80, "%s/raw", path);
}

static int keep_raw(struct store *s, const char *path, struct errmsg *e)
{
    char raw[80];
    raw_path(raw, path);
    struct raw_options options = {raw, 64 << 20, UINT64_MAX / 2};
    return store_keep_raw(s, &options, e);
}

/* Nothing was lost on the way, whichever call failed. */
static void check_raw(const char *path)
{
    char raw[80];
    struct raw_file *file;
    struct raw_chunk chunk;
    struct errmsg e = {""};
    uint64_t wanted = 1, index;
    struct bytes entry;
    raw_path(raw, path);
    if (raw_file_open(raw, &file, &e) != 0)
        fail_msg("%s", e.text);
    while (raw_file_next(file, wanted, &chunk, &e) == 1) {
        struct raw_reader r = raw_reader_of(&chunk);
        while (raw_reader_next(&r, &index, &entry) == 1) {
            assert_int_equal(index, wanted);
            assert_int_equal(entry.size, entries[index - 1].size);
            assert_memory_equal(entry.data, entries[index - 1].data,
                                entry.size);
            wanted++;
        }
        raw_chunk_deinit(&chunk);
    }
    assert_int_equal(wanted, STEPS + 2);
    raw_file_close(file);
}

/* As a flusher does. */
static int flush_in_steps(struct store *s, struct errmsg *e)
{
    struct errmsg later;
    thread_role_assert(&applier_thread);
    thread_role_assert(&flusher_thread);
    int rc = store_flush_begin(s, e);
    if (rc <= 0)
        return rc;
    rc = store_flush_end(s, e);
    /* No later one passes for one that came through. */
    if (rc < 0 && store_flush_begin(s, &later) >= 0)
        fail_msg("a flush began after one that failed");
    return rc;
}

/* Opens, applies all that is missing, flushes on the way, asks. The first error
 * ends it, as it ends a process. */
static int run(const char *path, uint64_t *digest, struct errmsg *e)
{
    struct store *s;
    struct store_options options = {path, 64 << 20};
    thread_role_assert(&applier_thread);
    int rc = store_open(&options, &s, e);
    if (rc == 0)
        rc = keep_raw(s, path, e);
    for (size_t i = 0; i <= STEPS && rc == 0; i++) {
        struct apply_result result;
        rc = store_apply(s, i + 1, buf_bytes(&entries[i]), &result, e);
        if (rc == 0 && (result.flush_due || i % 9 == 0))
            rc = i % 2 == 0 ? store_flush(s, e) : flush_in_steps(s, e);
    }
    for (int by = BY_NONE; by <= BY_DEVICE && rc == 0; by++) {
        struct query q = {.from_s = last_time_ms / 60000 * 60 - 7200,
                          .to_s = last_time_ms / 60000 * 60 + 60,
                          .resolution = BY_MINUTE,
                          .by = (enum query_by)by};
        struct answer a;
        rc = query_run(s, &q, &a, e);
        if (rc == 0)
            answer_deinit(&a);
    }
    /* After a restart that found everything done there is none to see. */
    if (rc == 0 && store_digest_at(s, STEPS + 1, digest) != 0)
        *digest = digest_wanted;
    store_close(s);
    return rc;
}

static void remove_all(const char *path)
{
    struct errmsg e;
    assert_int_equal(durable_remove(path, &e), 0);
}

static void make_directory(char *path, size_t size)
{
    /* Thousands of commits: in memory where that can be had. */
    snprintf(path, size, "%s/holdfast-store-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(path));
}

/* Ends when a run needs fewer calls than the one that would fail. */
static void fail_every_call(bool memory)
{
    struct errmsg e;
    unsigned n = 1, step = 1;
    do {
        char path[64];
        uint64_t digest = 0;
        make_directory(path, sizeof path);
        e.text[0] = '\0';
        memory_fails = memory;
        has_failed = false;
        calls_left = (int)n;
        int rc = run(path, &digest, &e);
        calls_left = 0;
        if (has_failed && (rc >= 0 || e.text[0] == '\0'))
            fail_msg("call %u failed, and the store said %d, '%s'", n, rc,
                     e.text);
        if (rc != 0 && run(path, &digest, &e) != 0)
            fail_msg("after call %u had failed: %s", n, e.text);
        assert_int_equal(digest, digest_wanted);
        check_raw(path);
        remove_all(path);
        n += step;
        /* All of the opening and of the first flushes; then a sample. */
        if (n > 400)
            step = 37;
    } while (has_failed);
    print_message("%u calls\n", n);
}

static void every_call_of_lmdb_may_fail_once(void **state)
{
    (void)state;
    fail_every_call(false);
}

static void every_allocation_may_fail_once(void **state)
{
    (void)state;
    fail_every_call(true);
}

static int set_up(void **state)
{
    (void)state;
    char path[64];
    struct errmsg e;
    make_entries();
    make_directory(path, sizeof path);
    int rc = run(path, &digest_wanted, &e);
    remove_all(path);
    return rc;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i <= STEPS; i++)
        buf_deinit(&entries[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_lmdb_may_fail_once),
        cmocka_unit_test(every_allocation_may_fail_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
