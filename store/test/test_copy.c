/* Copies of a store: what they hold, what goes on meanwhile, and what becomes
 * of those that cannot be finished. */
#include "store/test/replica.h"
#include "store/test/scenario.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS = 300 };

static struct replica original;
static struct model *model;
static struct scenario scenario;
static uint64_t next_index;
static char path[128], directory[64];
static struct errmsg e;

static void run_steps(struct replica *also, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct model_step step;
        struct outcome outcomes[MODEL_COMMANDS_MAX];
        struct buf entry = {0};
        scenario_next(&scenario, &step);
        model_apply(model, &step, outcomes);
        scenario_told(&scenario, &step, outcomes);
        step_encode(&step, &entry);
        replica_apply(&original, next_index, buf_bytes(&entry));
        if (original.result.flush_due)
            replica_flush(&original);
        if (also != NULL)
            replica_apply(also, next_index, buf_bytes(&entry));
        next_index++;
        buf_deinit(&entry);
    }
}

static int set_up(void **state)
{
    (void)state;
    replica_init(&original);
    model = model_create();
    scenario_init(&scenario, 7, model);
    next_index = 10;
    run_steps(NULL, STEPS);
    strcpy(directory, "/tmp/holdfast-copy-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    replica_deinit(&original);
    model_destroy(model);
    remove_directory(directory);
    return 0;
}

static uint64_t digest_of(struct replica *r)
{
    struct model_step step = {.log_time_ms = model_log_time_ms(model),
                              .count = 1,
                              .commands[0].kind = MODEL_DIGEST};
    struct buf entry = {0};
    uint64_t digest = 0;
    step_encode(&step, &entry);
    replica_apply(r, next_index, buf_bytes(&entry));
    assert_int_equal(store_digest_at(r->store, next_index, &digest), 0);
    buf_deinit(&entry);
    return digest;
}

static struct replica open_copy(void)
{
    struct replica copy = {0};
    strcpy(copy.path, directory);
    replica_open(&copy);
    return copy;
}

static XXH128_canonical_t hash_of(const char *file)
{
    static uint8_t data[64 << 20];
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    assert_true(size > 0 && size < sizeof data);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
    return canonical;
}

/* --- cases ---------------------------------------------------------------- */

static void a_copy_is_what_was_flushed_and_says_so(void **state)
{
    (void)state;
    struct copy_info info, again;
    struct store_status status;
    replica_flush(&original);
    store_status(original.store, &status);
    run_steps(NULL, 1);
    int rc = store_copy(original.store, path, NULL, NULL, &info, &e);
    if (rc != 0)
        fail_msg("%s", e.text);
    store_status(original.store, &status);
    assert_int_equal(info.applied_index, status.flushed_index);
    assert_int_equal(info.applied_term, 3);
    assert_int_equal(info.cluster_id[0], 1);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(info.bytes, file.st_size);
    assert_int_equal(store_copy_inspect(path, &again, &e), 0);
    assert_memory_equal(info.hash, hash_of(path).digest, COPY_HASH_SIZE);
    memset(info.hash, 0, COPY_HASH_SIZE); /* looking does not read it all */
    assert_memory_equal(&info, &again, sizeof info);
}

static void a_copy_answers_and_counts_as_the_original(void **state)
{
    (void)state;
    struct copy_info info;
    replica_flush(&original);
    assert_int_equal(store_copy(original.store, path, NULL, NULL, &info, &e),
                     0);
    struct replica copy = open_copy();
    assert_int_equal(store_applied_index(copy.store), next_index - 1);
    run_steps(&copy, 100);
    assert_true(digest_of(&original) == digest_of(&copy));
    store_close(copy.store);
}

struct writer {
    _Atomic bool stop;
    size_t flushes;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    while (!w->stop) {
        run_steps(NULL, 1);
        replica_flush(&original);
        w->flushes++;
    }
    return NULL;
}

static bool slowly(void *arg, uint64_t bytes)
{
    (void)arg;
    (void)bytes;
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    return true;
}

static void a_copy_is_whole_while_the_store_is_written(void **state)
{
    (void)state;
    struct writer w = {0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
    int failed = 0;
    for (int i = 0; i < 10 && failed == 0; i++) {
        struct copy_info info;
        failed = store_copy(original.store, path, slowly, NULL, &info, &e);
        if (failed == 0) {
            struct replica copy = open_copy();
            if (store_applied_index(copy.store) != info.applied_index)
                failed = 1;
            store_close(copy.store);
        }
    }
    w.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(failed, 0);
    assert_true(w.flushes > 0);
}

static bool never(void *arg, uint64_t bytes)
{
    uint64_t *seen = arg;
    *seen = bytes;
    return false;
}

static void a_copy_that_is_ended_leaves_nothing(void **state)
{
    (void)state;
    uint64_t seen = 0;
    struct copy_info info;
    assert_int_equal(store_copy(original.store, path, never, &seen, &info, &e),
                     ERR_CLOSED);
    assert_true(seen > 0);
    assert_int_equal(access(path, F_OK), -1);
    /* Nor does its reader: the next one works, and so does the store. */
    replica_flush(&original);
    assert_int_equal(store_copy(original.store, path, NULL, NULL, &info, &e),
                     0);
}

static void a_copy_without_room_says_so_and_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit old, small;
    struct copy_info info;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 8192;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = store_copy(original.store, path, NULL, NULL, &info, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, ERR_IO);
    assert_non_null(strstr(e.text, path));
    assert_int_equal(access(path, F_OK), -1);
    char nowhere[160];
    snprintf(nowhere, sizeof nowhere, "%s/not/there", directory);
    assert_int_equal(store_copy(original.store, nowhere, NULL, NULL, &info, &e),
                     ERR_IO);
}

static void write_byte(off_t at, uint8_t flip)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= flip;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void what_is_no_copy_is_told_apart(void **state)
{
    (void)state;
    struct copy_info info;
    assert_int_equal(store_copy_inspect(path, &info, &e), ERR_NOTFOUND);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 10000; i++)
        fputs("this is no database", f);
    fclose(f);
    assert_int_equal(store_copy_inspect(path, &info, &e), ERR_CORRUPT);
    assert_int_equal(store_copy(original.store, path, NULL, NULL, &info, &e),
                     0);
    assert_int_equal(truncate(path, (off_t)info.bytes - 4096), 0);
    assert_int_equal(store_copy_inspect(path, &info, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "cut short"));
    assert_int_equal(store_copy(original.store, path, NULL, NULL, &info, &e),
                     0);
    write_byte(16, 0xff); /* LMDB's magic in the first page */
    assert_int_equal(store_copy_inspect(path, &info, &e), ERR_CORRUPT);
}

static void a_restored_store_belongs_to_its_new_cluster(void **state)
{
    (void)state;
    static const uint8_t other[CLUSTER_ID_SIZE] = {9, 8, 7};
    struct copy_info info;
    replica_flush(&original);
    assert_int_equal(store_copy(original.store, path, NULL, NULL, &info, &e),
                     0);
    assert_int_equal(store_copy_rename_cluster(original.path, other, &e),
                     ERR_DENIED); /* it is open */
    assert_int_equal(store_copy_rename_cluster(directory, other, &e), 0);
    assert_int_equal(store_copy_inspect(path, &info, &e), 0);
    assert_memory_equal(info.cluster_id, other, CLUSTER_ID_SIZE);
    struct replica copy = open_copy(); /* checks meta against the settings */
    const struct settings *settings = roster_settings(store_roster(copy.store));
    assert_memory_equal(settings->cluster_id, other, CLUSTER_ID_SIZE);
    assert_string_equal(settings->gateway_secret, "secret");
    assert_int_equal(store_applied_index(copy.store), next_index - 1);
    store_close(copy.store);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_copy_is_what_was_flushed_and_says_so),
        CASE(a_copy_answers_and_counts_as_the_original),
        CASE(a_copy_is_whole_while_the_store_is_written),
        CASE(a_copy_that_is_ended_leaves_nothing),
        CASE(a_copy_without_room_says_so_and_leaves_nothing),
        CASE(what_is_no_copy_is_told_apart),
        CASE(a_restored_store_belongs_to_its_new_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
