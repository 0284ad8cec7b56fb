/* A node whose log was compacted away under it. On its own, because libraft
 * 0.22 leaks the messages of snapshots that are sent twice, and leaks of ours
 * must still be seen in the other tests of replication. */
#include "raft/test/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct cluster c;

static void submit_many(size_t node, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        assert_int_equal(cluster_submit(&c, node, n, 100, 10000, NULL), 0);
}

static void
a_node_that_is_too_far_behind_says_so_and_does_not_loop(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.log_entries_max = 40;
    c.tail_entries = 30;
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
    size_t leader = cluster_leader(&c), away = (leader + 1) % 3;
    submit_many(leader, 1, 10);
    cluster_converge(&c, 10);
    cluster_stop(&c, away);
    submit_many(leader, 11, 200);
    cluster_start(&c, away);
    WAIT_FOR(atomic_load(&c.nodes[away].fatal_code) != 0, 10000);
    assert_int_equal(atomic_load(&c.nodes[away].fatal_code), 1);
    /* The same answer at every start, before it votes. */
    cluster_stop(&c, away);
    struct errmsg e;
    assert_int_equal(cluster_try_start(&c, away, &e), ERR_BEHIND);
    assert_null(c.nodes[away].repl);
    submit_many(leader, 201, 201);
    assert_int_equal(atomic_load(&c.nodes[leader].fatal_code), 0);
    cluster_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_node_that_is_too_far_behind_says_so_and_does_not_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
