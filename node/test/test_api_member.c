/* What operators ask, against a replica that answers as the test says: the
 * calls that api_member.c and http_wait.c make of it are defined here. */
#include "node/api.h"
#include "node/http_route.h"
#include "node/http_wait.h"

#include <stdio.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- the replica ------------------------------------------------------------
 */

static struct repl_change *asked;
static bool has_leader;
static int drained; /* -1: not asked */

void repl_change(struct repl *r, struct repl_change *c)
{
    (void)r;
    asked = c;
}

void repl_submit(struct repl *r, struct submission *s)
{
    (void)r;
    (void)s;
}

void repl_status(struct repl *r, struct repl_status *out)
{
    (void)r;
    *out = (struct repl_status){.has_leader = has_leader};
}

void node_drain(struct node *n, bool drain)
{
    (void)n;
    drained = drain;
}

uint64_t store_applied_index(const struct store *s)
{
    (void)s;
    return 1;
}

/* --- requests ---------------------------------------------------------------
 */

static struct node node;
static struct http_waits waits;
static struct http_request rq;
static struct http_route route;

static void on_ready(struct http_request *request)
{
    request->resume(request, request->wait_status);
}

static void on_wake(void *arg)
{
    (void)arg;
}

static int set_up(void **state)
{
    (void)state;
    asked = NULL;
    drained = -1;
    has_leader = true;
    waits_init(&waits, &node, on_ready, on_wake, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    waits_forget(&waits, &rq);
    buf_deinit(&rq.answer);
    buf_deinit(&rq.body);
    waits_deinit(&waits);
    return 0;
}

static void ask(http_handler_fn *handler, const struct body_schema *schema,
                const char *name, const char *body)
{
    route = (struct http_route){.handler = handler, .body = schema};
    rq = (struct http_request){.node = &node, .waits = &waits, .route = &route};
    snprintf(rq.name, sizeof rq.name, "%s", name);
    buf_put(&rq.body, body, strlen(body));
    out_begin(&rq.json, &rq.answer);
    handler(&rq);
}

static void answers(int status, const char *words)
{
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, status);
    buf_put(&rq.answer, "", 1);
    assert_false(buf_failed(&rq.answer));
    if (strstr((const char *)rq.answer.data, words) == NULL)
        fail_msg("%s is not in %s", words, (const char *)rq.answer.data);
}

/* --- cases ------------------------------------------------------------------
 */

static void a_promotion_is_answered_when_it_is_in_force(void **state)
{
    (void)state;
    ask(api_member_change, &member_schema, "n3", "{\"action\":\"promote\"}");
    assert_non_null(asked);
    assert_int_equal(asked->kind, REPL_PROMOTE);
    assert_string_equal(asked->name, "n3");
    waits_run(&waits, 1000);
    assert_int_equal(rq.status, 0);
    asked->done(asked, 0, "n3 is a voter");
    answers(200, "n3 is a voter");
}

static void demotion_and_removal_and_transfer_are_told_apart(void **state)
{
    (void)state;
    ask(api_member_change, &member_schema, "n2", "{\"action\":\"demote\"}");
    assert_int_equal(asked->kind, REPL_DEMOTE);
    asked->done(asked, 0, "");
    answers(200, "\"demote\"");
    tear_down(NULL);
    set_up(NULL);
    ask(api_member_remove, NULL, "n2", "");
    assert_int_equal(asked->kind, REPL_REMOVE);
    assert_string_equal(asked->name, "n2");
    asked->done(asked, 0, "");
    answers(200, "\"remove\"");
    tear_down(NULL);
    set_up(NULL);
    ask(api_leader_transfer, &leader_schema, "", "{\"name\":\"n1\"}");
    assert_int_equal(asked->kind, REPL_TRANSFER);
    assert_string_equal(asked->name, "n1");
    asked->done(asked, 0, "");
    answers(200, "\"transfer\"");
    tear_down(NULL);
    set_up(NULL);
    ask(api_leader_transfer, &leader_schema, "", "{}");
    assert_string_equal(asked->name, "");
    asked->done(asked, 0, "");
    answers(200, "\"transfer\"");
}

static void a_refusal_carries_the_leaders_reason(void **state)
{
    static const struct {
        int status;
        bool leader;
        int answer;
        const char *code;
    } cases[] = {
        {ERR_NOTFOUND, true, 404, "\"not_found\""},
        {ERR_DENIED, true, 409, "\"denied\""},
        {ERR_AGAIN, true, 503, "\"again\""},
        {ERR_AGAIN, false, 503, "\"no_leader\""},
        {ERR_UNKNOWN, true, 503, "\"outcome_unknown\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(api_member_remove, NULL, "n2", "");
        has_leader = cases[i].leader;
        asked->done(asked, cases[i].status, "because of the quorum");
        answers(cases[i].answer, cases[i].code);
        assert_non_null(
            strstr((const char *)rq.answer.data, "because of the quorum"));
        tear_down(NULL);
        set_up(NULL);
    }
}

static void a_change_out_of_time_may_end_later(void **state)
{
    (void)state;
    ask(api_member_remove, NULL, "n2", "");
    rq.wait_until_ms = 0;
    answers(504, "outcome_unknown");
    asked->done(asked, 0, "");
    waits_run(&waits, 1000); /* frees it: the sanitizer looks */
    assert_int_equal(rq.status, 504);
}

static void what_is_no_action_is_not_asked(void **state)
{
    static const char *const bodies[] = {"{\"action\":\"delete\"}", "{}",
                                         "{\"action\":1}", "", "[]"};
    char longest[HTTP_NAME_LENGTH_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        ask(api_member_change, &member_schema, "n2", bodies[i]);
        answers(400, "\"invalid\"");
        tear_down(NULL);
        set_up(NULL);
    }
    memset(longest, 'n', HTTP_NAME_LENGTH_MAX);
    longest[HTTP_NAME_LENGTH_MAX] = '\0';
    ask(api_member_remove, NULL, longest, "");
    answers(404, "\"not_found\"");
    assert_null(asked);
}

static void draining_is_begun_and_taken_back(void **state)
{
    (void)state;
    ask(api_drain, &drain_schema, "", "{\"drain\":true}");
    answers(200, "\"draining\":true");
    assert_int_equal(drained, 1);
    tear_down(NULL);
    set_up(NULL);
    ask(api_drain, &drain_schema, "", "{\"drain\":false}");
    answers(200, "\"draining\":false");
    assert_int_equal(drained, 0);
    tear_down(NULL);
    set_up(NULL);
    ask(api_drain, &drain_schema, "", "{}");
    answers(400, "drain");
    assert_int_equal(drained, -1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_promotion_is_answered_when_it_is_in_force),
        CASE(demotion_and_removal_and_transfer_are_told_apart),
        CASE(a_refusal_carries_the_leaders_reason),
        CASE(a_change_out_of_time_may_end_later),
        CASE(what_is_no_action_is_not_asked),
        CASE(draining_is_begun_and_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
