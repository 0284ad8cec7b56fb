/* The resolver over name servers that do not answer until they are told to. */
#include "raft/resolver.h"

#include "raft/replica.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { ASKED_MAX = 32, PATIENCE_S = 20 };

static struct resolver *r;
static sem_t answered; /* the resolver's wake */

/* --- the name servers: "slow…" waits, every name is at 10.0.0.1 ----------- */

static sem_t release;
static atomic_int calls, ended;

int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **out);
void __wrap_freeaddrinfo(struct addrinfo *list);

int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **out)
{
    (void)port;
    (void)hints;
    atomic_fetch_add(&calls, 1);
    if (strncmp(host, "slow", 4) == 0)
        while (sem_wait(&release) != 0)
            continue;
    struct addrinfo *a = calloc(1, sizeof *a + sizeof(struct sockaddr_in));
    struct sockaddr_in *to = (void *)(a + 1);
    *to = (struct sockaddr_in){.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(0x0a000001)};
    a->ai_family = AF_INET;
    a->ai_addr = (void *)to;
    a->ai_addrlen = sizeof *to;
    *out = a;
    atomic_fetch_add(&ended, 1);
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    free(list);
}

static void release_slow(int count)
{
    for (int i = 0; i < count; i++)
        sem_post(&release);
}

/* --- who asks ------------------------------------------------------------- */

struct asker {
    struct lookup *lookup; /* NULL: answered, or given up */
    uint16_t port;         /* of the answer; 0: none */
};

static struct asker askers[ASKED_MAX];

static void on_done(struct lookup *lookup, void *arg)
{
    struct asker *a = arg;
    assert_int_equal(lookup->count, 1);
    assert_int_equal(lookup->addresses[0].ss_family, AF_INET);
    a->port = ntohs(((struct sockaddr_in *)&lookup->addresses[0])->sin_port);
    a->lookup = NULL;
}

static void ask(size_t i, const char *address)
{
    struct asker *a = &askers[i];
    a->port = 0;
    a->lookup = calloc(1, sizeof *a->lookup);
    assert_non_null(a->lookup);
    assert_int_equal(lookup_parse(address, a->lookup), 0);
    a->lookup->done = on_done;
    a->lookup->arg = a;
    resolver_ask(r, a->lookup);
}

static void give_up(size_t i)
{
    resolver_cancel(r, askers[i].lookup);
    askers[i].lookup = NULL;
}

/* Until the @i-th has its answer. */
static void await(size_t i)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    for (; askers[i].port == 0; resolver_collect(r))
        assert_int_equal(sem_timedwait(&answered, &until), 0);
}

static void await_count(atomic_int *counter, int count)
{
    for (int i = 0; i < PATIENCE_S * 200 && atomic_load(counter) < count; i++)
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    assert_int_equal(atomic_load(counter), count);
}

static void wake(void *arg)
{
    sem_post(arg);
}

static int set_up(void **state)
{
    (void)state;
    struct errmsg e;
    memset(askers, 0, sizeof askers);
    sem_init(&answered, 0, 0);
    sem_init(&release, 0, 0);
    atomic_store(&calls, 0);
    atomic_store(&ended, 0);
    return resolver_start(&r, wake, &answered, &e);
}

static int tear_down(void **state)
{
    (void)state;
    resolver_stop(r);
    return 0;
}

/* --- cases ---------------------------------------------------------------- */

static void a_name_that_is_slow_holds_no_other_up(void **state)
{
    (void)state;
    ask(0, "slow:1");
    ask(1, "quick:2");
    await(1);
    assert_int_equal(askers[1].port, 2);
    assert_int_equal(askers[0].port, 0);
    release_slow(1);
    await(0);
    assert_int_equal(askers[0].port, 1);
}

static void a_name_is_asked_for_once_at_a_time(void **state)
{
    (void)state;
    ask(0, "slow:1");
    ask(1, "slow:2");
    ask(2, "slow:1");
    release_slow(1);
    for (size_t i = 0; i < 3; i++)
        await(i);
    assert_int_equal(atomic_load(&calls), 1);
    assert_int_equal(askers[0].port, 1);
    assert_int_equal(askers[1].port, 2);
    ask(0, "slow:3");
    release_slow(1);
    await(0);
    assert_int_equal(atomic_load(&calls), 2);
}

/* A dial gives up before a name server that takes 8 s; the next one has the
 * answer, and nothing piles up. */
static void who_gave_up_is_forgotten_and_who_asks_next_is_answered(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        ask(0, "slow:1");
        give_up(0);
    }
    ask(1, "slow:2");
    release_slow(1);
    await(1);
    assert_int_equal(askers[0].port, 0);
    assert_int_equal(atomic_load(&calls), 1);
}

static void only_so_many_names_are_asked_for_at_a_time(void **state)
{
    (void)state;
    enum { COUNT = PEERS_MAX + 3 };
    char name[32];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "slow%zu:1", i);
        ask(i, name);
    }
    await_count(&calls, PEERS_MAX);
    nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    assert_int_equal(atomic_load(&calls), PEERS_MAX);
    release_slow(COUNT);
    for (size_t i = 0; i < COUNT; i++)
        await(i);
    assert_int_equal(atomic_load(&calls), COUNT);
}

static void a_stop_waits_for_no_name_server(void **state)
{
    (void)state;
    struct errmsg e;
    ask(0, "slow:1");
    ask(1, "slower:1");
    ask(2, "quick:1");
    await_count(&ended, 1); /* an answer that nobody takes */
    resolver_stop(r);
    assert_int_equal(resolver_start(&r, wake, &answered, &e), 0);
    release_slow(2);
    await_count(&ended, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(askers[i].port, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(a_name_that_is_slow_holds_no_other_up),
        CASE(a_name_is_asked_for_once_at_a_time),
        CASE(who_gave_up_is_forgotten_and_who_asks_next_is_answered),
        CASE(only_so_many_names_are_asked_for_at_a_time),
        CASE(a_stop_waits_for_no_name_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
