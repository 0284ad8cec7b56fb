/* Damaged store files: whatever is done to data.mdb, opening it, reading it all
 * and writing to it ends with an answer or an error that names the file, never
 * with a signal. Each try runs in a process of its own. */
#include "store/page_check.h"

#include "store/environment.h"
#include "store/query.h"
#include "store/test/replica.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define T0 ((uint64_t)1700000040000) /* the beginning of a minute */

enum { MINUTES = 120, DEVICES = 2, PAGE = 4096, LARGE_VALUE = 3 * PAGE };

struct file {
    uint8_t *data;
    size_t size;
};

static struct file sound; /* a store's file with all that one has */

/* --- making it ------------------------------------------------------------ */

static void apply(struct replica *r, uint64_t *index, struct model_step *step)
{
    struct buf entry = {0};
    step_encode(step, &entry);
    replica_apply(r, ++*index, buf_bytes(&entry));
    buf_deinit(&entry);
}

static void fill(struct replica *r)
{
    uint64_t index = 0;
    struct model_step step = {.log_time_ms = T0, .count = 2 + DEVICES};
    step.commands[0] = (struct model_command){.kind = MODEL_SETTINGS};
    step.commands[1] = (struct model_command){.kind = MODEL_LOCATION_CREATE};
    for (unsigned i = 0; i < DEVICES; i++)
        step.commands[2 + i] =
            (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = i + 1};
    apply(r, &index, &step);
    for (uint64_t minute = 0; minute < MINUTES; minute++) {
        uint64_t now = T0 + minute * 60000;
        step = (struct model_step){.log_time_ms = now, .count = 1};
        struct model_command *c = &step.commands[0];
        *c = (struct model_command){.kind = MODEL_NATIVE,
                                    .location = 1,
                                    .identity = 1,
                                    .session = 1,
                                    .sequence = minute + 1,
                                    .sampled_ms = now,
                                    .peer_count = DEVICES};
        for (unsigned i = 0; i < DEVICES; i++) {
            c->peers[i].device = i + 1;
            c->peers[i].upload = minute * (1000 + i);
        }
        apply(r, &index, &step);
        replica_flush(r);
    }
}

/* A value on pages of its own and a list of free pages, which a small store
 * does not come to by itself. */
static void add_overflow(const char *path)
{
    struct environment env;
    struct errmsg e;
    assert_int_equal(environment_open(&env, path, 16 << 20, &e), 0);
    static uint8_t large[LARGE_VALUE];
    for (unsigned i = 0; i < 3; i++) {
        MDB_txn *txn;
        assert_int_equal(mdb_txn_begin(env.env, NULL, 0, &txn), 0);
        MDB_dbi dbi;
        assert_int_equal(mdb_dbi_open(txn, "large", MDB_CREATE, &dbi), 0);
        MDB_val key = val_of("key", 3), value = val_of(large, sizeof large);
        assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
        assert_int_equal(mdb_txn_commit(txn), 0);
    }
    environment_close(&env);
}

static int make_sound(void **state)
{
    (void)state;
    struct replica r;
    replica_init(&r);
    fill(&r);
    replica_crash(&r);
    add_overflow(r.path);
    char name[128];
    snprintf(name, sizeof name, "%s/data.mdb", r.path);
    int fd = open(name, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return -1;
    sound.size = (size_t)st.st_size;
    sound.data = malloc(sound.size);
    ssize_t n = sound.data == NULL ? -1 : read(fd, sound.data, sound.size);
    close(fd);
    replica_open(&r);
    replica_deinit(&r);
    return n == st.st_size ? 0 : -1;
}

static int drop_sound(void **state)
{
    (void)state;
    free(sound.data);
    return 0;
}

/* --- trying it ------------------------------------------------------------ */

static void put_file(const char *directory, const uint8_t *data, size_t size)
{
    char name[128];
    snprintf(name, sizeof name, "%s/data.mdb", directory);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

/* What a node does with it, from the start to a flush. */
static int use(const char *path)
{
    struct store_options options = {path, 16 << 20};
    struct store *s;
    struct errmsg e = {""};
    int rc = store_open(&options, &s, &e);
    if (rc != 0) {
        bool named = strstr(e.text, path) != NULL;
        store_close(s);
        return named ? 1 : 3;
    }
    for (enum query_by by = BY_NONE; by <= BY_DEVICE; by++) {
        struct query q = {.from_s = T0 / 1000 / 60 * 60,
                          .to_s = T0 / 1000 / 60 * 60 + MINUTES * 60,
                          .resolution = BY_MINUTE,
                          .by = by};
        struct answer a;
        if (query_run(s, &q, &a, &e) == 0)
            answer_deinit(&a);
    }
    struct model_step step = {.log_time_ms = T0 + MINUTES * 60000, .count = 1};
    step.commands[0] = (struct model_command){.kind = MODEL_TICK};
    struct buf entry = {0};
    step_encode(&step, &entry);
    struct apply_result result;
    thread_role_take(&applier_thread);
    rc = store_apply(s, UINT64_MAX / 2, buf_bytes(&entry), &result, &e);
    if (rc == 0)
        rc = store_flush(s, &e);
    buf_deinit(&entry);
    store_close(s);
    return rc == 0 ? 0 : 2;
}

/* 0: it works. 1: refused at the start. 2: an error later. */
static int try(const char *what, size_t at, const uint8_t *data, size_t size)
{
    char path[] = "/tmp/holdfast-damage-XXXXXX";
    assert_non_null(mkdtemp(path));
    put_file(path, data, size);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(use(path));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    remove_directory(path);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 2)
        fail_msg("%s at %zu: %s %d", what, at,
                 WIFEXITED(status) ? "exit" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return WEXITSTATUS(status);
}

static uint8_t *copy_of_sound(void)
{
    uint8_t *data = malloc(sound.size);
    assert_non_null(data);
    memcpy(data, sound.data, sound.size);
    return data;
}

static void a_sound_file_works(void **state)
{
    (void)state;
    assert_true(sound.size > (size_t)20 * PAGE);
    assert_int_equal(try("sound", 0, sound.data, sound.size), 0);
}

static void a_file_that_was_cut_is_refused_or_works(void **state)
{
    (void)state;
    /* The meta pages say how many there are; the very last may be a free one
     * that nobody needs. */
    size_t refused = 0, tried = 0;
    for (size_t size = 1; size < sound.size; size += 2 * PAGE - 1, tried++)
        refused += try("cut", size, sound.data, size) == 1;
    assert_true(refused >= tried - 2);
}

static void a_zeroed_file_is_refused(void **state)
{
    (void)state;
    uint8_t *data = calloc(1, sound.size);
    assert_non_null(data);
    assert_int_equal(try("zeroed", 0, data, sound.size), 1);
    free(data);
}

static void zeroed_pages_are_refused_or_not_needed(void **state)
{
    (void)state;
    size_t refused = 0;
    for (size_t at = 0; at < sound.size; at += PAGE) {
        uint8_t *data = copy_of_sound();
        memset(data + at, 0, PAGE);
        refused += try("zeroed page", at, data, sound.size) == 1;
        free(data);
    }
    assert_true(refused > 5);
}

static void pages_in_each_other_s_place_are_refused_or_not_needed(void **state)
{
    (void)state;
    for (size_t at = 0; at + 2 * PAGE <= sound.size; at += PAGE) {
        uint8_t *data = copy_of_sound();
        memcpy(data + at, sound.data + at + PAGE, PAGE);
        memcpy(data + at + PAGE, sound.data + at, PAGE);
        (void)try("swapped page", at, data, sound.size);
        free(data);
    }
}

/* Every byte that LMDB follows is at the beginning of a page or in a node; the
 * rest is values, which have checks of their own. */
static void flipped_bytes_never_crash(void **state)
{
    (void)state;
    uint8_t *data = copy_of_sound();
    for (size_t page = 0; page < sound.size; page += PAGE)
        for (size_t i = 0; i < 24; i++) {
            size_t at =
                page +
                (i < 16 ? i : 16 + (i * 509 + page / PAGE * 37) % (PAGE - 16));
            data[at] ^= (uint8_t)(i % 2 == 0 ? 0xff : 0x10);
            (void)try("flipped", at, data, sound.size);
            data[at] = sound.data[at];
        }
    free(data);
}

static void rubbish_is_refused(void **state)
{
    (void)state;
    uint8_t *data = malloc(sound.size);
    assert_non_null(data);
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < sound.size; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = (uint8_t)x;
    }
    assert_int_equal(try("rubbish", 0, data, sound.size), 1);
    /* Behind sound meta pages. */
    memcpy(data, sound.data, 2 * PAGE);
    assert_int_equal(try("rubbish pages", 0, data, sound.size), 1);
    free(data);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    char path[] = "/tmp/holdfast-damage-XXXXXX";
    assert_non_null(mkdtemp(path));
    char name[128];
    snprintf(name, sizeof name, "%s/data.mdb", path);
    assert_int_equal(mkdir(name, 0700), 0);
    struct errmsg e = {""};
    assert_int_equal(page_check(path, PAGE_CHECK_WHOLE_BYTES_MAX, &e), ERR_IO);
    assert_non_null(strstr(e.text, name));
    assert_int_equal(rmdir(name), 0);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_file_works),
        cmocka_unit_test(a_file_that_was_cut_is_refused_or_works),
        cmocka_unit_test(a_zeroed_file_is_refused),
        cmocka_unit_test(zeroed_pages_are_refused_or_not_needed),
        cmocka_unit_test(pages_in_each_other_s_place_are_refused_or_not_needed),
        cmocka_unit_test(flipped_bytes_never_crash),
        cmocka_unit_test(rubbish_is_refused),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, make_sound, drop_sound);
}
