/* Raw reports: what is put comes back as it was, whatever happens in between;
 * the file stays within its limits; damage is told, and never stops a node. */
#include "base/durable.h"
#include "store/raw.h"
#include "store/test/replica.h"
#include "store/test/scenario.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define T0 ((uint64_t)1700000040000)
#define MIB ((uint64_t)1024 * 1024)
#define HOUR_MS ((uint64_t)3600 * 1000)
#define EVER (UINT64_MAX / 2)

enum { STEPS = 400, ENTRY_SIZE = 20 * 1000 };

/* --- fixture: a directory, and a log in it ----------------------------------
 */

struct world {
    char parent[64], path[80], aside[96];
    struct raw_options options;
    struct raw_log *log;
    uint8_t entry[ENTRY_SIZE]; /* of the last entry_at */
};

static void open_at(struct world *w, uint64_t applied_index)
{
    struct errmsg e;
    if (raw_open(&w->options, applied_index, &w->log, &e) != 0)
        fail_msg("%s", e.text);
}

static void close_log(struct world *w)
{
    raw_close(w->log);
    w->log = NULL;
}

static void reopen_at(struct world *w, uint64_t applied_index)
{
    close_log(w);
    open_at(w, applied_index);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -1;
    /* Hundreds of commits: in memory where that can be had. */
    snprintf(w->parent, sizeof w->parent, "%s/holdfast-raw-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->parent));
    snprintf(w->path, sizeof w->path, "%s/raw", w->parent);
    snprintf(w->aside, sizeof w->aside, "%s.damaged", w->path);
    w->options = (struct raw_options){w->path, 1024 * MIB, EVER};
    thread_role_assert(&applier_thread);
    open_at(w, 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    struct errmsg e;
    raw_close(w->log);
    assert_int_equal(durable_remove(w->parent, &e), 0);
    free(w);
    return 0;
}

/* The entry that every test puts at @index: half of it cannot be compressed. */
static struct bytes entry_at(struct world *w, uint64_t index)
{
    uint64_t x = index * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < ENTRY_SIZE; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        w->entry[i] = i < ENTRY_SIZE / 2 ? (uint8_t)x : (uint8_t)index;
    }
    return (struct bytes){w->entry, ENTRY_SIZE - index % 1000};
}

static void put(struct world *w, uint64_t index, uint64_t log_time_ms)
{
    struct errmsg e;
    thread_role_assert(&applier_thread);
    if (raw_put(w->log, index, log_time_ms, entry_at(w, index), &e) != 0)
        fail_msg("%s", e.text);
}

static void await(struct world *w)
{
    struct errmsg e;
    if (raw_await(w->log, &e) != 0)
        fail_msg("%s", e.text);
}

/* Entries are @step apart, as if barriers took the indexes between. */
static void put_run(struct world *w, uint64_t from, uint64_t to, uint64_t step)
{
    for (uint64_t index = from; index <= to; index += step)
        put(w, index, T0 + index * 1000);
}

static struct raw_coverage cover(struct world *w)
{
    struct raw_coverage c;
    struct errmsg e;
    if (raw_file_cover(raw_log_file(w->log), 0, &c, &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

/* Everything from @from on is there, @step apart, as it was put; the last. */
static uint64_t check_run(struct world *w, uint64_t from, uint64_t step)
{
    struct errmsg e;
    uint64_t wanted = from, index;
    struct raw_chunk c;
    int rc;
    while ((rc = raw_file_next(raw_log_file(w->log), wanted, &c, &e)) == 1) {
        struct raw_reader r = raw_reader_of(&c);
        struct bytes got;
        while ((rc = raw_reader_next(&r, &index, &got)) == 1) {
            if (index < wanted)
                continue;
            assert_int_equal(index, wanted);
            struct bytes put = entry_at(w, index);
            assert_int_equal(got.size, put.size);
            assert_memory_equal(got.data, put.data, put.size);
            wanted += step;
        }
        assert_int_equal(rc, 0);
        raw_chunk_deinit(&c);
    }
    if (rc != 0)
        fail_msg("%s", e.text);
    return wanted - step;
}

/* --- what is kept -----------------------------------------------------------
 */

static void what_was_put_comes_back_as_it_was(void **state)
{
    struct world *w = *state;
    put_run(w, 3, 600, 3);
    await(w);
    assert_int_equal(check_run(w, 3, 3), 600);
    reopen_at(w, 600);
    put_run(w, 603, 900, 3);
    await(w);
    assert_int_equal(check_run(w, 3, 3), 900);
    struct raw_coverage c = cover(w);
    assert_true(c.from_the_first);
    assert_int_equal(c.gaps, 0);
    assert_int_equal(c.first_index, 3);
    assert_int_equal(c.last_index, 900);
    assert_int_equal(c.first_ms, T0 + 3000);
    assert_int_equal(c.last_ms, T0 + 900000);
    assert_true(c.chunks > 10);
}

static void entries_are_found_from_any_index_and_time(void **state)
{
    struct world *w = *state;
    put_run(w, 3, 600, 3);
    await(w);
    assert_int_equal(check_run(w, 300, 3), 600);
    struct raw_chunk c;
    struct errmsg e;
    /* Between two entries: the chunk that has the next one. */
    assert_int_equal(raw_file_next(raw_log_file(w->log), 301, &c, &e), 1);
    assert_true(c.key.first <= 303 && c.last >= 303);
    raw_chunk_deinit(&c);
    assert_int_equal(raw_file_next(raw_log_file(w->log), 601, &c, &e), 0);
    struct raw_coverage at;
    assert_int_equal(raw_file_cover(raw_log_file(w->log), T0 + 450500, &at, &e),
                     0);
    assert_true(at.since_index <= 450 && at.since_index > 300);
}

static void what_a_replay_brings_again_is_skipped(void **state)
{
    struct world *w = *state;
    put_run(w, 1, 100, 1);
    await(w);
    reopen_at(w, 40); /* the store had flushed up to here */
    put_run(w, 41, 150, 1);
    await(w);
    assert_int_equal(check_run(w, 1, 1), 150);
    assert_int_equal(cover(w).gaps, 0);
}

static void what_was_not_awaited_is_put_again(void **state)
{
    struct world *w = *state;
    put_run(w, 1, 40, 1);
    await(w);
    put_run(w, 41, 100, 1);
    reopen_at(w, 40); /* killed before the next flush */
    put_run(w, 41, 120, 1);
    await(w);
    assert_int_equal(check_run(w, 1, 1), 120);
    assert_int_equal(cover(w).gaps, 0);
}

static void a_store_that_came_as_a_copy_leaves_a_gap_that_is_told(void **state)
{
    struct world *w = *state;
    put_run(w, 1, 40, 1);
    await(w);
    reopen_at(w, 70);
    put_run(w, 71, 90, 1);
    await(w);
    reopen_at(w, 90);
    put_run(w, 91, 95, 1);
    await(w);
    struct raw_coverage c = cover(w);
    assert_int_equal(c.gaps, 1);
    assert_int_equal(c.gap_after, 40);
    assert_int_equal(c.gap_before, 71);
    assert_int_equal(check_run(w, 71, 1), 95);
}

static void a_new_node_has_nothing_from_before_its_copy(void **state)
{
    struct world *w = *state;
    reopen_at(w, 500);
    assert_int_equal(cover(w).chunks, 0);
    put_run(w, 501, 510, 1);
    await(w);
    struct raw_coverage c = cover(w);
    assert_int_equal(c.first_index, 501);
    assert_false(c.from_the_first);
    assert_int_equal(c.gaps, 0);
}

/* --- limits -----------------------------------------------------------------
 */

static uint64_t file_bytes(struct world *w)
{
    struct raw_status status;
    raw_status(w->log, &status);
    return status.file_bytes;
}

static void the_file_stays_bounded_for_weeks(void **state)
{
    struct world *w = *state;
    w->options.bytes_max = 8 * MIB;
    reopen_at(w, 0);
    uint64_t index = 1, hours = 5 * 7 * 24, largest = 0;
    for (uint64_t hour = 0; hour < hours; hour += 2) {
        for (uint64_t i = 0; i < 1 + hour % 14; i++, index++)
            put(w, index, T0 + hour * HOUR_MS);
        await(w);
        assert_true(cover(w).bytes <= 8 * MIB);
        if (file_bytes(w) > largest)
            largest = file_bytes(w);
    }
    /* Space is used again: three times as much came. */
    assert_true(largest <= 8 * MIB);
    struct raw_coverage c = cover(w);
    assert_int_equal(c.gaps, 0);
    assert_int_equal(check_run(w, c.first_index, 1), index - 1);
    /* And it does keep about as much as it may. */
    assert_true(c.bytes > 6 * MIB);
}

static void what_is_too_old_goes_from_the_front(void **state)
{
    struct world *w = *state;
    w->options.age_ms_max = 24 * HOUR_MS;
    reopen_at(w, 0);
    for (uint64_t hour = 1; hour <= 100; hour++) {
        put(w, hour, T0 + hour * HOUR_MS);
        await(w);
    }
    struct raw_coverage c = cover(w);
    assert_int_equal(c.last_index, 100);
    assert_in_range(c.first_index, 74, 76);
}

static void a_smaller_limit_is_reached_little_by_little(void **state)
{
    struct world *w = *state;
    put_run(w, 1, 2000, 1);
    await(w);
    uint64_t before = cover(w).bytes;
    assert_true(before > 16 * MIB);
    w->options.bytes_max = 4 * MIB;
    reopen_at(w, 2000);
    put_run(w, 2001, 2001, 1);
    await(w);
    uint64_t after = cover(w).bytes;
    assert_true(after < before && after > before - 3 * MIB);
    for (uint64_t index = 2002; index < 2040; index++) {
        put_run(w, index, index, 1);
        await(w);
    }
    assert_true(cover(w).bytes <= 4 * MIB);
    struct raw_coverage c = cover(w);
    assert_int_equal(check_run(w, c.first_index, 1), 2039);
}

/* --- damage -----------------------------------------------------------------
 */

/* Turns bytes over in all pages from @from on. */
static void damage(struct world *w, long from, long to)
{
    char path[128];
    close_log(w);
    snprintf(path, sizeof path, "%s/data.mdb", w->path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (to == 0 || to > st.st_size)
        to = (long)st.st_size;
    for (long at = from; at + 512 < to; at += 1024) {
        uint8_t page[512];
        assert_int_equal(pread(fd, page, sizeof page, at), sizeof page);
        for (size_t i = 0; i < sizeof page; i++)
            page[i] ^= 0x5a;
        assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
    }
    close(fd);
}

static bool was_set_aside(struct world *w)
{
    struct raw_status status;
    raw_status(w->log, &status);
    assert_int_equal(status.set_aside, durable_exists(w->aside));
    return status.set_aside;
}

static void a_damaged_file_is_set_aside_and_begun_anew(void **state)
{
    struct world *w = *state;
    for (int twice = 0; twice < 2; twice++) {
        put_run(w, 1, 200, 1);
        await(w);
        damage(w, 2 * 4096, 0);
        open_at(w, 200);
        assert_true(was_set_aside(w));
        put_run(w, 201, 210, 1);
        await(w);
        assert_int_equal(cover(w).first_index, 201);
        assert_int_equal(check_run(w, 201, 1), 210);
        close_log(w);
        struct errmsg e;
        assert_int_equal(durable_remove(w->path, &e), 0);
        open_at(w, 0);
    }
}

static void damage_in_the_middle_is_told_by_who_reads_it(void **state)
{
    struct world *w = *state;
    put_run(w, 1, 200, 1);
    await(w);
    struct raw_chunk c;
    struct errmsg e;
    uint64_t told = 0;
    /* Behind the head of the first chunk's pages, which come first. */
    damage(w, 4096 * 6, 4096 * 8);
    open_at(w, 200);
    assert_false(was_set_aside(w));
    for (uint64_t at = 1; at <= 200; at = c.last + 1) {
        int rc = raw_file_next(raw_log_file(w->log), at, &c, &e);
        uint64_t last = c.last;
        told += rc == ERR_CORRUPT;
        raw_chunk_deinit(&c);
        c.last = last;
        assert_true(rc == 1 || (rc == ERR_CORRUPT && last >= at));
    }
    assert_true(told > 0);
}

static void a_value_that_is_cut_or_turned_or_newer_is_refused(void **state)
{
    struct world *w = *state;
    struct raw_packer *packer;
    struct raw_chunk c = {.key = {.after = 6}}, back;
    struct buf value = {0};
    assert_int_equal(raw_packer_create(&packer), 0);
    raw_chunk_add(&c, 7, T0, entry_at(w, 7));
    raw_chunk_add(&c, 9, T0 + 1, entry_at(w, 9));
    assert_int_equal(raw_chunk_pack(packer, &c, &value), 0);
    for (size_t size = 0; size < value.size; size += 1 + size / 64) {
        struct bytes cut = {value.data, size};
        assert_int_equal(raw_chunk_unpack(&c.key, cut, &back), ERR_CORRUPT);
        raw_chunk_deinit(&back);
    }
    for (size_t at = 0; at < value.size; at += 1 + at / 64) {
        value.data[at] ^= 1;
        int rc = raw_chunk_unpack(&c.key, buf_bytes(&value), &back);
        assert_true(rc == ERR_CORRUPT ||
                    (rc == ERR_NEWER && at >= 8 && at < 12));
        raw_chunk_deinit(&back);
        value.data[at] ^= 1;
    }
    value.data[8] = RAW_CHUNK_FORMAT + 1;
    assert_int_equal(raw_chunk_unpack(&c.key, buf_bytes(&value), &back),
                     ERR_NEWER);
    raw_chunk_deinit(&back);
    value.data[8] = RAW_CHUNK_FORMAT;
    struct raw_key other = {.first = 8, .after = 6, .first_ms = T0};
    assert_int_equal(raw_chunk_unpack(&other, buf_bytes(&value), &back),
                     ERR_CORRUPT);
    raw_chunk_deinit(&back);
    buf_deinit(&value);
    raw_chunk_deinit(&c);
    raw_packer_destroy(packer);
}

static void a_second_process_is_kept_out(void **state)
{
    struct world *w = *state;
    struct raw_log *second;
    struct raw_file *tool;
    struct errmsg e;
    put_run(w, 1, 1, 1);
    await(w);
    assert_int_equal(raw_open(&w->options, 0, &second, &e), ERR_DENIED);
    assert_int_equal(raw_file_open(w->path, &tool, &e), ERR_DENIED);
    close_log(w);
    assert_int_equal(raw_file_open(w->path, &tool, &e), 0);
    raw_file_close(tool);
    assert_int_equal(raw_file_open(w->aside, &tool, &e), ERR_NOTFOUND);
    assert_false(durable_exists(w->aside));
}

/* --- beside a store ---------------------------------------------------------
 */

static void keep(struct replica *r, struct world *w)
{
    struct errmsg e;
    if (store_keep_raw(r->store, &w->options, &e) != 0)
        fail_msg("%s", e.text);
}

/* Every kind of command in a random stream; the last entry asks for a digest.
 */
static void make_entries(struct buf entries[STEPS + 1])
{
    struct model *model = model_create();
    struct scenario scenario;
    assert_non_null(model);
    scenario_init(&scenario, 41, model);
    for (size_t i = 0; i < STEPS; i++) {
        struct model_step step;
        struct outcome outcomes[MODEL_COMMANDS_MAX];
        scenario_next(&scenario, &step);
        model_apply(model, &step, outcomes);
        scenario_told(&scenario, &step, outcomes);
        step_encode(&step, &entries[i]);
    }
    struct model_step last = {.log_time_ms = model_log_time_ms(model),
                              .count = 1};
    last.commands[0].kind = MODEL_DIGEST;
    step_encode(&last, &entries[STEPS]);
    model_destroy(model);
}

static void what_the_store_has_flushed_is_kept(void **state)
{
    struct world *w = *state;
    struct buf entries[STEPS + 1] = {0};
    struct replica r;
    uint64_t applied = 0, applies = 0;
    close_log(w);
    make_entries(entries);
    replica_init(&r);
    keep(&r, w);
    while (applied <= STEPS) {
        struct store_status status;
        struct raw_status raw;
        replica_apply(&r, applied + 1, buf_bytes(&entries[applied]));
        applied++;
        applies++;
        if (applies % 7 == 0)
            replica_flush(&r);
        store_status(r.store, &status);
        raw_status(store_raw(r.store), &raw);
        assert_true(raw.kept_index >= status.flushed_index);
        if (applies % 31 == 0) {
            replica_crash(&r);
            replica_open(&r);
            keep(&r, w);
            applied = store_applied_index(r.store);
            assert_int_equal(applied, status.flushed_index);
        }
    }
    replica_deinit(&r);
    open_at(w, 0);
    struct raw_coverage c = cover(w);
    assert_true(c.from_the_first);
    assert_int_equal(c.gaps, 0);
    assert_int_equal(c.last_index, STEPS + 1);
    for (size_t i = 0; i <= STEPS; i++)
        buf_deinit(&entries[i]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_was_put_comes_back_as_it_was),
        CASE(entries_are_found_from_any_index_and_time),
        CASE(what_a_replay_brings_again_is_skipped),
        CASE(what_was_not_awaited_is_put_again),
        CASE(a_store_that_came_as_a_copy_leaves_a_gap_that_is_told),
        CASE(a_new_node_has_nothing_from_before_its_copy),
        CASE(the_file_stays_bounded_for_weeks),
        CASE(what_is_too_old_goes_from_the_front),
        CASE(a_smaller_limit_is_reached_little_by_little),
        CASE(a_damaged_file_is_set_aside_and_begun_anew),
        CASE(damage_in_the_middle_is_told_by_who_reads_it),
        CASE(a_value_that_is_cut_or_turned_or_newer_is_refused),
        CASE(a_second_process_is_kept_out),
        CASE(what_the_store_has_flushed_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
