/* The round of who is heard, against a log that the test plays. What apply does
 * with it is in store/test. */
#include "node/presence.h"
#include "store/cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MINUTE ((uint64_t)28333334)

enum { SUBMITTED_MAX = 16 };

struct play {
    struct ingest ingest;
    struct proposal *submitted[SUBMITTED_MAX]; /* barriers and presences */
    size_t count;
    uint64_t log_time_ms;
    struct barrier barrier;
    struct presence_round presence;
    uint32_t heard[4]; /* 0: nobody */
};

static void keep(struct ingest *ingest, struct proposal *p)
{
    struct play *play = CONTAINER_OF(ingest, struct play, ingest);
    assert_true(play->count < SUBMITTED_MAX);
    play->submitted[play->count++] = p;
}

static uint64_t played_time(struct ingest *ingest)
{
    return CONTAINER_OF(ingest, struct play, ingest)->log_time_ms;
}

static void listen_to_play(struct presence_round *p)
{
    struct play *play = CONTAINER_OF(p, struct play, presence);
    for (size_t i = 0; i < 4; i++)
        presence_add(p, play->heard[i]);
}

static int set_up(void **state)
{
    struct play *play = calloc(1, sizeof *play);
    assert_non_null(play);
    play->ingest = (struct ingest){.submit = keep,
                                   .log_time_ms = played_time,
                                   .has_leader = true,
                                   .now_ms = 1000};
    play->log_time_ms = MINUTE * MINUTE_MS + 20000;
    assert_int_equal(barrier_init(&play->barrier, &play->ingest), 0);
    presence_init(&play->presence, &play->ingest, &play->barrier,
                  listen_to_play);
    *state = play;
    return 0;
}

static int tear_down(void **state)
{
    struct play *play = *state;
    presence_deinit(&play->presence);
    barrier_deinit(&play->barrier);
    free(play);
    return 0;
}

static void settle(struct play *play, int status, enum outcome_code code)
{
    struct proposal *p = play->submitted[play->count - 1];
    p->submission.outcome = (struct outcome){.code = code, .index = 7};
    p->settled(p, status);
}

/* As the grpc thread does it, a while later. */
static void turn(struct play *play, uint64_t ms)
{
    play->ingest.now_ms += ms;
    play->log_time_ms += ms;
    presence_pump(&play->presence);
    barrier_pump(&play->barrier, 100);
}

static void pass_barrier(struct play *play)
{
    settle(play, 0, OUTCOME_TAKEN);
    assert_true(barrier_pump(&play->barrier, 100));
    presence_pump(&play->presence);
}

/* What the last submission says, as "minute: id id". */
static void assert_told(struct play *play, const char *expected)
{
    char text[128];
    struct reader records =
        reader_of(play->submitted[play->count - 1]->submission.record);
    struct record record;
    struct presence_reader r;
    uint32_t gateway;
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record.kind, RECORD_PRESENCE);
    assert_int_equal(presence_open(&r, &record), 0);
    int length = snprintf(text, sizeof text, "+%d:", (int)(r.minute - MINUTE));
    while (presence_next(&r, &gateway) == 1)
        length += snprintf(text + length, sizeof text - (size_t)length, " %u",
                           (unsigned)gateway);
    assert_string_equal(text, expected);
}

static void who_is_heard_is_told_in_order_and_once(void **state)
{
    struct play *play = *state;
    memcpy(play->heard, (uint32_t[]){9, 0, 4, 9}, sizeof play->heard);
    turn(play, 0);
    assert_int_equal(play->count, 1); /* the barrier, and nothing else */
    pass_barrier(play);
    assert_int_equal(play->count, 2);
    assert_told(play, "+0: 4 9");
    settle(play, 0, OUTCOME_TAKEN);
}

static void the_minute_and_the_list_are_those_after_the_barrier(void **state)
{
    struct play *play = *state;
    play->heard[0] = 4;
    turn(play, 0);
    play->log_time_ms += 3 * MINUTE_MS; /* the log was far ahead of us */
    play->heard[0] = 5;
    pass_barrier(play);
    assert_told(play, "+3: 5");
    settle(play, 0, OUTCOME_TAKEN);
}

static void nobody_is_no_record_and_no_barrier(void **state)
{
    struct play *play = *state;
    for (int i = 0; i < 300; i++)
        turn(play, 1000);
    assert_int_equal(play->count, 0);
    play->heard[1] = 3;
    turn(play, 1000); /* and the first one does not wait a minute */
    pass_barrier(play);
    assert_told(play, "+5: 3");
    settle(play, 0, OUTCOME_TAKEN);
}

static void once_in_the_middle_of_every_minute(void **state)
{
    struct play *play = *state;
    play->heard[0] = 4;
    turn(play, 0);
    pass_barrier(play);
    settle(play, 0, OUTCOME_TAKEN); /* 20 s into the minute */
    turn(play, 69000);
    assert_int_equal(play->count, 2);
    turn(play, 1000);
    assert_int_equal(play->count, 3);
    pass_barrier(play);
    assert_told(play, "+1: 4");
    settle(play, 0, OUTCOME_TAKEN);
    turn(play, 59000);
    assert_int_equal(play->count, 4);
    turn(play, 1000);
    assert_int_equal(play->count, 5);
    pass_barrier(play);
    assert_told(play, "+2: 4");
    settle(play, 0, OUTCOME_TAKEN);
}

/* A record of unknown outcome is not sent again: it might arrive in a minute in
 * which this node hears nobody. */
static void what_did_not_arrive_is_made_anew_soon(void **state)
{
    struct play *play = *state;
    const struct {
        int status;
        enum outcome_code code;
    } failures[] = {{ERR_UNKNOWN, 0}, {ERR_AGAIN, 0}, {0, OUTCOME_DUPLICATE}};
    play->heard[0] = 4;
    turn(play, 0);
    for (size_t i = 0; i < 3; i++) {
        pass_barrier(play);
        play->heard[0] = 5;
        settle(play, failures[i].status, failures[i].code);
        size_t count = play->count;
        turn(play, PRESENCE_AGAIN_MS - 1);
        assert_int_equal(play->count, count);
        turn(play, 1);
        assert_int_equal(play->count, count + 1); /* a barrier first */
    }
    pass_barrier(play);
    assert_told(play, "+0: 5");
    settle(play, 0, OUTCOME_TAKEN);
}

static void without_a_leader_nobody_is_asked(void **state)
{
    struct play *play = *state;
    play->heard[0] = 4;
    play->ingest.has_leader = false;
    turn(play, 120000);
    assert_int_equal(play->count, 0);
    play->ingest.has_leader = true;
    turn(play, 0);
    pass_barrier(play);
    assert_told(play, "+2: 4");
    settle(play, 0, OUTCOME_TAKEN);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(who_is_heard_is_told_in_order_and_once),
        CASE(the_minute_and_the_list_are_those_after_the_barrier),
        CASE(nobody_is_no_record_and_no_barrier),
        CASE(once_in_the_middle_of_every_minute),
        CASE(what_did_not_arrive_is_made_anew_soon),
        CASE(without_a_leader_nobody_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
