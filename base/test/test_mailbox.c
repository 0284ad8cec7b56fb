#include "base/mailbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PRODUCERS = 4, LETTERS = 20000 };

struct note {
    struct letter letter;
    int producer, number;
};

struct fixture {
    struct mailbox box;
    _Atomic int wakes;
    struct note notes[PRODUCERS][LETTERS];
};

static struct fixture f;

static void count_wake(void *arg)
{
    struct fixture *fixture = arg;
    fixture->wakes++;
}

static void a_drained_batch_costs_one_wake_and_keeps_its_order(void **state)
{
    (void)state;
    mailbox_init(&f.box, count_wake, &f);
    f.wakes = 0;
    for (int i = 0; i < 3; i++) {
        f.notes[0][i].number = i;
        mailbox_push(&f.box, &f.notes[0][i].letter);
    }
    assert_int_equal(f.wakes, 1);
    int expected = 0;
    for (struct letter *l = mailbox_take(&f.box); l != NULL; l = l->next)
        assert_int_equal(CONTAINER_OF(l, struct note, letter)->number,
                         expected++);
    assert_int_equal(expected, 3);
    assert_null(mailbox_take(&f.box));
    mailbox_push(&f.box, &f.notes[0][0].letter);
    assert_int_equal(f.wakes, 2);
}

static void *produce(void *arg)
{
    struct note *notes = arg;
    for (int i = 0; i < LETTERS; i++)
        mailbox_push(&f.box, &notes[i].letter);
    return NULL;
}

static void
nothing_is_lost_between_many_producers_and_one_consumer(void **state)
{
    (void)state;
    mailbox_init(&f.box, NULL, NULL);
    pthread_t threads[PRODUCERS];
    for (int p = 0; p < PRODUCERS; p++) {
        for (int i = 0; i < LETTERS; i++)
            f.notes[p][i] = (struct note){.producer = p, .number = i};
        pthread_create(&threads[p], NULL, produce, f.notes[p]);
    }
    int next[PRODUCERS] = {0}, total = 0;
    while (total < PRODUCERS * LETTERS)
        for (struct letter *l = mailbox_take(&f.box); l != NULL; l = l->next) {
            struct note *note = CONTAINER_OF(l, struct note, letter);
            assert_int_equal(note->number, next[note->producer]++);
            total++;
        }
    for (int p = 0; p < PRODUCERS; p++)
        pthread_join(threads[p], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drained_batch_costs_one_wake_and_keeps_its_order),
        cmocka_unit_test(
            nothing_is_lost_between_many_producers_and_one_consumer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
