/* Streamed answers between a maker's thread and a request, without a server:
 * the two calls that http_wait.c makes of the replica are defined here. And the
 * rows that an export puts into one. */
#include "node/export_rows.h"
#include "node/http_stream.h"
#include "node/http_wait.h"

#include <stdlib.h>
#include <time.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PIECE = 10 * 1000, PIECES = 500 };

void repl_submit(struct repl *r, struct submission *s)
{
    (void)r;
    (void)s;
    fail();
}

uint64_t store_applied_index(const struct store *s)
{
    (void)s;
    return 0;
}

/* --- fixture: one maker of numbered pieces ----------------------------------
 */

static struct node node;
static struct http_waits waits;
static unsigned destroyed;

struct numbers {
    struct http_stream stream;
    _Atomic unsigned put; /* so far */
    int ends_with;
};

static int make_numbers(struct http_stream *s, struct errmsg *e)
{
    struct numbers *n = CONTAINER_OF(s, struct numbers, stream);
    struct buf piece = {0};
    int rv = 0;
    for (unsigned i = 0; i < PIECES && rv == 0; i++) {
        for (unsigned j = 0; j < PIECE / 4; j++)
            buf_put_u32(&piece, i);
        rv = http_stream_put(s, &piece);
        if (rv == 0)
            atomic_fetch_add(&n->put, 1);
    }
    buf_deinit(&piece);
    if (rv == 0 && n->ends_with != 0)
        return errmsg_set(e, n->ends_with, "as the test wants it");
    return rv;
}

static void numbers_destroy(struct http_stream *s)
{
    destroyed++;
    free(CONTAINER_OF(s, struct numbers, stream));
}

static struct numbers *numbers_create(int ends_with)
{
    struct numbers *n = calloc(1, sizeof *n);
    assert_non_null(n);
    n->stream.make = make_numbers;
    n->stream.destroy = numbers_destroy;
    n->ends_with = ends_with;
    return n;
}

static void on_ready(struct http_request *rq)
{
    (void)rq;
}

static void on_wake(void *arg)
{
    (void)arg;
}

static void nap(void)
{
    static const struct timespec pause = {0, 2 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

static int set_up(void **state)
{
    (void)state;
    waits_init(&waits, &node, on_ready, on_wake, NULL);
    destroyed = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    waits_deinit(&waits); /* waits for the makers */
    return 0;
}

static struct numbers *start(struct http_request *rq, int ends_with)
{
    struct numbers *n = numbers_create(ends_with);
    *rq = (struct http_request){.node = &node, .waits = &waits};
    assert_int_equal(http_stream_start(rq, &n->stream), 0);
    assert_int_equal(rq->status, 200);
    return n;
}

/* Takes all as the server would: waits for what is not there yet. Returns how
 * it ended. */
static long take_all(struct http_request *rq)
{
    static char out[7001];
    uint64_t at = 0;
    for (;;) {
        long size = http_stream_take(rq->stream, out, sizeof out);
        if (size < 0) {
            assert_int_equal(at, (uint64_t)PIECES * PIECE);
            return size;
        }
        for (long i = 0; i < size; i++, at++)
            if (at % 4 == 0)
                assert_int_equal((uint8_t)out[i], (at / PIECE) & 0xff);
        if (size > 0)
            continue;
        waits_stream(rq);
        while (rq->wait != WAIT_NONE) {
            waits_run(&waits, 10);
            nap();
        }
        assert_int_equal(rq->wait_status, 0);
    }
}

/* --- cases ------------------------------------------------------------------
 */

static void pieces_come_in_their_order_and_then_the_end(void **state)
{
    struct http_request rq;
    (void)state;
    start(&rq, 0);
    assert_int_equal(take_all(&rq), STREAM_OVER);
    waits_forget(&waits, &rq);
}

static void an_error_is_no_end(void **state)
{
    struct http_request rq;
    (void)state;
    start(&rq, ERR_CORRUPT);
    assert_int_equal(take_all(&rq), STREAM_FAILED);
    waits_forget(&waits, &rq);
}

static void the_maker_waits_for_who_takes_nothing(void **state)
{
    struct http_request rq;
    (void)state;
    struct numbers *n = start(&rq, 0);
    for (int i = 0; i < 50; i++)
        nap();
    unsigned most = STREAM_READY_BYTES_MAX / PIECE + 1;
    assert_in_range(atomic_load(&n->put), 1, most);
    assert_int_equal(take_all(&rq), STREAM_OVER);
    waits_forget(&waits, &rq);
}

static void a_request_that_goes_away_ends_its_maker(void **state)
{
    struct http_request rq;
    (void)state;
    start(&rq, 0);
    nap();
    waits_forget(&waits, &rq);
    for (int i = 0; i < 1000 && destroyed == 0; i++) {
        waits_run(&waits, 10);
        nap();
    }
    assert_int_equal(destroyed, 1);
}

static void a_node_that_stops_ends_who_waits(void **state)
{
    struct http_request rq;
    (void)state;
    start(&rq, 0);
    assert_int_equal(take_all(&rq), STREAM_OVER);
    waits_stream(&rq);
    waits_close(&waits);
    assert_int_equal(rq.wait_status, ERR_CLOSED);
    waits_forget(&waits, &rq);
}

static void there_are_only_so_many_at_once(void **state)
{
    struct http_request rqs[STREAMS_MAX], one_more = {.node = &node};
    (void)state;
    for (size_t i = 0; i < STREAMS_MAX; i++)
        start(&rqs[i], 0);
    struct numbers *n = numbers_create(0);
    one_more.waits = &waits;
    assert_int_equal(http_stream_start(&one_more, &n->stream), ERR_LIMIT);
    assert_int_equal(one_more.status, 429);
    buf_deinit(&one_more.answer);
    free(n);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        waits_forget(&waits, &rqs[i]);
    while (waits.stream_count > 0) {
        waits_run(&waits, 10);
        nap();
    }
    start(&one_more, 0);
    waits_forget(&waits, &one_more);
}

static const char *const columns[] = {"a", "b", "c", "d", "e", NULL};

static void put_rows(struct export_rows *r)
{
    const uint8_t strange[] = {'x', 0xff, '\n', ','};
    row_begin(r);
    row_uint(r, UINT64_MAX);
    row_string(r, "plain");
    row_string(r, "a \"b\", c\r\nd");
    row_null(r);
    row_time(r, 1700000000123);
    row_end(r);
    row_begin(r);
    row_bool(r, true);
    row_string(r, "");
    row_text(r, (struct bytes){strange, sizeof strange});
    row_string(r, "\xc3\xa4");
    row_uint(r, 0);
    row_end(r);
    assert_false(buf_failed(&r->buf));
    buf_put_u8(&r->buf, 0);
}

static void rows_are_csv_as_rfc_4180_has_it(void **state)
{
    struct export_rows r;
    (void)state;
    rows_begin(&r, true, columns);
    put_rows(&r);
    assert_string_equal((const char *)r.buf.data,
                        "a,b,c,d,e\r\n"
                        "18446744073709551615,plain,\"a \"\"b\"\", c\r\nd\",,"
                        "2023-11-14T22:13:20.123Z\r\n"
                        "true,,\"x??,\",\xc3\xa4,0\r\n");
    rows_deinit(&r);
}

static void rows_are_an_object_a_line(void **state)
{
    struct export_rows r;
    (void)state;
    rows_begin(&r, false, columns);
    put_rows(&r);
    assert_string_equal(
        (const char *)r.buf.data,
        "{\"a\":18446744073709551615,\"b\":\"plain\","
        "\"c\":\"a \\\"b\\\", c\\u000d\\nd\",\"d\":null,"
        "\"e\":\"2023-11-14T22:13:20.123Z\"}\n"
        "{\"a\":true,\"b\":\"\",\"c\":\"x\\ufffd\\n,\",\"d\":\"\xc3\xa4\","
        "\"e\":0}\n");
    rows_deinit(&r);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(pieces_come_in_their_order_and_then_the_end),
        CASE(an_error_is_no_end),
        CASE(the_maker_waits_for_who_takes_nothing),
        CASE(a_request_that_goes_away_ends_its_maker),
        CASE(a_node_that_stops_ends_who_waits),
        CASE(there_are_only_so_many_at_once),
        CASE(rows_are_csv_as_rfc_4180_has_it),
        CASE(rows_are_an_object_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
