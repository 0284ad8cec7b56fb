/* What GET /api/v1/cluster says of a replica that the test makes up: the calls
 * that api_cluster.c makes of replica and store are defined here. */
#include "node/api.h"

#include "base/clock.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

/* --- the replica ------------------------------------------------------------
 */

static struct repl_status fake;

void repl_status(struct repl *r, struct repl_status *out)
{
    (void)r;
    *out = fake;
}

void repl_submit(struct repl *r, struct submission *s)
{
    (void)r;
    (void)s;
}

void store_status(struct store *s, struct store_status *out)
{
    (void)s;
    *out = (struct store_status){
        .applied_index = 95, .flushed_index = 90, .used_bytes = 4096};
}

uint64_t store_applied_index(const struct store *s)
{
    (void)s;
    return 95;
}

int store_digest_at(struct store *s, uint64_t index, uint64_t *digest)
{
    (void)s;
    *digest = 0xabc;
    return index == 95 ? 0 : ERR_NOTFOUND;
}

/* --- asking -----------------------------------------------------------------
 */

static struct node_config config = {.name = "n1", .zone = "east"};
static struct node node = {.config = &config};

static json_t *ask(http_handler_fn *handler, int status)
{
    struct http_request rq = {.node = &node};
    out_begin(&rq.json, &rq.answer);
    handler(&rq);
    assert_int_equal(rq.status, status);
    struct bytes text = buf_bytes(&rq.answer);
    json_t *root = json_loadb((const char *)text.data, text.size,
                              JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    buf_deinit(&rq.answer);
    return root;
}

static json_int_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static const char *text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

static int set_up(void **state)
{
    (void)state;
    fake = (struct repl_status){
        .raft_id = 1,
        .state = "leader",
        .bootstrapped = true,
        .has_leader = true,
        .is_leader = true,
        .leader_id = 1,
        .level = 2,
        .term = 7,
        .commit_index = 100,
        .disk_free_bytes = 5000,
        .heard_ms = clock_mono_ms(),
        .node_count = 3,
        .nodes = {{.id = 1,
                   .name = "n1",
                   .role = "voter",
                   .leader = true,
                   .connected = true},
                  {.id = UINT64_MAX,
                   .name = "n2",
                   .role = "voter",
                   .connected = true,
                   .rtt_us = 300,
                   .clock_offset_ms = -12,
                   .facts_ms = clock_mono_ms() - 1000,
                   .facts = {.level = 2,
                             .release = "9.9",
                             .zone = "west",
                             .term = 7,
                             .commit_index = 99,
                             .applied_index = 60,
                             .flushed_index = 50,
                             .heard_ms_ago = 40,
                             .store_bytes = 8192,
                             .disk_free_bytes = 77,
                             .disk_low = true,
                             .draining = true}},
                  {.id = 3, .name = "n3", .role = "spare"}}};
    return 0;
}

static const json_t *node_at(const json_t *root, size_t i)
{
    const json_t *nodes = json_object_get(root, "nodes");
    assert_int_equal(json_array_size(nodes), 3);
    return json_array_get(nodes, i);
}

/* --- cases ------------------------------------------------------------------
 */

static void the_cluster_is_told_as_this_node_sees_it(void **state)
{
    json_t *root = ask(api_cluster, 200);
    (void)state;
    assert_string_equal(text(root, "node"), "n1");
    assert_string_equal(text(root, "leader"), "n1");
    assert_string_equal(text(root, "state"), "leader");
    assert_int_equal(number(root, "level"), 2);
    assert_int_equal(number(root, "commit"), 100);
    assert_int_equal(number(root, "applied"), 95);
    assert_true(json_is_null(json_object_get(root, "fetch")));
    json_decref(root);
}

static void of_itself_a_node_knows_everything_but_a_round_trip(void **state)
{
    json_t *root = ask(api_cluster, 200);
    const json_t *own = node_at(root, 0);
    (void)state;
    assert_true(json_is_true(json_object_get(own, "self")));
    assert_string_equal(text(own, "zone"), "east");
    assert_string_equal(text(own, "version"), HOLDFAST_VERSION);
    assert_int_equal(number(own, "applied"), 95);
    assert_int_equal(number(own, "lag"), 5);
    assert_int_equal(number(own, "flushed"), 90);
    assert_int_equal(number(own, "db_bytes"), 4096);
    assert_int_equal(number(own, "disk_free_bytes"), 5000);
    assert_true(json_is_false(json_object_get(own, "disk_low")));
    assert_true(json_is_null(json_object_get(own, "rtt_us")));
    assert_true(json_is_null(json_object_get(own, "clock_offset_ms")));
    json_decref(root);
}

static void of_a_peer_its_last_facts_are_told_with_their_age(void **state)
{
    json_t *root = ask(api_cluster, 200);
    const json_t *peer = node_at(root, 1);
    (void)state;
    assert_string_equal(text(peer, "id"), "18446744073709551615");
    assert_string_equal(text(peer, "zone"), "west");
    assert_string_equal(text(peer, "version"), "9.9");
    assert_int_equal(number(peer, "clock_offset_ms"), -12);
    assert_int_equal(number(peer, "lag"), 40);
    assert_in_range(number(peer, "age_ms"), 1040, 60 * 1000);
    assert_true(json_is_true(json_object_get(peer, "disk_low")));
    assert_true(json_is_true(json_object_get(peer, "draining")));
    json_decref(root);
}

static void what_a_peer_never_said_is_null(void **state)
{
    static const char *const names[] = {
        "rtt_us",          "clock_offset_ms", "zone",     "term",
        "commit",          "applied",         "flushed",  "lag",
        "age_ms",          "version",         "level",    "db_bytes",
        "disk_free_bytes", "disk_low",        "draining",
    };
    json_t *root = ask(api_cluster, 200);
    const json_t *silent = node_at(root, 2);
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(json_is_null(json_object_get(silent, names[i])));
    json_decref(root);
}

static void a_fetch_under_way_tells_how_far_it_is(void **state)
{
    fake.state = "fetching";
    fake.fetch_bytes = 10;
    fake.fetch_total = 40;
    json_t *root = ask(api_cluster, 200);
    const json_t *fetch = json_object_get(root, "fetch");
    (void)state;
    assert_int_equal(number(fetch, "bytes"), 10);
    assert_int_equal(number(fetch, "total"), 40);
    json_decref(root);
}

#define CASE(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_cluster_is_told_as_this_node_sees_it),
        CASE(of_itself_a_node_knows_everything_but_a_round_trip),
        CASE(of_a_peer_its_last_facts_are_told_with_their_age),
        CASE(what_a_peer_never_said_is_null),
        CASE(a_fetch_under_way_tells_how_far_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
