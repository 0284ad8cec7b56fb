/* Re-aggregation: a store made of raw reports is the one that was, to the last
 * cell of every tier; what would be another one is refused and leaves nothing.
 */
#include "raft/rebuild.h"

#include "base/durable.h"
#include "raft/identity.h"
#include "store/raw.h"
#include "store/slice.h"
#include "store/test/replica.h"
#include "store/test/scenario.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS = 600, COPIED_AT = 250, FIRST_INDEX = 2 };

/* --- fixture: what a stopped node left --------------------------------------
 */

struct world {
    char root[64], data[80], raw[96], store[96], into[80], copy[96];
    struct buf entries[STEPS + 1]; /* the last asks for a digest */
    struct rebuild_options options;
    struct rebuild_report report;
    struct errmsg e;
};

static uint64_t index_of(size_t i)
{
    return FIRST_INDEX + 2 * i; /* barriers take indexes too */
}

static void make_entries(struct world *w)
{
    struct model *model = model_create();
    struct scenario scenario;
    assert_non_null(model);
    scenario_init(&scenario, 23, model);
    for (size_t i = 0; i < STEPS; i++) {
        struct model_step step;
        struct outcome outcomes[MODEL_COMMANDS_MAX];
        scenario_next(&scenario, &step);
        model_apply(model, &step, outcomes);
        scenario_told(&scenario, &step, outcomes);
        step_encode(&step, &w->entries[i]);
    }
    struct model_step last = {.log_time_ms = model_log_time_ms(model),
                              .count = 1};
    last.commands[0].kind = MODEL_DIGEST;
    step_encode(&last, &w->entries[STEPS]);
    model_destroy(model);
}

static void demand(struct world *w, int rc)
{
    if (rc != 0)
        fail_msg("%d: %s", rc, w->e.text);
}

static struct store *open_store(struct world *w, const char *path)
{
    struct store *s;
    struct store_options options = {.path = path};
    demand(w, store_open(&options, &s, &w->e));
    return s;
}

static void keep_raw(struct world *w, struct store *s)
{
    struct raw_options raw = {w->raw, (uint64_t)1 << 30, UINT64_MAX / 2};
    demand(w, store_keep_raw(s, &raw, &w->e));
}

/* Entries [from, to) into the node's store, and into raw if @kept. */
static void run_node(struct world *w, size_t from, size_t to, bool kept)
{
    struct store *s = open_store(w, w->store);
    thread_role_assert(&applier_thread);
    if (kept)
        keep_raw(w, s);
    for (size_t i = from; i < to; i++) {
        struct apply_result result;
        demand(w, store_apply(s, index_of(i), buf_bytes(&w->entries[i]),
                              &result, &w->e));
        if (result.flush_due)
            demand(w, store_flush(s, &w->e));
    }
    demand(w, store_flush(s, &w->e));
    store_close(s);
}

static void copy_store(struct world *w)
{
    struct copy_info info;
    struct store *s = open_store(w, w->store);
    demand(w, store_copy(s, w->copy, NULL, NULL, &info, &w->e));
    store_close(s);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct identity id = {.raft_id = 9, .cluster_id = {1, 2, 3}};
    if (w == NULL)
        return -1;
    snprintf(w->root, sizeof w->root, "%s/holdfast-rebuild-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->root));
    snprintf(w->data, sizeof w->data, "%s/data", w->root);
    snprintf(w->raw, sizeof w->raw, "%s/raw", w->data);
    snprintf(w->store, sizeof w->store, "%s/store", w->data);
    snprintf(w->into, sizeof w->into, "%s/into", w->root);
    snprintf(w->copy, sizeof w->copy, "%s/copy.mdb", w->root);
    demand(w, durable_make_directory(w->data, &w->e));
    demand(w, identity_save(w->data, &id, &w->e));
    make_entries(w);
    w->options = (struct rebuild_options){.data_dir = w->data, .to = w->into};
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i <= STEPS; i++)
        buf_deinit(&w->entries[i]);
    demand(w, durable_remove(w->root, &w->e));
    free(w);
    return 0;
}

static int rebuild(struct world *w)
{
    w->e.text[0] = '\0';
    return rebuild_from_raw(&w->options, &w->report, &w->e);
}

static void assert_refused(struct world *w, int code, const char *why)
{
    assert_int_equal(rebuild(w), code);
    if (strstr(w->e.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", w->e.text, why);
    assert_false(durable_exists(w->into));
}

/* Every cell of every tier, and the digest, which has the rest. */
static void assert_same_store(struct world *w)
{
    struct store *was = open_store(w, w->store);
    struct store *is = open_store(w, w->into);
    for (enum tier tier = TIER_MINUTE; tier < TIERS; tier++) {
        struct cells a = {0}, b = {0};
        demand(w, slice_read(was, tier, 0, 0, UINT32_MAX, &a, &w->e));
        demand(w, slice_read(is, tier, 0, 0, UINT32_MAX, &b, &w->e));
        assert_int_equal(a.count, b.count);
        assert_true(a.count > 0);
        for (size_t i = 0; i < a.count; i++) {
            assert_int_equal(cell_compare(&a.items[i], &b.items[i]), 0);
            assert_int_equal(a.items[i].upload, b.items[i].upload);
            assert_int_equal(a.items[i].download, b.items[i].download);
        }
        cells_deinit(&a);
        cells_deinit(&b);
    }
    assert_int_equal(store_applied_index(was), store_applied_index(is));
    store_close(was);
    store_close(is);
}

/* That the log asked for at its last entry, computed by a store of its own. */
static uint64_t digest_wanted(struct world *w)
{
    struct replica r;
    uint64_t digest;
    replica_init(&r);
    for (size_t i = 0; i <= STEPS; i++)
        replica_apply(&r, index_of(i), buf_bytes(&w->entries[i]));
    assert_int_equal(store_digest_at(r.store, index_of(STEPS), &digest), 0);
    replica_deinit(&r);
    return digest;
}

/* --- cases ------------------------------------------------------------------
 */

static void raw_reports_from_the_first_on_make_the_same_store(void **state)
{
    struct world *w = *state;
    run_node(w, 0, COPIED_AT, true);
    run_node(w, COPIED_AT, STEPS + 1, true); /* after a restart */
    demand(w, rebuild(w));
    assert_same_store(w);
    assert_int_equal(w->report.digest_index, index_of(STEPS));
    assert_int_equal(w->report.digest, digest_wanted(w));
    assert_int_equal(w->report.entries, STEPS + 1);
    assert_int_equal(w->report.raw_first_index, FIRST_INDEX);
    assert_int_equal(w->report.applied_index, index_of(STEPS));
}

static void a_copy_stands_for_what_is_not_there_any_more(void **state)
{
    struct world *w = *state;
    run_node(w, 0, COPIED_AT, false); /* a node that joined with a copy */
    copy_store(w);
    run_node(w, COPIED_AT, STEPS + 1, true);
    assert_refused(w, ERR_BEHIND, "--base");
    w->options.base = w->copy;
    demand(w, rebuild(w));
    assert_same_store(w);
    assert_int_equal(w->report.digest, digest_wanted(w));
    assert_int_equal(w->report.base_index, index_of(COPIED_AT - 1));
}

static void a_gap_is_refused_unless_the_copy_is_from_behind_it(void **state)
{
    struct world *w = *state;
    run_node(w, 0, 100, true);
    run_node(w, 100, 150, true);
    copy_store(w); /* before the gap */
    run_node(w, 150, COPIED_AT, false);
    run_node(w, COPIED_AT, 400, true);
    assert_refused(w, ERR_BEHIND, "are missing");
    w->options.base = w->copy;
    assert_refused(w, ERR_BEHIND, "are missing");
    assert_int_equal(unlink(w->copy), 0);
    copy_store(w);
    run_node(w, 400, STEPS + 1, true);
    demand(w, rebuild(w));
    assert_same_store(w);
}

static void what_is_not_of_one_log_is_refused(void **state)
{
    struct world *w = *state;
    le64_put(w->entries[300].data + 8, 2); /* of an older term */
    run_node(w, 0, STEPS, true);
    assert_refused(w, ERR_CORRUPT, "not of one log");
}

static void a_copy_of_another_cluster_is_refused(void **state)
{
    struct world *w = *state;
    const uint8_t other[CLUSTER_ID_SIZE] = {7};
    char store[160], file[200];
    run_node(w, 0, COPIED_AT, true);
    copy_store(w);
    snprintf(store, sizeof store, "%s/other", w->root);
    snprintf(file, sizeof file, "%s/data.mdb", store);
    demand(w, durable_make_directory(store, &w->e));
    assert_int_equal(rename(w->copy, file), 0);
    demand(w, store_copy_rename_cluster(store, other, &w->e));
    w->options.base = file;
    assert_refused(w, ERR_FOREIGN, "another cluster");
}

static void a_directory_in_use_or_without_raw_reports_is_refused(void **state)
{
    struct world *w = *state;
    assert_refused(w, ERR_NOTFOUND, "raw");
    run_node(w, 0, 50, true);
    int fd;
    demand(w, identity_lock(w->data, &fd, &w->e));
    assert_refused(w, ERR_IO, w->data);
    close(fd);
    demand(w, durable_make_directory(w->into, &w->e));
    char file[128];
    snprintf(file, sizeof file, "%s/mine", w->into);
    demand(w, durable_write(file, "x", 1, &w->e));
    assert_int_equal(rebuild(w), ERR_EXISTS);
    assert_true(durable_exists(file));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(raw_reports_from_the_first_on_make_the_same_store),
        CASE(a_copy_stands_for_what_is_not_there_any_more),
        CASE(a_gap_is_refused_unless_the_copy_is_from_behind_it),
        CASE(what_is_not_of_one_log_is_refused),
        CASE(a_copy_of_another_cluster_is_refused),
        CASE(a_directory_in_use_or_without_raw_reports_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
