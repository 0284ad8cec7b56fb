/* Waiting requests against a replica that answers when the test says so: the
 * two calls that http_wait.c makes of it are defined here. */
#include "node/http_wait.h"

#include <pthread.h>
#include <time.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- the replica ------------------------------------------------------------
 */

static struct submission *submitted[HTTP_WRITES_MAX + 1];
static size_t submitted_count;
static uint64_t applied;

void repl_submit(struct repl *r, struct submission *s)
{
    (void)r;
    submitted[submitted_count++] = s;
}

uint64_t store_applied_index(const struct store *s)
{
    (void)s;
    return applied;
}

static void end_as(size_t number, int status, enum outcome_code code,
                   uint64_t index)
{
    submitted[number]->outcome = (struct outcome){.code = code, .index = index};
    submitted[number]->done(submitted[number], status);
}

static void end(size_t number, int status, uint64_t index)
{
    end_as(number, status, OUTCOME_TAKEN, index);
}

/* --- requests ---------------------------------------------------------------
 */

static struct node node;
static struct http_waits waits;
static unsigned wakes;

static void on_ready(struct http_request *rq)
{
    rq->resume(rq, rq->wait_status);
}

static void on_wake(void *arg)
{
    (void)arg;
    wakes++;
}

/* What a handler would do next: keep the status, 1000 = resumed with 0. */
static void resumed(struct http_request *rq, int status)
{
    rq->status = status == 0 ? 1000 : status;
}

static int set_up(void **state)
{
    (void)state;
    submitted_count = 0;
    applied = 10;
    wakes = 0;
    waits_init(&waits, &node, on_ready, on_wake, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    waits_deinit(&waits); /* asserts that nothing is in flight */
    return 0;
}

static struct http_request request(void)
{
    return (struct http_request){.node = &node, .waits = &waits};
}

static void submit(struct http_request *rq)
{
    struct buf record = {0};
    record_put_digest(&record);
    http_submit(rq, &record, resumed);
}

/* --- cases ------------------------------------------------------------------
 */

static void a_write_is_answered_when_its_index_is_applied_here(void **state)
{
    struct http_request rq = request();
    (void)state;
    submit(&rq);
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 0);
    end(0, 0, 12);
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 0);
    applied = 11;
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 0);
    wakes = 0;
    waits_applied(&waits);
    assert_int_equal(wakes, 1);
    applied = 12;
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 1000);
    assert_int_equal(rq.outcome.index, 12);
    waits_applied(&waits);
    assert_int_equal(wakes, 1); /* nobody waits: no system call */
}

static void a_write_that_failed_is_answered_at_once(void **state)
{
    struct http_request rq = request();
    (void)state;
    submit(&rq);
    end(0, ERR_UNKNOWN, 0);
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, ERR_UNKNOWN);
}

static void a_write_out_of_time_may_end_later(void **state)
{
    struct http_request rq = request();
    (void)state;
    submit(&rq);
    rq.wait_until_ms = 0;
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, ERR_TIMEOUT);
    rq = request();
    end(0, 0, 12);
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 0); /* and is not touched any more */
    assert_int_equal(rq.wait, WAIT_NONE);
    assert_int_equal(rq.outcome.index, 0);
}

static void what_was_refused_is_told_where_the_replica_is_behind(void **state)
{
    struct http_request refused = request(), taken = request(),
                        closed = request();
    (void)state;
    submit(&refused);
    submit(&taken);
    submit(&closed);
    end_as(0, 0, OUTCOME_EXISTS, 12);
    end(1, 0, 13);
    end_as(2, 0, OUTCOME_NOTFOUND, 14);
    waits_run(&waits, 1000);
    assert_int_equal(refused.status, 0);
    refused.wait_until_ms = taken.wait_until_ms = 0;
    waits_run(&waits, 1000);
    assert_int_equal(refused.status, 1000);
    assert_int_equal(refused.outcome.code, OUTCOME_EXISTS);
    assert_int_equal(taken.status, ERR_TIMEOUT);
    waits_close(&waits);
    assert_int_equal(closed.status, 1000);
}

static void a_reader_joins_the_barrier_that_starts_after_it(void **state)
{
    struct http_request first = request(), second = request(),
                        third = request();
    (void)state;
    http_await_barrier(&first, resumed);
    waits_run(&waits, 1000);
    assert_int_equal(submitted_count, 1);
    /* Under way: these two must not be content with it. */
    http_await_barrier(&second, resumed);
    http_await_barrier(&third, resumed);
    waits_run(&waits, 1000);
    assert_int_equal(submitted_count, 1);
    end(0, 0, 10);
    waits_run(&waits, 1000);
    assert_int_equal(first.status, 1000);
    assert_int_equal(second.status, 0);
    assert_int_equal(submitted_count, 2); /* one for both */
    end(1, 0, 13);
    waits_run(&waits, 1000);
    assert_int_equal(second.status, 0);
    applied = 13;
    waits_run(&waits, 1000);
    assert_int_equal(second.status, 1000);
    assert_int_equal(third.status, 1000);
}

static void a_barrier_without_a_leader_is_not_called_behind(void **state)
{
    struct http_request lost = request(), late = request();
    (void)state;
    http_await_barrier(&lost, resumed);
    waits_run(&waits, 1000);
    end(0, ERR_AGAIN, 0);
    waits_run(&waits, 1000);
    assert_int_equal(lost.status, ERR_AGAIN);
    http_await_barrier(&late, resumed);
    late.wait_until_ms = 0;
    waits_run(&waits, 1000);
    assert_int_equal(late.status, ERR_AGAIN);
    end(1, ERR_AGAIN, 0);
    waits_run(&waits, 1000);
}

static void an_index_that_is_there_is_not_waited_for(void **state)
{
    struct http_request now = request(), later = request();
    (void)state;
    http_await_index(&now, 10, 1000, resumed);
    assert_int_equal(now.status, 1000);
    http_await_index(&later, 11, 1000, resumed);
    assert_int_equal(later.status, 0);
    assert_in_range(waits_run(&waits, 5000), 1, 1000);
    later.wait_until_ms = 0;
    waits_run(&waits, 1000);
    assert_int_equal(later.status, ERR_TIMEOUT);
}

static void closing_answers_everybody_and_forgets_those_who_left(void **state)
{
    struct http_request writer = request(), reader = request(),
                        gone = request();
    (void)state;
    submit(&writer);
    submit(&gone);
    http_await_index(&reader, 99, 1000, resumed);
    waits_forget(&waits, &gone);
    waits_close(&waits);
    assert_int_equal(writer.status, ERR_CLOSED);
    assert_int_equal(reader.status, ERR_CLOSED);
    assert_int_equal(gone.status, 0);
    end(0, ERR_CLOSED, 0); /* as repl_stop does, before waits_deinit */
    end(1, ERR_CLOSED, 0);
}

static void writes_in_flight_are_bounded(void **state)
{
    static struct http_request all[HTTP_WRITES_MAX];
    struct http_request last = request();
    (void)state;
    for (size_t i = 0; i < HTTP_WRITES_MAX; i++) {
        all[i] = request();
        submit(&all[i]);
    }
    submit(&last);
    assert_int_equal(last.status, 503);
    assert_int_equal(submitted_count, HTTP_WRITES_MAX);
    buf_deinit(&last.answer);
    for (size_t i = 0; i < HTTP_WRITES_MAX; i++)
        end(i, 0, 10);
    waits_run(&waits, 1000);
    for (size_t i = 0; i < HTTP_WRITES_MAX; i++)
        assert_int_equal(all[i].status, 1000);
}

/* --- tasks ------------------------------------------------------------------
 */

static unsigned destroyed;

static void task_destroy(struct http_task *t)
{
    (void)t;
    destroyed++;
}

static struct http_task task(void)
{
    destroyed = 0;
    return (struct http_task){.destroy = task_destroy};
}

static void a_task_belongs_to_its_request_when_it_has_ended(void **state)
{
    struct http_request rq = request();
    struct http_task t = task();
    (void)state;
    assert_int_equal(http_await_task(&rq, &t, 1000, resumed), 0);
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 0);
    t.status = ERR_DENIED;
    wakes = 0;
    http_task_end(&t);
    assert_int_equal(wakes, 1);
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, ERR_DENIED);
    assert_ptr_equal(rq.task, &t);
    assert_int_equal(destroyed, 0);
    waits_forget(&waits, &rq); /* the answer was sent */
    assert_int_equal(destroyed, 1);
    assert_null(rq.task);
}

static void
a_task_that_nobody_waits_for_is_told_and_goes_at_its_end(void **state)
{
    struct http_request late = request(), gone = request();
    struct http_task first = task(), second = task();
    (void)state;
    assert_int_equal(http_await_task(&late, &first, 0, resumed), 0);
    assert_int_equal(http_await_task(&gone, &second, 1000, resumed), 0);
    waits_run(&waits, 1000);
    assert_int_equal(late.status, ERR_TIMEOUT);
    assert_null(late.task);
    assert_true(atomic_load(&first.abandoned));
    assert_false(atomic_load(&second.abandoned));
    waits_forget(&waits, &gone);
    assert_true(atomic_load(&second.abandoned));
    assert_int_equal(destroyed, 0);
    http_task_end(&first);
    http_task_end(&second);
    waits_run(&waits, 1000);
    assert_int_equal(destroyed, 2);
    assert_int_equal(gone.status, 0);
}

static void *end_later(void *arg)
{
    struct http_task *t = arg;
    while (!atomic_load(&t->abandoned))
        nanosleep(&(struct timespec){0, 1000 * 1000}, NULL);
    http_task_end(t);
    return NULL;
}

static void the_end_waits_for_tasks_of_other_threads(void **state)
{
    struct http_request rq = request();
    struct http_task t = task();
    pthread_t thread;
    (void)state;
    assert_int_equal(http_await_task(&rq, &t, 100000, resumed), 0);
    assert_int_equal(pthread_create(&thread, NULL, end_later, &t), 0);
    waits_close(&waits);
    assert_int_equal(rq.status, ERR_CLOSED);
    waits_deinit(&waits);
    assert_int_equal(destroyed, 1);
    pthread_join(thread, NULL);
}

static void tasks_under_way_are_bounded(void **state)
{
    static struct http_request all[HTTP_TASKS_MAX];
    static struct http_task tasks[HTTP_TASKS_MAX];
    struct http_request last = request();
    struct http_task surplus = task();
    (void)state;
    for (size_t i = 0; i < HTTP_TASKS_MAX; i++) {
        all[i] = request();
        tasks[i] = task();
        assert_int_equal(http_await_task(&all[i], &tasks[i], 1000, resumed), 0);
    }
    assert_int_equal(http_await_task(&last, &surplus, 1000, resumed),
                     ERR_LIMIT);
    assert_int_equal(last.status, 503);
    assert_null(last.task);
    buf_deinit(&last.answer);
    waits_close(&waits);
    for (size_t i = 0; i < HTTP_TASKS_MAX; i++)
        http_task_end(&tasks[i]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_write_is_answered_when_its_index_is_applied_here),
        CASE(a_write_that_failed_is_answered_at_once),
        CASE(a_write_out_of_time_may_end_later),
        CASE(what_was_refused_is_told_where_the_replica_is_behind),
        CASE(a_reader_joins_the_barrier_that_starts_after_it),
        CASE(a_barrier_without_a_leader_is_not_called_behind),
        CASE(an_index_that_is_there_is_not_waited_for),
        CASE(closing_answers_everybody_and_forgets_those_who_left),
        CASE(writes_in_flight_are_bounded),
        CASE(a_task_belongs_to_its_request_when_it_has_ended),
        CASE(a_task_that_nobody_waits_for_is_told_and_goes_at_its_end),
        CASE(the_end_waits_for_tasks_of_other_threads),
        CASE(tasks_under_way_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
