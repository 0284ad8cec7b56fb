/* The applier at the end of a process: raft/applier.h. */
#include "raft/applier.h"
#include "raft/test/fake_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void put(struct applier *a, uint64_t index,
                void (*put_record)(struct buf *out))
{
    struct buf record = {0}, entry = {0};
    struct entry_header header = {.number = index};
    put_record(&record);
    entry_begin(&entry, &header);
    buf_put(&entry, record.data, record.size);
    entry_finish(&entry);
    assert_false(buf_failed(&entry));
    assert_int_equal(applier_put(a, index, buf_bytes(&entry), NULL), 0);
    buf_deinit(&record);
    buf_deinit(&entry);
}

/* The others committed both before they were on this node's disk. An entry with
 * a digest waits for that, but not beyond a stop; then the one behind it must
 * not be applied either, or the store had a hole. */
static void a_stop_leaves_no_hole(void **state)
{
    (void)state;
    struct events events;
    struct space space;
    struct errmsg e;
    events_init(&events, NULL, NULL);
    assert_int_equal(space_init(&space, "/tmp", 1, &events, &e), 0);
    struct applier a = {
        .store = fake_store_create(), .events = &events, .space = &space};
    assert_int_equal(applier_start(&a, &e), 0);
    put(&a, 1, record_put_digest);
    put(&a, 2, record_put_tick);
    applier_stop(&a);
    assert_int_equal(fake_store_digest(a.store), 0); /* of nothing */
    fake_store_destroy(a.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_leaves_no_hole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
