/* The store through its front door: what it refuses to open, what a flush
 * keeps, when a minute closes, what late samples, jumping clocks and expiry
 * do. */
#include "store/block.h"
#include "store/environment.h"
#include "store/retention.h"
#include "store/test/replica.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define T0 ((uint64_t)1700000040000) /* the beginning of a minute */

/* --- fixture: one replica, one location, two devices, next index ------------
 */

struct world {
    struct replica replica;
    uint64_t index;
};

static void apply_step(struct world *w, const struct model_step *step)
{
    struct buf entry = {0};
    step_encode(step, &entry);
    replica_apply(&w->replica, ++w->index, buf_bytes(&entry));
    buf_deinit(&entry);
}

static void apply_one(struct world *w, uint64_t log_time_ms,
                      struct model_command command)
{
    struct model_step step = {.log_time_ms = log_time_ms, .count = 1};
    step.commands[0] = command;
    apply_step(w, &step);
}

static void tick(struct world *w, uint64_t log_time_ms)
{
    apply_one(w, log_time_ms, (struct model_command){.kind = MODEL_TICK});
}

/* Batch @sequence of session 1: device 1's upload counter. */
static enum outcome_code report(struct world *w, uint64_t log_time_ms,
                                uint64_t sampled_ms, uint64_t sequence,
                                uint64_t upload)
{
    struct model_command command = {.kind = MODEL_NATIVE,
                                    .location = 1,
                                    .identity = 1,
                                    .session = 1,
                                    .sequence = sequence,
                                    .sampled_ms = sampled_ms,
                                    .peer_count = 1};
    command.peers[0].device = 1;
    command.peers[0].upload = upload;
    apply_one(w, log_time_ms, command);
    return w->replica.result.outcomes[0].code;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -1;
    replica_init(&w->replica);
    struct model_step step = {.log_time_ms = T0, .count = 4};
    step.commands[0] = (struct model_command){
        .kind = MODEL_SETTINGS, .retain_s = {3600, 5 * 3600, 4 * 86400}};
    step.commands[1] = (struct model_command){.kind = MODEL_LOCATION_CREATE};
    step.commands[2] =
        (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 1};
    step.commands[3] =
        (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 2};
    apply_step(w, &step);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    replica_deinit(&w->replica);
    free(w);
    return 0;
}

static void reopen(struct world *w)
{
    replica_crash(&w->replica);
    replica_open(&w->replica);
}

/* Upload of the location in the bucket that @ms is in; -1 for null. */
static int64_t upload_in(struct world *w, enum query_resolution resolution,
                         uint64_t ms)
{
    uint64_t bucket = ms / 1000 / resolution;
    struct query q = {.location = 1,
                      .from_s = bucket * resolution,
                      .to_s = (bucket + 1) * resolution,
                      .resolution = resolution};
    struct answer a;
    struct errmsg e;
    if (query_run(w->replica.store, &q, &a, &e) != 0)
        fail_msg("%s", e.text);
    int64_t upload = a.series[0].points[0].observed
                         ? (int64_t)a.series[0].points[0].upload
                         : -1;
    answer_deinit(&a);
    return upload;
}

static int64_t upload_at(struct world *w, uint64_t ms)
{
    return upload_in(w, BY_MINUTE, ms);
}

static struct store_status status_of(struct world *w)
{
    struct store_status status;
    store_status(w->replica.store, &status);
    return status;
}

/* --- opening ----------------------------------------------------------------
 */

static int open_at(const char *path, struct errmsg *e)
{
    struct store *s;
    struct store_options options = {path, 16 << 20};
    int rc = store_open(&options, &s, e);
    store_close(s);
    return rc;
}

static void write_file(const char *directory, const char *name,
                       const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

static void a_new_directory_is_private(void **state)
{
    (void)state;
    char path[] = "/tmp/holdfast-store-XXXXXX";
    assert_non_null(mkdtemp(path));
    assert_int_equal(rmdir(path), 0);
    struct errmsg e;
    assert_int_equal(open_at(path, &e), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    remove_directory(path);
}

static uint64_t file_system_mib; /* of every path; 0: as it is */

int __real_statvfs(const char *path, struct statvfs *fs);
int __wrap_statvfs(const char *path, struct statvfs *fs);

int __wrap_statvfs(const char *path, struct statvfs *fs)
{
    int rc = __real_statvfs(path, fs);
    if (file_system_mib != 0) {
        fs->f_frsize = 1024 * 1024;
        fs->f_blocks = file_system_mib;
    }
    return rc;
}

static uint64_t map_mib_on(uint64_t mib)
{
    char path[] = "/tmp/holdfast-store-XXXXXX";
    assert_non_null(mkdtemp(path));
    file_system_mib = mib;
    struct store *s;
    struct errmsg e;
    assert_int_equal(store_open(&(struct store_options){.path = path}, &s, &e),
                     0);
    file_system_mib = 0;
    struct store_status status;
    store_status(s, &status);
    store_close(s);
    remove_directory(path);
    return status.map_bytes >> 20;
}

static void a_map_is_never_full_before_the_disk(void **state)
{
    (void)state;
    assert_int_equal(map_mib_on(1), 64 << 10);
    assert_int_equal(map_mib_on(200 << 10), 400 << 10);
}

static void a_path_that_cannot_be_made_is_named(void **state)
{
    (void)state;
    struct errmsg e;
    assert_int_equal(open_at("/nonexistent/store", &e), ERR_IO);
    assert_non_null(strstr(e.text, "/nonexistent/store"));
}

static void a_file_that_is_not_lmdb_is_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/holdfast-store-XXXXXX";
    assert_non_null(mkdtemp(path));
    char junk[8192];
    memset(junk, 'x', sizeof junk);
    write_file(path, "data.mdb", junk, sizeof junk);
    struct errmsg e;
    assert_int_equal(open_at(path, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "not a database of LMDB"));
    remove_directory(path);
}

static void a_store_in_use_is_refused(void **state)
{
    struct world *w = *state;
    struct errmsg e;
    assert_int_equal(open_at(w->replica.path, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "in use"));
}

/* Changes the stored meta record behind the store's back. */
static void put_raw(struct world *w, const char *database, struct bytes key,
                    struct bytes value)
{
    replica_crash(&w->replica);
    struct environment env;
    struct errmsg e;
    assert_int_equal(environment_open(&env, w->replica.path, 16 << 20, &e), 0);
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = val_of(key.data, key.size), v = val_of(value.data, value.size);
    assert_int_equal(mdb_txn_begin(env.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, database, 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    environment_close(&env);
}

static void a_damaged_meta_record_is_refused(void **state)
{
    struct world *w = *state;
    uint8_t raw[META_SIZE];
    meta_put(raw, &(struct meta){.applied_index = 3});
    raw[5] ^= 1;
    put_raw(w, "meta", meta_key, (struct bytes){raw, sizeof raw});
    struct errmsg e;
    assert_int_equal(open_at(w->replica.path, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, w->replica.path));
    assert_non_null(strstr(e.text, "checksum"));
}

static void a_newer_format_is_refused_as_newer(void **state)
{
    struct world *w = *state;
    /* the format, and XXH64 of the four bytes */
    uint8_t record[12] = {STORE_FORMAT + 1};
    le64_put(record + 4, 0xb96bf0ae1e7fb2bfu);
    put_raw(w, "meta", meta_key, (struct bytes){record, sizeof record});
    struct errmsg e;
    assert_int_equal(open_at(w->replica.path, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "upgrade"));
}

static void an_older_format_is_refused_with_advice(void **state)
{
    struct world *w = *state;
    uint8_t record[12] = {1};
    le64_put(record + 4, 0xf42f94001fcb5351u);
    put_raw(w, "meta", meta_key, (struct bytes){record, sizeof record});
    struct errmsg e;
    assert_int_equal(open_at(w->replica.path, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "format 1"));
    assert_non_null(strstr(e.text, "remove"));
}

static void a_damaged_checkpoint_is_refused_with_its_place(void **state)
{
    struct world *w = *state;
    replica_flush(&w->replica);
    uint8_t key[CHECKPOINT_KEY_SIZE] = {9}, value[3] = {BLOCK_VERSION, 0, 7};
    put_raw(w, "ck", (struct bytes){key, sizeof key},
            (struct bytes){value, sizeof value});
    struct errmsg e;
    assert_int_equal(open_at(w->replica.path, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "of ck"));
}

static void an_address_without_a_slot_is_refused(void **state)
{
    struct world *w = *state;
    replica_flush(&w->replica);
    uint8_t key[CHECKPOINT_KEY_SIZE] = {9}, value[1] = {0};
    put_raw(w, "ep", (struct bytes){key, sizeof key},
            (struct bytes){value, sizeof value});
    struct errmsg e;
    assert_int_equal(open_at(w->replica.path, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "of ep"));
}

/* --- applying ---------------------------------------------------------------
 */

static void an_index_is_applied_once(void **state)
{
    struct world *w = *state;
    (void)report(w, T0, T0, 1, 100);
    (void)report(w, T0, T0, 2, 150);
    w->index--;
    tick(w, T0 + 600000);
    assert_true(w->replica.result.skipped);
    assert_int_equal(w->replica.result.count, 0);
    assert_int_equal(store_log_time_ms(w->replica.store), T0);
    assert_int_equal(upload_at(w, T0), 50);
}

static void a_record_of_an_unknown_kind_stops_the_applier(void **state)
{
    struct world *w = *state;
    thread_role_assert(&applier_thread);
    struct buf entry = {0};
    entry_begin(&entry, &(struct entry_header){.log_time_ms = T0});
    record_put(&entry, (enum record_kind)99, (struct bytes){(uint8_t *)"", 0});
    entry_finish(&entry);
    struct apply_result result;
    struct errmsg e;
    assert_int_equal(store_apply(w->replica.store, ++w->index,
                                 buf_bytes(&entry), &result, &e),
                     ERR_CORRUPT);
    assert_non_null(strstr(e.text, "kind 99"));
    assert_non_null(strstr(e.text, "newer version"));
    /* Half an entry must not reach the file. */
    assert_int_equal(store_flush(w->replica.store, &e), ERR_CORRUPT);
    buf_deinit(&entry);
}

static void what_the_store_says_it_knows_it_applies(void **state)
{
    struct world *w = *state;
    thread_role_assert(&applier_thread);
    struct buf entry = {0};
    for (unsigned kind = 1; kind <= UINT8_MAX; kind++) {
        entry_begin(&entry, &(struct entry_header){.log_time_ms = T0});
        record_put(&entry, (enum record_kind)kind,
                   (struct bytes){(uint8_t *)"", 0});
        entry_finish(&entry);
        struct apply_result result;
        int rc = store_apply(w->replica.store, ++w->index, buf_bytes(&entry),
                             &result, NULL);
        bool known = store_level_of((enum record_kind)kind) != 0;
        assert_int_equal(rc, known ? 0 : ERR_CORRUPT);
        if (!known) { /* its store wants no more */
            replica_crash(&w->replica);
            replica_open(&w->replica);
        }
    }
    buf_deinit(&entry);
}

static void a_damaged_entry_stops_the_applier(void **state)
{
    struct world *w = *state;
    thread_role_assert(&applier_thread);
    struct apply_result result;
    struct errmsg e;
    uint8_t junk[16] = {7};
    assert_int_equal(store_apply(w->replica.store, ++w->index,
                                 (struct bytes){junk, sizeof junk}, &result,
                                 &e),
                     ERR_CORRUPT);
}

static void a_batch_that_breaks_off_changes_nothing(void **state)
{
    struct world *w = *state;
    thread_role_assert(&applier_thread);
    (void)report(w, T0, T0, 1, 100);
    /* The same record whole, then without its last byte. */
    struct buf batch = {0}, entry = {0};
    struct batch_writer writer;
    struct batch_head head = {.location = 1,
                              .identity = bytes_of_string("gw-1"),
                              .session = 1,
                              .sequence = 2,
                              .sampled_at_ms = T0};
    batch_begin(&writer, &batch, RECORD_NATIVE_BATCH, &head);
    batch_put(&writer, &(struct batch_peer){.device = 1, .upload = 200});
    batch_put(&writer, &(struct batch_peer){.device = 2, .upload = 300});
    batch_end(&writer);
    struct reader r = reader_of(buf_bytes(&batch));
    struct record record;
    assert_int_equal(record_next(&r, &record), 1);
    record.body.size--;
    entry_begin(&entry, &(struct entry_header){.log_time_ms = T0});
    record_put(&entry, RECORD_NATIVE_BATCH, record.body);
    entry_finish(&entry);
    replica_apply(&w->replica, ++w->index, buf_bytes(&entry));
    assert_int_equal(w->replica.result.outcomes[0].code, OUTCOME_INVALID);
    assert_int_equal(upload_at(w, T0), 0);
    assert_int_equal(report(w, T0, T0, 2, 200), OUTCOME_TAKEN);
    assert_int_equal(upload_at(w, T0), 100);
    buf_deinit(&batch);
    buf_deinit(&entry);
}

static void an_idle_gateway_makes_a_zero_and_a_silent_one_a_null(void **state)
{
    struct world *w = *state;
    assert_int_equal(upload_at(w, T0), -1);
    struct model_command idle = {.kind = MODEL_NATIVE,
                                 .location = 1,
                                 .identity = 1,
                                 .session = 1,
                                 .sequence = 1,
                                 .sampled_ms = T0};
    apply_one(w, T0, idle);
    assert_int_equal(upload_at(w, T0), 0);
    tick(w, T0 + 180000);
    assert_true(w->replica.result.flush_due);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(upload_at(w, T0), 0);
    assert_int_equal(upload_at(w, T0 + 60000), -1);
}

/* --- minutes ----------------------------------------------------------------
 */

static void a_minute_closes_ten_seconds_after_its_end(void **state)
{
    struct world *w = *state;
    assert_int_equal(status_of(w).next_close_ms, 0);
    (void)report(w, T0, T0, 1, 100);
    assert_int_equal(status_of(w).next_close_ms, T0 + 70000);
    tick(w, T0 + 69999);
    assert_false(w->replica.result.flush_due);
    tick(w, T0 + 70000);
    assert_true(w->replica.result.flush_due);
    replica_flush(&w->replica);
    assert_int_equal(status_of(w).next_close_ms, 0);
    assert_int_equal(status_of(w).flushed_index, w->index);
}

static void a_sample_of_a_closed_minute_is_merged_into_its_block(void **state)
{
    struct world *w = *state;
    (void)report(w, T0, T0, 1, 100);
    (void)report(w, T0 + 1000, T0 + 1000, 2, 130);
    tick(w, T0 + 600000);
    replica_flush(&w->replica);
    assert_int_equal(upload_at(w, T0), 30);
    /* The time of sampling never goes back within a session. */
    assert_int_equal(report(w, T0 + 600000, T0 - 60000, 3, 137), OUTCOME_TAKEN);
    assert_int_equal(upload_at(w, T0 - 60000), -1);
    assert_int_equal(upload_at(w, T0), 37);
    assert_int_equal(status_of(w).counters.late, 1);
    replica_flush(&w->replica);
    assert_int_equal(upload_at(w, T0), 37);
    reopen(w);
    assert_int_equal(upload_at(w, T0), 37);
}

static void a_sample_from_the_future_counts_now(void **state)
{
    struct world *w = *state;
    (void)report(w, T0, T0, 1, 100);
    (void)report(w, T0, T0 + 86400000, 2, 150);
    assert_int_equal(upload_at(w, T0), 50);
}

static void a_slot_that_skipped_minutes_loses_none(void **state)
{
    struct world *w = *state;
    (void)report(w, T0, T0, 1, 100);
    (void)report(w, T0, T0, 2, 110);
    /* Same parity, four minutes later, and nobody flushed in between. */
    (void)report(w, T0 + 240000, T0 + 240000, 3, 130);
    assert_int_equal(upload_at(w, T0), 10);
    assert_int_equal(upload_at(w, T0 + 240000), 20);
    tick(w, T0 + 600000);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(upload_at(w, T0), 10);
    assert_int_equal(upload_at(w, T0 + 240000), 20);
}

static void log_time_never_goes_back(void **state)
{
    struct world *w = *state;
    tick(w, T0 + 50000);
    tick(w, T0 - 86400000);
    assert_int_equal(store_log_time_ms(w->replica.store), T0 + 50000);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(store_log_time_ms(w->replica.store), T0 + 50000);
}

static void a_clock_that_jumps_a_year_expires_two_minutes(void **state)
{
    struct world *w = *state;
    uint64_t year = (uint64_t)365 * 86400000;
    tick(w, T0 + 60000); /* the horizon is an hour behind now */
    for (uint64_t i = 0; i < 5; i++)
        (void)report(w, T0 + 60000 + i * 60000, T0 + i * 60000, i + 1,
                     100 * (i + 1));
    tick(w, T0 + year);
    replica_flush(&w->replica);
    for (uint64_t i = 1; i < 5; i++)
        assert_int_equal(upload_at(w, T0 + i * 60000), 100);
}

static void minutes_expire_one_by_one_as_time_passes(void **state)
{
    struct world *w = *state;
    (void)report(w, T0, T0, 1, 100);
    (void)report(w, T0, T0, 2, 150);
    for (uint64_t m = 1; m <= 60; m++)
        tick(w, T0 + m * 60000);
    assert_int_equal(upload_at(w, T0), 50);
    replica_flush(&w->replica);
    assert_int_equal(upload_at(w, T0), 50);
    tick(w, T0 + 61 * 60000);
    assert_int_equal(upload_at(w, T0), -1); /* before the flush deletes it */
    replica_flush(&w->replica);
    assert_int_equal(upload_at(w, T0), -1);
    reopen(w);
    assert_int_equal(upload_at(w, T0), -1);
}

/* --- retention is shortened -------------------------------------------------
 */

/* Of what is flushed. */
static size_t rows_in(struct world *w, const char *database)
{
    struct environment env;
    struct errmsg e;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_stat stat;
    replica_crash(&w->replica);
    assert_int_equal(environment_open(&env, w->replica.path, 256 << 20, &e), 0);
    assert_int_equal(mdb_txn_begin(env.env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, database, 0, &dbi), 0);
    assert_int_equal(mdb_stat(txn, dbi, &stat), 0);
    mdb_txn_abort(txn);
    environment_close(&env);
    replica_open(&w->replica);
    return stat.ms_entries;
}

static void keep_minutes(struct world *w, uint64_t log_time_ms, uint64_t s)
{
    struct buf entry = {0};
    struct entry_header header = {.term = 3, .log_time_ms = log_time_ms};
    struct settings_change change = {.has_minute = true, .retain_minute_s = s};
    entry_begin(&entry, &header);
    record_put_settings_change(&entry, &change);
    entry_finish(&entry);
    replica_apply(&w->replica, ++w->index, buf_bytes(&entry));
    assert_int_equal(w->replica.result.outcomes[0].code, OUTCOME_TAKEN);
    buf_deinit(&entry);
}

/* A row of each tier a minute. */
static void live_through(struct world *w, uint64_t from, uint64_t to)
{
    for (uint64_t m = from; m < to; m++) {
        (void)report(w, T0 + m * 60000, T0 + m * 60000, m + 1, 100 * (m + 1));
        if (m % 500 == 0)
            replica_flush(&w->replica);
    }
    replica_flush(&w->replica);
}

static void copy_world(struct world *from, struct world *to)
{
    char file[128];
    struct copy_info info;
    struct errmsg e;
    replica_init(&to->replica);
    replica_crash(&to->replica);
    snprintf(file, sizeof file, "%s/data.mdb", to->replica.path);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(
        store_copy(from->replica.store, file, NULL, NULL, &info, &e), 0);
    replica_open(&to->replica);
    to->index = from->index;
}

static uint64_t digest_at(struct world *w, uint64_t log_time_ms)
{
    apply_one(w, log_time_ms, (struct model_command){.kind = MODEL_DIGEST});
    return w->replica.result.outcomes[0].value;
}

/* Seven weeks by the minute, which were to be kept for ever. One replica goes
 * on flushing, the other does not. */
static void
a_shorter_retention_is_obeyed_at_once_and_deleted_in_slices(void **state)
{
    enum { MINUTES = 70000, SLICES = 3, LATER = 20000 };
    struct world w = {0}, lazy = {0};
    (void)state;
    replica_init(&w.replica);
    struct model_step step = {.log_time_ms = T0, .count = 3};
    step.commands[0] = (struct model_command){.kind = MODEL_SETTINGS};
    step.commands[1] = (struct model_command){.kind = MODEL_LOCATION_CREATE};
    step.commands[2] =
        (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 1};
    apply_step(&w, &step);
    live_through(&w, 0, MINUTES);
    copy_world(&w, &lazy);
    size_t blocks = rows_in(&w, "blk_min"), totals = rows_in(&w, "tot");
    assert_true(blocks > 2 * EXPIRED_ROWS_MAX);
    struct world *both[] = {&w, &lazy};
    uint64_t end = T0 + (uint64_t)MINUTES * 60000;
    for (size_t i = 0; i < 2; i++) {
        keep_minutes(both[i], end, 3600);
        assert_int_equal(upload_at(both[i], T0 + 60000), 100);
        tick(both[i], end + 60000);
        assert_int_equal(upload_at(both[i], T0 + 60000), -1);
        assert_int_equal(upload_at(both[i], end - 61 * 60000), -1);
        assert_int_equal(upload_at(both[i], end - 30 * 60000), 100);
        assert_true(upload_in(both[i], BY_HOUR, T0 + 7200000) > 0);
    }
    for (uint64_t i = 0; i < SLICES; i++) {
        keep_minutes(&w, end + 60000 + i, 3600);
        replica_flush(&w.replica);
        keep_minutes(&lazy, end + 60000 + i, 3600);
        size_t blocks_left = rows_in(&w, "blk_min");
        size_t totals_left = rows_in(&w, "tot");
        assert_true(blocks - blocks_left <= EXPIRED_ROWS_MAX);
        assert_true(totals - totals_left <= EXPIRED_ROWS_MAX);
        assert_true(blocks_left < blocks && totals_left < totals);
        blocks = blocks_left;
        totals = totals_left;
    }
    assert_true(blocks <= 61);
    assert_true(digest_at(&w, end + 120000) == digest_at(&lazy, end + 120000));
    assert_true(rows_in(&lazy, "blk_min") > EXPIRED_ROWS_MAX);

    uint64_t used = status_of(&w).used_bytes;
    live_through(&w, MINUTES + 3, MINUTES + LATER);
    assert_true(rows_in(&w, "blk_min") < 1000);
    assert_true(status_of(&w).used_bytes <= used);
    replica_deinit(&w.replica);
    replica_deinit(&lazy.replica);
}

static void a_slot_is_forgotten_after_thirty_days(void **state)
{
    struct world *w = *state;
    uint64_t days_30 = (uint64_t)30 * 86400000;
    (void)report(w, T0, T0, 1, 100);
    (void)report(w, T0 + days_30, T0 + days_30, 2, 150);
    assert_int_equal(upload_at(w, T0 + days_30), 50);
    (void)report(w, T0 + 2 * days_30 + 1, T0 + 2 * days_30 + 1, 3, 190);
    assert_int_equal(upload_at(w, T0 + 2 * days_30 + 1), 0);
    tick(w, T0 + 4 * days_30);
    replica_flush(&w->replica);
    assert_int_equal(status_of(w).slots, 0);
}

/* The last row of the models' table: a slot that is gone must not let a retry
 * that is older still begin it anew, or the next sample counts again what was
 * counted before. */
static void a_stale_retry_does_not_become_a_baseline(void **state)
{
    struct world *w = *state;
    uint64_t days_31 = (uint64_t)31 * 86400000;
    struct model_command old = {.kind = MODEL_LEGACY,
                                .location = 1,
                                .identity = 1,
                                .address = 1,
                                .peer_count = 1};
    old.peers[0] = (struct model_peer){
        .device = 1, .upload = 100, .handshake = T0 / 1000, .rec_ms = T0};
    struct model_command new = old;
    new.peers[0].upload = 500;
    new.peers[0].handshake = (T0 + days_31) / 1000;
    new.peers[0].rec_ms = T0 + days_31;
    apply_one(w, T0, old);
    apply_one(w, T0 + days_31, old); /* the slot has expired */
    assert_int_equal(status_of(w).counters.stale, 1);
    apply_one(w, T0 + days_31, new);
    assert_int_equal(upload_at(w, T0 + days_31), 0); /* not 400 */
}

/* --- hours and days ---------------------------------------------------------
 */

#define HOUR ((uint64_t)3600000)
#define DAY (24 * HOUR)
#define H0 ((uint64_t)1700006400000) /* the beginning of a day */

static void an_hour_is_what_closed_and_what_is_open_of_it(void **state)
{
    struct world *w = *state;
    (void)report(w, H0, H0, 1, 100);
    (void)report(w, H0 + 1000, H0 + 1000, 2, 110);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 10); /* an open minute */
    tick(w, H0 + 120000);
    replica_flush(&w->replica);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 10); /* a closed one */
    (void)report(w, H0 + 120000, H0 + 120000, 3, 130);
    (void)report(w, H0 + 120000, H0 + 60000, 4, 130);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 30); /* one of each */
    replica_flush(&w->replica);
    reopen(w);
    (void)report(w, H0 + 240000, H0 + 121000, 5, 170); /* late */
    assert_int_equal(upload_in(w, BY_HOUR, H0), 70);
    assert_int_equal(upload_in(w, BY_DAY, H0), 70);
    tick(w, H0 + HOUR + 9999);
    replica_flush(&w->replica);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 70);
    tick(w, H0 + HOUR + 10000); /* it closes */
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 70);
    assert_int_equal(upload_in(w, BY_HOUR, H0 + HOUR), -1);
    assert_int_equal(upload_in(w, BY_DAY, H0), 70);
    /* Late for the hour, not for its day. */
    (void)report(w, H0 + HOUR + 30000, H0 + 122000, 6, 171);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 71);
    replica_flush(&w->replica);
    tick(w, H0 + 3 * DAY);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 71);
    assert_int_equal(upload_in(w, BY_DAY, H0), 71);
}

static void an_idle_gateway_marks_the_hour_and_the_day_too(void **state)
{
    struct world *w = *state;
    (void)report(w, H0, H0, 1, 100);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(upload_in(w, BY_HOUR, H0), 0);
        assert_int_equal(upload_in(w, BY_DAY, H0), 0);
        assert_int_equal(upload_in(w, BY_HOUR, H0 + HOUR), -1);
        tick(w, H0 + (i == 0 ? HOUR / 2 : 2 * DAY));
        replica_flush(&w->replica);
        reopen(w);
    }
}

static void a_sample_too_late_for_its_minute_counts_in_its_hour(void **state)
{
    struct world *w = *state;
    (void)report(w, H0, H0, 1, 100);
    for (uint64_t m = 1; m <= 180; m++)
        tick(w, H0 + m * 60000);
    (void)report(w, H0 + 3 * HOUR, H0, 2, 150); /* minutes live an hour */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(upload_at(w, H0), -1);
        assert_int_equal(upload_in(w, BY_HOUR, H0), 50);
        assert_int_equal(upload_in(w, BY_DAY, H0), 50);
        replica_flush(&w->replica);
        reopen(w);
    }
}

static void every_tier_expires_as_its_own_time_passes(void **state)
{
    struct world *w = *state;
    (void)report(w, H0, H0, 1, 100);
    (void)report(w, H0, H0, 2, 150);
    for (uint64_t h = 1; h <= 5; h++)
        tick(w, H0 + h * HOUR);
    replica_flush(&w->replica);
    assert_int_equal(upload_in(w, BY_HOUR, H0), 50);
    tick(w, H0 + 6 * HOUR);
    assert_int_equal(upload_in(w, BY_HOUR, H0), -1);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(upload_in(w, BY_HOUR, H0), -1);
    assert_int_equal(upload_in(w, BY_DAY, H0), 50);
    for (uint64_t d = 1; d <= 4; d++)
        tick(w, H0 + d * DAY);
    replica_flush(&w->replica);
    assert_int_equal(upload_in(w, BY_DAY, H0), 50);
    tick(w, H0 + 5 * DAY);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(upload_in(w, BY_DAY, H0), -1);
}

static void
a_clock_that_jumps_a_year_expires_two_buckets_of_a_tier(void **state)
{
    struct world *w = *state;
    /* The horizons are five hours and four days behind then. */
    for (uint64_t h = 0; h <= 24; h++)
        tick(w, H0 + h * HOUR);
    for (uint64_t i = 0; i <= 5; i++)
        (void)report(w, H0 + DAY + i * HOUR, H0 + DAY + i * HOUR, i + 1,
                     100 * (i + 1));
    tick(w, H0 + 366 * DAY);
    replica_flush(&w->replica);
    assert_int_equal(upload_in(w, BY_HOUR, H0 + DAY + HOUR), -1);
    for (uint64_t i = 2; i <= 5; i++)
        assert_int_equal(upload_in(w, BY_HOUR, H0 + DAY + i * HOUR), 100);
    assert_int_equal(upload_in(w, BY_DAY, H0 + DAY), 500);
}

/* --- defguard's gateways: presence and spreading ----------------------------
 */

/* A sample of gateway 1: device 1's counters, shaken just now. */
static void sample(struct world *w, uint64_t log_time_ms, uint64_t upload)
{
    struct model_command c = {.kind = MODEL_LEGACY,
                              .location = 1,
                              .identity = 1,
                              .address = 1,
                              .peer_count = 1};
    c.peers[0] = (struct model_peer){.device = 1,
                                     .upload = upload,
                                     .handshake = log_time_ms / 1000,
                                     .rec_ms = log_time_ms};
    apply_one(w, log_time_ms, c);
}

/* Some node says at @log_time_ms that it heard @gateway in the minute of @ms.
 */
static enum outcome_code heard(struct world *w, uint64_t log_time_ms,
                               uint64_t ms, uint32_t gateway)
{
    apply_one(w, log_time_ms,
              (struct model_command){.kind = MODEL_PRESENCE,
                                     .minute = (uint32_t)(ms / 60000),
                                     .gateway_count = 1,
                                     .gateways = {gateway}});
    return w->replica.result.outcomes[0].code;
}

#define MINUTE(n) (T0 + (uint64_t)(n)*60000)

static void note_connected(void *arg, const struct presence *p)
{
    *(uint64_t *)arg = p->connected_s;
}

static uint64_t connected_since(struct world *w)
{
    uint64_t since = 0;
    assert_int_equal(
        query_presence(w->replica.store, 1, note_connected, &since), 0);
    return since;
}

static void a_peer_is_connected_since_the_end_of_the_last_break(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 100);
    sample(w, MINUTE(4), 110);
    sample(w, MINUTE(9), 120); /* 300 s: no break yet */
    assert_int_equal(connected_since(w), T0 / 1000);
    replica_flush(&w->replica);
    reopen(w);
    assert_int_equal(connected_since(w), T0 / 1000);
    sample(w, MINUTE(9) + 301000, 130);
    assert_int_equal(connected_since(w), MINUTE(9) / 1000 + 301);
}

static void an_idle_gateway_that_is_heard_makes_a_zero(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 100);
    assert_int_equal(heard(w, MINUTE(1), MINUTE(1), 1), OUTCOME_TAKEN);
    assert_int_equal(heard(w, MINUTE(1), MINUTE(1), 1), OUTCOME_TAKEN);
    assert_int_equal(heard(w, MINUTE(3), MINUTE(3), 1), OUTCOME_TAKEN);
    for (int flushed = 0; flushed < 2; flushed++) {
        assert_int_equal(upload_at(w, MINUTE(0)), 0);
        assert_int_equal(upload_at(w, MINUTE(1)), 0);
        assert_int_equal(upload_at(w, MINUTE(2)), -1);
        assert_int_equal(upload_at(w, MINUTE(3)), 0);
        tick(w, MINUTE(9));
        replica_flush(&w->replica);
        reopen(w);
    }
}

/* A sample at @ms, received at @rec_ms from host @address of gateway 1; when
 * its hosts were last seen to report by turns, 0 = never. */
static uint64_t torn_by(struct world *w, uint64_t ms, uint64_t rec_ms,
                        uint64_t address)
{
    struct roster *r = store_roster(w->replica.store);
    struct model_command c = {.kind = MODEL_LEGACY,
                              .location = 1,
                              .identity = 1,
                              .address = address,
                              .peer_count = 1};
    c.peers[0] = (struct model_peer){
        .device = 1, .upload = ms, .handshake = ms / 1000, .rec_ms = rec_ms};
    apply_one(w, ms, c);
    roster_read_lock(r);
    uint64_t torn_ms = roster_gateway(r, 1)->hosts.torn_ms;
    roster_read_unlock(r);
    return torn_ms;
}

static void hosts_that_report_by_turns_are_both_known(void **state)
{
    struct world *w = *state;
    assert_int_equal(torn_by(w, MINUTE(0), MINUTE(0), 1), 0);
    assert_int_equal(torn_by(w, MINUTE(1), MINUTE(1), 2), 0); /* it moved */
    assert_int_equal(torn_by(w, MINUTE(2), MINUTE(1), 1), 0); /* a late retry */
    assert_int_equal(torn_by(w, MINUTE(12), MINUTE(12), 1), 0); /* and back */
    assert_int_equal(torn_by(w, MINUTE(13), MINUTE(13), 2), MINUTE(13));
    assert_int_equal(torn_by(w, MINUTE(14), MINUTE(14), 2), MINUTE(13));
    struct roster *r = store_roster(w->replica.store);
    roster_read_lock(r);
    const struct gateway_hosts *hosts = &roster_gateway(r, 1)->hosts;
    assert_string_equal(hosts->before, "192.0.2.1");
    assert_string_equal(hosts->address, "192.0.2.2");
    roster_read_unlock(r);
}

static void a_presence_that_comes_late_marks_nothing(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 100);
    tick(w, MINUTE(2));
    assert_int_equal(heard(w, MINUTE(2), MINUTE(1), 1), OUTCOME_DUPLICATE);
    assert_int_equal(heard(w, MINUTE(2), MINUTE(3), 1), OUTCOME_DUPLICATE);
    for (int m = 1; m <= 3; m++)
        assert_int_equal(upload_at(w, MINUTE(m)), -1);
    assert_int_equal(status_of(w).counters.presences, 0);
}

static void a_presence_of_others_than_defguards_is_passed_over(void **state)
{
    struct world *w = *state;
    (void)report(w, MINUTE(0), MINUTE(0), 1, 100); /* an agent: gateway 1 */
    assert_int_equal(heard(w, MINUTE(1), MINUTE(1), 1), OUTCOME_TAKEN);
    assert_int_equal(heard(w, MINUTE(1), MINUTE(1), 77), OUTCOME_TAKEN);
    assert_int_equal(upload_at(w, MINUTE(1)), -1);
}

static void what_was_moved_while_nobody_heard_is_spread_over_it(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 1000);
    sample(w, MINUTE(1), 1010);
    sample(w, MINUTE(6), 1052); /* minutes 2 to 5: 42 bytes */
    sample(w, MINUTE(6) + 30000, 1060);
    for (int flushed = 0; flushed < 2; flushed++) {
        const int64_t want[] = {0, 10, 11, 11, 10, 10, 8};
        for (size_t m = 0; m < sizeof want / sizeof *want; m++)
            assert_int_equal(upload_at(w, MINUTE(m)), want[m]);
        tick(w, MINUTE(20));
        replica_flush(&w->replica);
        reopen(w);
    }
    assert_int_equal(status_of(w).counters.late, 0);
}

/* The flush between is a restart's memory of when it was heard. */
static void what_was_moved_while_somebody_heard_stays_where_it_is(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 1000);
    for (int m = 1; m <= 5; m++)
        (void)heard(w, MINUTE(m), MINUTE(m), 1);
    replica_flush(&w->replica);
    reopen(w);
    sample(w, MINUTE(6), 1042);
    for (int m = 1; m <= 5; m++)
        assert_int_equal(upload_at(w, MINUTE(m)), 0);
    assert_int_equal(upload_at(w, MINUTE(6)), 42);
}

static void a_gap_is_remembered_across_a_restart(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 1000);
    (void)heard(w, MINUTE(3), MINUTE(3), 1); /* the stream is back */
    replica_flush(&w->replica);
    reopen(w);
    sample(w, MINUTE(4), 1042); /* and now its first sample */
    assert_int_equal(upload_at(w, MINUTE(1)), 21);
    assert_int_equal(upload_at(w, MINUTE(2)), 21);
    assert_int_equal(upload_at(w, MINUTE(3)), 0);
    assert_int_equal(upload_at(w, MINUTE(4)), 0);
}

/* A share before the horizon would be lost. */
static void a_gap_longer_than_the_retention_loses_nothing(void **state)
{
    struct world *w = *state;
    sample(w, MINUTE(0), 1000);
    for (int m = 1; m <= 200; m += 1)
        tick(w, MINUTE(m));
    sample(w, MINUTE(200), 1000 + 6000);
    struct query q = {.location = 1,
                      .from_s = T0 / 1000,
                      .to_s = MINUTE(201) / 1000,
                      .resolution = BY_MINUTE};
    struct answer a;
    struct errmsg e;
    assert_int_equal(query_run(w->replica.store, &q, &a, &e), 0);
    assert_int_equal(a.series[0].upload, 6000);
    answer_deinit(&a);
    assert_int_equal(upload_at(w, MINUTE(150)), 100); /* an hour is kept */
}

/* --- agents: what comes late, what is one device ----------------------------
 */

/* Three hours of a batch a minute, all at once. (An hour is kept, but log time
 * makes one step, so that no more than two minutes expire.) */
static void a_spool_of_hours_keeps_its_shape(void **state)
{
    struct world *w = *state;
    enum { MINUTES = 180 };
    uint64_t upload = 5000;
    for (uint64_t m = 0; m < MINUTES; m++) {
        upload += m;
        assert_int_equal(report(w, MINUTE(MINUTES), MINUTE(m), m + 1, upload),
                         OUTCOME_TAKEN);
        if (m == MINUTES / 2)
            replica_flush(&w->replica);
    }
    for (int flushed = 0; flushed < 2; flushed++) {
        for (int64_t m = 0; m < MINUTES; m++)
            assert_int_equal(upload_at(w, MINUTE(m)), m);
        replica_flush(&w->replica);
        reopen(w);
    }
}

/* Each with counters of its own; one table for both would see resets. */
static void two_gateways_of_one_device_are_not_subtracted(void **state)
{
    struct world *w = *state;
    for (uint64_t n = 1; n <= 4; n++)
        for (unsigned gateway = 1; gateway <= 4; gateway++) {
            bool native = gateway <= 2;
            struct model_command c = {.kind =
                                          native ? MODEL_NATIVE : MODEL_LEGACY,
                                      .location = 1,
                                      .identity = gateway,
                                      .session = 1,
                                      .sequence = n,
                                      .sampled_ms = T0,
                                      .address = gateway,
                                      .peer_count = 1};
            c.peers[0] = (struct model_peer){.device = 1,
                                             .upload = gateway * 1000000 + n,
                                             .handshake = T0 / 1000 + n,
                                             .rec_ms = T0};
            apply_one(w, T0, c);
        }
    assert_int_equal(upload_at(w, T0), 4 * 3);
    assert_int_equal(status_of(w).counters.resets, 0);
}

/* A sample that a gateway sent to one node comes again through others, late and
 * out of order, of both kinds of gateways. */
static void what_is_resent_through_other_nodes_counts_once(void **state)
{
    struct world *w = *state;
    for (int round = 0; round < 3; round++)
        for (uint64_t n = 1; n <= 5; n++) {
            (void)report(w, T0, T0, n, 100 * n);
            sample(w, T0 + n * 1000, 1000 * n);
        }
    assert_int_equal(upload_at(w, T0), 400 + 4000);
}

/* --- many devices -----------------------------------------------------------
 */

enum { CROWD = 700 }; /* several blocks a minute */

/* The first batch of a session: every @step-th of the crowd, @upload each. */
static void report_crowd(struct world *w, uint64_t log_time_ms,
                         uint64_t sampled_ms, uint64_t session, size_t step,
                         uint64_t upload)
{
    struct buf entry = {0};
    struct batch_writer writer;
    struct batch_head head = {.location = 2,
                              .identity = bytes_of_string("crowded"),
                              .session = session,
                              .sequence = 1,
                              .sampled_at_ms = sampled_ms};
    entry_begin(&entry, &(struct entry_header){.log_time_ms = log_time_ms});
    batch_begin(&writer, &entry, RECORD_NATIVE_BATCH, &head);
    for (size_t i = 0; i < CROWD; i += step) {
        uint8_t key[PUBLIC_KEY_SIZE] = {1, (uint8_t)(i >> 8), (uint8_t)i};
        batch_put(&writer, &(struct batch_peer){.key = key,
                                                .upload = upload,
                                                .from_zero = true});
    }
    batch_end(&writer);
    entry_finish(&entry);
    assert_false(buf_failed(&entry));
    replica_apply(&w->replica, ++w->index, buf_bytes(&entry));
    assert_int_equal(w->replica.result.outcomes[0].code, OUTCOME_TAKEN);
    buf_deinit(&entry);
}

/* Ids go up with the keys, from 1. */
static void check_some(struct world *w, const uint32_t *ids, size_t count,
                       uint32_t location)
{
    struct query q = {.location = location,
                      .from_s = T0 / 1000,
                      .to_s = T0 / 1000 + 180,
                      .resolution = BY_MINUTE,
                      .by = BY_DEVICE,
                      .devices = ids,
                      .device_count = count};
    struct answer a;
    struct errmsg e;
    assert_int_equal(query_run(w->replica.store, &q, &a, &e), 0);
    size_t there = 0;
    for (size_t i = 0; i < count; i++)
        there += ids[i] <= CROWD;
    assert_int_equal(a.series_count, there);
    for (size_t i = 0; i < a.series_count; i++) {
        uint32_t number = a.series[i].id - 1;
        const struct point *points = a.series[i].points;
        assert_int_equal(points[0].upload, number % 3 == 0 ? 1007 : 7);
        assert_int_equal(points[1].upload, 0);
        assert_int_equal(points[2].upload, number % 2 == 0 ? 5 : 0);
    }
    answer_deinit(&a);
}

/* Few devices are sought, many are met on the way. */
static void check_parts(struct world *w)
{
    uint32_t ids[CROWD + 1];
    for (uint32_t step = 1; step <= CROWD; step = step * 3 + 1) {
        size_t count = 0;
        for (uint32_t id = step; id <= CROWD + 1; id += step)
            ids[count++] = id;
        check_some(w, ids, count, 2);
        check_some(w, ids, count, 0);
        check_some(w, ids, 1, 2);
    }
    const uint32_t ends[] = {1, CROWD, UINT32_MAX};
    check_some(w, ends, 3, 0);
}

static void check_crowd(struct world *w)
{
    struct query q = {.location = 2,
                      .from_s = T0 / 1000,
                      .to_s = T0 / 1000 + 60,
                      .resolution = BY_MINUTE,
                      .by = BY_DEVICE};
    struct answer a;
    struct errmsg e;
    assert_int_equal(query_run(w->replica.store, &q, &a, &e), 0);
    assert_int_equal(a.series_count, CROWD);
    /* Largest first: every third got 1000 + 7, and ids are in order of keys. */
    for (uint32_t i = 0; i < CROWD; i++) {
        bool third = i < (CROWD + 2) / 3;
        assert_int_equal(a.series[i].points[0].upload, third ? 1007 : 7);
    }
    answer_deinit(&a);
    check_parts(w);
}

static uint64_t digest_of(struct world *w)
{
    apply_one(w, T0 + 900000, (struct model_command){.kind = MODEL_DIGEST});
    return w->replica.result.outcomes[0].value;
}

/* The same entries with and without a flush between them. */
static void late_cells_are_merged_into_many_blocks(void **state)
{
    (void)state;
    uint64_t digests[2];
    for (size_t i = 0; i < 2; i++) {
        struct world world = {0}, *w = &world;
        replica_init(&w->replica);
        struct model_step step = {.log_time_ms = T0, .count = 2};
        step.commands[0].kind = MODEL_LOCATION_CREATE;
        step.commands[1].kind = MODEL_LOCATION_CREATE;
        step.commands[1].accept_unknown = true;
        apply_step(w, &step);
        report_crowd(w, T0, T0, 1, 1, 7);
        report_crowd(w, T0 + 120000, T0 + 120000, 2, 2, 5);
        if (i == 0)
            replica_flush(&w->replica);
        report_crowd(w, T0 + 500000, T0, 3, 3, 1000);
        check_crowd(w);
        if (i == 0)
            replica_flush(&w->replica);
        check_crowd(w);
        digests[i] = digest_of(w);
        check_crowd(w);
        reopen(w);
        check_crowd(w);
        replica_deinit(&w->replica);
    }
    assert_true(digests[0] == digests[1]);
}

static void count_beat(void *arg)
{
    ++*(size_t *)arg;
}

static void a_digest_of_many_rows_beats_meanwhile(void **state)
{
    (void)state;
    enum { MINUTES = 600 }; /* as many rows of totals, and of blocks */
    struct world world = {0}, *w = &world;
    size_t beats = 0;
    replica_init(&w->replica);
    store_on_beat(w->replica.store, count_beat, &beats);
    struct model_step step = {.log_time_ms = T0, .count = 2};
    step.commands[0].kind = MODEL_LOCATION_CREATE;
    step.commands[1] =
        (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 1};
    apply_step(w, &step);
    for (uint64_t i = 0; i < MINUTES; i++)
        (void)report(w, T0 + i * 60000, T0 + i * 60000, i + 1, i);
    tick(w, T0 + MINUTES * 60000);
    assert_int_equal(beats, 0);
    apply_one(w, T0 + MINUTES * 60000 + 60000,
              (struct model_command){.kind = MODEL_DIGEST});
    /* One at the start of each walk: blocks and totals of every tier; and two
     * within those of the minutes and each of the totals. */
    assert_int_equal(beats, 6 + 4 * 2);
    replica_deinit(&w->replica);
}

/* 140,000 cells; a query keeps 131,072 of them for its points. */
static void points_of_more_cells_than_a_query_keeps_are_all_there(void **state)
{
    (void)state;
    enum { MINUTES = 200 };
    struct world world = {0}, *w = &world;
    replica_init(&w->replica);
    struct model_step step = {.log_time_ms = T0, .count = 2};
    step.commands[0].kind = MODEL_LOCATION_CREATE;
    step.commands[1].kind = MODEL_LOCATION_CREATE;
    step.commands[1].accept_unknown = true;
    apply_step(w, &step);
    for (uint64_t i = 0; i < MINUTES; i++)
        report_crowd(w, T0 + i * 60000, T0 + i * 60000, i + 1, 1, 3);
    replica_flush(&w->replica);
    struct query q = {.location = 2,
                      .from_s = T0 / 1000,
                      .to_s = T0 / 1000 + MINUTES * 60,
                      .resolution = BY_MINUTE,
                      .by = BY_DEVICE};
    struct answer a;
    struct errmsg e;
    assert_int_equal(query_run(w->replica.store, &q, &a, &e), 0);
    assert_int_equal(a.series_count, CROWD);
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(a.series[i].upload, 3 * MINUTES);
        for (size_t b = 0; b < MINUTES; b++)
            assert_int_equal(a.series[i].points[b].upload, 3);
    }
    answer_deinit(&a);
    replica_deinit(&w->replica);
}

/* --- digests and queries ----------------------------------------------------
 */

static void the_last_sixteen_digests_are_kept(void **state)
{
    struct world *w = *state;
    uint64_t first = w->index + 1, digest;
    for (size_t i = 0; i < 17; i++)
        apply_one(w, T0 + i, (struct model_command){.kind = MODEL_DIGEST});
    assert_int_equal(store_digest_at(w->replica.store, first, &digest),
                     ERR_NOTFOUND);
    assert_int_equal(store_digest_at(w->replica.store, first + 1, &digest), 0);
    assert_int_equal(store_digest_at(w->replica.store, w->index, &digest), 0);
    assert_int_equal(w->replica.result.outcomes[0].value, digest);
    assert_int_equal(status_of(w).flushed_index, w->index);
}

static void a_digest_sees_every_kind_of_change(void **state)
{
    struct world *w = *state;
    uint64_t seen[6];
    size_t count = 0;
    for (uint64_t i = 0; i < 5; i++) {
        apply_one(w, T0, (struct model_command){.kind = MODEL_DIGEST});
        seen[count++] = w->replica.result.outcomes[0].value;
        if (i == 0)
            (void)report(w, T0, T0, 1, 100); /* a slot, a total */
        if (i == 1)
            (void)report(w, T0, T0, 2, 101); /* an open cell */
        if (i == 2)
            apply_one(
                w, T0,
                (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 7});
        if (i == 3)
            tick(w, T0 + 1);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
}

static void ranges_that_make_no_sense_are_refused(void **state)
{
    struct world *w = *state;
    const struct query wrong[] = {
        {.from_s = 60, .to_s = 60, .resolution = BY_MINUTE},
        {.from_s = 120, .to_s = 60, .resolution = BY_MINUTE},
        {.from_s = 61, .to_s = 120, .resolution = BY_MINUTE},
        {.from_s = 60, .to_s = 121, .resolution = BY_MINUTE},
        {.from_s = 0, .to_s = 60 * 11001, .resolution = BY_MINUTE},
        {.from_s = 0, .to_s = 120, .resolution = (enum query_resolution)120},
        {.from_s = 60, .to_s = 7200, .resolution = BY_HOUR},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct answer a;
        struct errmsg e;
        assert_int_equal(query_run(w->replica.store, &wrong[i], &a, &e),
                         ERR_INVALID);
    }
}

static void a_page_of_series_is_the_middle_of_the_ranking(void **state)
{
    struct world *w = *state;
    for (uint64_t sequence = 1; sequence <= 2; sequence++) {
        struct model_command c = {.kind = MODEL_NATIVE,
                                  .location = 1,
                                  .identity = 1,
                                  .session = 1,
                                  .sequence = sequence,
                                  .sampled_ms = T0,
                                  .peer_count = 2};
        c.peers[0] = (struct model_peer){.device = 1, .upload = sequence * 10};
        c.peers[1] = (struct model_peer){.device = 2, .upload = sequence * 99};
        apply_one(w, T0, c);
    }
    struct query q = {.from_s = T0 / 1000,
                      .to_s = T0 / 1000 + 60,
                      .resolution = BY_MINUTE,
                      .by = BY_DEVICE,
                      .limit = 1,
                      .after = 1};
    struct answer a;
    struct errmsg e;
    assert_int_equal(query_run(w->replica.store, &q, &a, &e), 0);
    assert_int_equal(a.series_total, 2);
    assert_int_equal(a.series_count, 1);
    assert_int_equal(a.series[0].id, 1);
    assert_int_equal(a.series[0].points[0].upload, 10);
    assert_int_equal(a.applied_index, w->index);
    answer_deinit(&a);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_directory_is_private),
        cmocka_unit_test(a_map_is_never_full_before_the_disk),
        cmocka_unit_test(a_path_that_cannot_be_made_is_named),
        cmocka_unit_test(a_file_that_is_not_lmdb_is_refused),
        CASE(a_store_in_use_is_refused),
        CASE(a_damaged_meta_record_is_refused),
        CASE(a_newer_format_is_refused_as_newer),
        CASE(an_older_format_is_refused_with_advice),
        CASE(a_damaged_checkpoint_is_refused_with_its_place),
        CASE(an_address_without_a_slot_is_refused),
        CASE(an_index_is_applied_once),
        CASE(a_record_of_an_unknown_kind_stops_the_applier),
        CASE(what_the_store_says_it_knows_it_applies),
        CASE(a_damaged_entry_stops_the_applier),
        CASE(a_batch_that_breaks_off_changes_nothing),
        CASE(an_idle_gateway_makes_a_zero_and_a_silent_one_a_null),
        CASE(a_minute_closes_ten_seconds_after_its_end),
        CASE(a_sample_of_a_closed_minute_is_merged_into_its_block),
        CASE(a_sample_from_the_future_counts_now),
        CASE(a_slot_that_skipped_minutes_loses_none),
        CASE(log_time_never_goes_back),
        CASE(a_clock_that_jumps_a_year_expires_two_minutes),
        CASE(minutes_expire_one_by_one_as_time_passes),
        cmocka_unit_test(
            a_shorter_retention_is_obeyed_at_once_and_deleted_in_slices),
        CASE(an_hour_is_what_closed_and_what_is_open_of_it),
        CASE(an_idle_gateway_marks_the_hour_and_the_day_too),
        CASE(a_sample_too_late_for_its_minute_counts_in_its_hour),
        CASE(every_tier_expires_as_its_own_time_passes),
        CASE(a_clock_that_jumps_a_year_expires_two_buckets_of_a_tier),
        CASE(a_slot_is_forgotten_after_thirty_days),
        CASE(a_stale_retry_does_not_become_a_baseline),
        CASE(a_spool_of_hours_keeps_its_shape),
        CASE(two_gateways_of_one_device_are_not_subtracted),
        CASE(what_is_resent_through_other_nodes_counts_once),
        CASE(a_peer_is_connected_since_the_end_of_the_last_break),
        CASE(an_idle_gateway_that_is_heard_makes_a_zero),
        CASE(hosts_that_report_by_turns_are_both_known),
        CASE(a_presence_that_comes_late_marks_nothing),
        CASE(a_presence_of_others_than_defguards_is_passed_over),
        CASE(what_was_moved_while_nobody_heard_is_spread_over_it),
        CASE(what_was_moved_while_somebody_heard_stays_where_it_is),
        CASE(a_gap_is_remembered_across_a_restart),
        CASE(a_gap_longer_than_the_retention_loses_nothing),
        cmocka_unit_test(late_cells_are_merged_into_many_blocks),
        cmocka_unit_test(points_of_more_cells_than_a_query_keeps_are_all_there),
        cmocka_unit_test(a_digest_of_many_rows_beats_meanwhile),
        CASE(the_last_sixteen_digests_are_kept),
        CASE(a_digest_sees_every_kind_of_change),
        CASE(ranges_that_make_no_sense_are_refused),
        CASE(a_page_of_series_is_the_middle_of_the_ranking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
