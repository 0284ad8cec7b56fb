/* A session on the disk, from look to look: the agent dies, the machine dies in
 * the middle of any system call, any one call fails, and whatever happens each
 * byte counts once. The calls are wrapped by the linker
 * (gateway/CMakeLists.txt). */
#include "gateway/session_disk.h"
#include "gateway/test/cluster_model.h"
#include "gateway/test/interface.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WINDOW = 4, START_MS = 1000000, PEERS_MADE = 4, SPOOL_MAX = 1 << 20 };

/* --- calls that fail ------------------------------------------------------ */

/* Calls until one fails; 0 = never. With `dead` all that follow fail too, and
 * of what is written then a part gets there. */
static unsigned calls_left;
static bool dead_after, dead, has_failed;

static bool fails_now(void)
{
    if (dead)
        return true;
    if (calls_left == 0 || --calls_left > 0)
        return false;
    has_failed = true;
    dead = dead_after;
    errno = EIO;
    return true;
}

#define WRAP(name, parameters, arguments)                                      \
    int __real_##name parameters;                                              \
    int __wrap_##name parameters;                                              \
    int __wrap_##name parameters                                               \
    {                                                                          \
        return fails_now() ? -1 : __real_##name arguments;                     \
    }

WRAP(ftruncate, (int fd, off_t size), (fd, size))
WRAP(unlink, (const char *name), (name))
WRAP(rename, (const char *from, const char *to), (from, to))

/* Only what makes a file can fail. */
int __real_open(const char *name, int flags, ...);
int __wrap_open(const char *name, int flags, ...);
int __wrap_open(const char *name, int flags, ...)
{
    return (flags & O_CREAT) != 0 && fails_now()
               ? -1
               : __real_open(name, flags, 0600);
}

/* Nothing is synced in truth: what has been written is what there is. */
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    (void)fd;
    return fails_now() ? -1 : 0;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return __wrap_fdatasync(fd);
}

ssize_t __real_pwrite(int fd, const void *data, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t at)
{
    bool was_dead = dead;
    if (!fails_now())
        return __real_pwrite(fd, data, size, at);
    if (!was_dead && size > 1)
        (void)!__real_pwrite(fd, data, size / 2, at);
    errno = ENOSPC;
    return -1;
}

/* --- the agent, its interface, the cluster -------------------------------- */

static const uint8_t machine[16] = "machine";
static char path[64];
static struct spool_dir dir;
static struct session session;
static struct cluster_model cluster;
static uint64_t now_ms;
static struct errmsg error;

struct world {
    unsigned seed, life;
    uint64_t upload[PEERS_MADE], download[PEERS_MADE];
    uint64_t moved[PEERS_MADE]; /* uploads since the agent's first look */
    bool there[PEERS_MADE];
};

static struct world world;

static int start_agent(void)
{
    session_init(&session, machine, now_ms, SPOOL_MAX, 1000);
    int rv = spool_dir_open(&dir, path, SPOOL_MAX, "gw", machine, &error);
    return rv == 0 ? session_resume(&session, &dir, &error) : rv;
}

/* As kill -9 does it. */
static void stop_agent(void)
{
    session_deinit(&session);
    spool_dir_close(&dir);
}

static int fresh(void **state)
{
    (void)state;
    calls_left = 0;
    dead = dead_after = has_failed = false;
    now_ms = START_MS;
    cluster = (struct cluster_model){0};
    world = (struct world){
        .seed = 1, .life = 1, .there = {true, true}, .upload = {5, 5}};
    snprintf(path, sizeof path, "/tmp/holdfast-session-XXXXXX");
    return mkdtemp(path) == NULL ? -1 : start_agent();
}

static int clean(void **state)
{
    (void)state;
    calls_left = 0;
    dead = false;
    stop_agent();
    return durable_remove(path, &error);
}

static int restart(void)
{
    stop_agent();
    now_ms += 1000;
    return start_agent();
}

/* 0, or why the session was given up. */
static int look(void)
{
    struct made_peer peers[PEERS_MADE + 1];
    int renewed;
    int n = 0;
    for (int p = 0; p < PEERS_MADE; p++)
        if (world.there[p])
            peers[n++] = (struct made_peer){(char)('a' + p), world.upload[p],
                                            world.download[p]};
    peers[n].name = 0;
    struct wg_interface i = make_interface(world.life, peers);
    now_ms += 1000;
    assert_int_equal(session_tick(&session, &i, now_ms, &renewed, NULL, NULL),
                     0);
    wg_interface_deinit(&i);
    return renewed;
}

static unsigned draw(unsigned below)
{
    world.seed = world.seed * 1664525u + 1013904223u;
    return (world.seed >> 16) % below;
}

static void traffic(bool counts)
{
    for (int p = 0; p < PEERS_MADE; p++)
        if (world.there[p]) {
            uint64_t up = 1 + draw(5);
            world.upload[p] += up;
            world.download[p] += draw(3);
            world.moved[p] += counts ? up : 0;
        }
}

/* The interface is made anew, or a peer is added. */
static void begin_something(void)
{
    int p = (int)draw(PEERS_MADE);
    if (draw(2) == 0) {
        world.life++;
        memset(world.upload, 0, sizeof world.upload);
        memset(world.download, 0, sizeof world.download);
    } else if (!world.there[p]) {
        world.there[p] = true;
        world.upload[p] = world.download[p] = 0;
    }
}

/* Up to @count batches arrive; of some the acknowledgement comes back. */
static void send_some(unsigned count, bool all)
{
    struct bytes batch;
    uint64_t sequence, number;
    while (count-- > 0 && session_next(&session, WINDOW, &batch)) {
        switch (cluster_model_apply(&cluster, batch, &sequence, &number)) {
        case MODEL_TAKEN:
        case MODEL_DUPLICATE:
            if (all || draw(2) == 0)
                assert_int_equal(session_acknowledged(&session, sequence), 0);
            break;
        case MODEL_GAP:
            assert_int_not_equal(
                session_refused(&session, REFUSAL_GAP, number, now_ms),
                SESSION_OVER);
            return;
        case MODEL_SUPERSEDED:
            assert_int_not_equal(
                session_refused(&session, REFUSAL_SUPERSEDED, number, now_ms),
                SESSION_OVER);
            return;
        }
    }
}

static void drain(void)
{
    for (int i = 0; i < 10 && !(session_is_drained(&session) &&
                                session.state == SESSION_LIVE);
         i++) {
        if (session.state == SESSION_RENEWED)
            look();
        session_stream_opened(&session);
        send_some(10000, true);
    }
    assert_true(session_is_drained(&session));
}

static void assert_exact(const char *what, unsigned seed)
{
    for (int p = 0; p < PEERS_MADE; p++)
        if (cluster.peers['a' + p].counted_upload != world.moved[p])
            fail_msg("%s %u, peer %d: counted %llu, moved %llu", what, seed, p,
                     (unsigned long long)cluster.peers['a' + p].counted_upload,
                     (unsigned long long)world.moved[p]);
}

/* --- going on ------------------------------------------------------------- */

static void a_restarted_agent_goes_on_with_its_session(void **state)
{
    struct bytes batch;
    struct report_batch decoded;
    static struct stat_report peers[REPORT_PEERS_MAX];
    (void)state;
    for (int i = 0; i < 3; i++) {
        look();
        traffic(true);
    }
    session_stream_opened(&session);
    assert_true(session_next(&session, WINDOW, &batch));
    assert_int_equal(session_acknowledged(&session, 1), 0);
    look();
    assert_int_equal(restart(), 0);
    assert_true(session.resumed && session.id == START_MS);
    assert_true(session.acknowledged == 1 && session.spool.count == 3);
    /* The batches are the very same, with the times of their looks. */
    for (uint64_t n = 2; n <= 4; n++) {
        decoded.peers = peers;
        assert_true(spool_get(&session.spool, n, &batch));
        assert_int_equal(report_batch_decode(batch, &decoded, &error), 0);
        assert_true(decoded.sampled_at_ms == START_MS + n * 1000);
    }
    look();
    assert_true(spool_next_sequence(&session.spool) == 6);
}

static void the_first_look_after_a_restart_says_all_peers(void **state)
{
    struct bytes batch;
    static struct stat_report peers[REPORT_PEERS_MAX];
    struct report_batch decoded = {.peers = peers};
    (void)state;
    look();
    assert_int_equal(restart(), 0);
    look();
    assert_true(spool_get(&session.spool, 2, &batch));
    assert_int_equal(report_batch_decode(batch, &decoded, &error), 0);
    assert_int_equal(decoded.peer_count, 2);
    assert_false(peers[0].from_zero);
}

static void what_began_while_the_agent_was_away_counts_in_full(void **state)
{
    (void)state;
    look();
    traffic(true);
    look();
    stop_agent();
    world.life++; /* all are made anew, and pass their old counters */
    for (int p = 0; p < 2; p++) {
        world.upload[p] = 100;
        world.moved[p] += 100;
    }
    world.there[2] = true;
    world.upload[2] = 30;
    world.moved[2] += 30;
    assert_int_equal(start_agent(), 0);
    look();
    drain();
    assert_exact("away", 0);
}

static void a_peer_that_was_removed_is_new_when_it_comes_back(void **state)
{
    (void)state;
    look();
    world.there[1] = false;
    look();
    assert_int_equal(restart(), 0);
    world.there[1] = true;
    world.upload[1] = 50; /* above what it had */
    world.moved[1] += 50;
    look();
    drain();
    assert_exact("removed", 0);
}

static void sent_and_not_said_again(bool with_stream)
{
    struct bytes batch;
    uint64_t sequence, number;
    look();
    drain();
    world.there[2] = true;
    world.upload[2] = 9;
    world.moved[2] += 9;
    if (!with_stream)
        session.stream_first = 0;
    look();
    if (!with_stream)
        session_stream_opened(&session);
    assert_true(session_next(&session, WINDOW, &batch)); /* and it is taken */
    assert_int_equal(cluster_model_apply(&cluster, batch, &sequence, &number),
                     MODEL_TAKEN);
    assert_int_equal(restart(), 0);
    assert_int_equal(session_refused(&session, REFUSAL_MALFORMED, 0, now_ms),
                     SESSION_RENEWED);
    look();
    drain();
    assert_exact("sent", 0);
}

static void a_beginning_that_was_sent_is_not_said_again(void **state)
{
    (void)state;
    sent_and_not_said_again(true);
}

static void a_beginning_that_was_sent_later_is_not_either(void **state)
{
    (void)state;
    sent_and_not_said_again(false);
}

static void a_beginning_that_was_never_sent_is_said_again(void **state)
{
    (void)state;
    look();
    drain();
    session.stream_first = 0; /* no stream */
    traffic(true);
    look();
    world.there[2] = true;
    world.upload[2] = 9;
    world.moved[2] += 9;
    look();
    assert_int_equal(restart(), 0);
    assert_int_equal(session_refused(&session, REFUSAL_MALFORMED, 0, now_ms),
                     SESSION_RENEWED);
    look();
    drain();
    assert_exact("unsent", 0);
}

static void a_resumed_agent_gives_way_to_a_larger_session_once(void **state)
{
    (void)state;
    look();
    drain();
    assert_int_equal(restart(), 0);
    look();
    assert_int_equal(
        session_refused(&session, REFUSAL_SUPERSEDED, START_MS * 2, now_ms),
        SESSION_RENEWED);
    assert_true(session.id == START_MS * 2 + 1);
    look();
    assert_int_equal(
        session_refused(&session, REFUSAL_SUPERSEDED, START_MS * 3, now_ms),
        SESSION_OVER);
}

/* A byte of the first segment of the first session. */
static void overwrite(long at, int byte)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%016llx-%016llx.spool", path,
             (unsigned long long)START_MS, 1ull);
    FILE *f = fopen(name, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte, f), byte);
    fclose(f);
}

static void a_newer_versions_spool_is_left_as_it_is(void **state)
{
    enum { FORMAT_AT = 7 };
    (void)state;
    look();
    overwrite(FORMAT_AT, 2);
    assert_int_equal(restart(), ERR_NEWER);
    assert_non_null(strstr(error.text, "newer version"));
    overwrite(FORMAT_AT, 1);
    assert_int_equal(restart(), 0);
    assert_true(session.resumed && session.spool.count == 1);
}

static void damage_makes_a_new_session_and_loses_no_byte(void **state)
{
    (void)state;
    look();
    drain();
    for (int i = 0; i < 4; i++) {
        traffic(true);
        look();
    }
    overwrite(60, 0xff);
    uint64_t old = session.id;
    assert_int_equal(restart(), ERR_CORRUPT);
    assert_non_null(strstr(error.text, "damaged at byte"));
    assert_true(session.id > old && session.state == SESSION_RENEWED);
    look();
    drain();
    assert_exact("damage", 0);
    assert_int_equal(restart(), 0);
    assert_true(session.resumed);
}

static void a_full_spool_on_disk_begins_a_new_session(void **state)
{
    bool renewed = false;
    (void)state;
    dir.bytes_max = 64 * 1024;
    for (int i = 0; i < 5000 && !renewed; i++) {
        traffic(i > 0);
        renewed = look() == ERR_LIMIT;
        assert_true(dir.bytes <= dir.bytes_max);
    }
    assert_true(renewed);
    drain();
    /* Batch 1 was lost with the rest: the baseline is the new session's. */
    for (int p = 0; p < PEERS_MADE; p++)
        world.moved[p] = 0;
    traffic(true);
    look();
    drain();
    assert_exact("full", 0);
}

static void a_full_disk_that_breaks_ends_no_agent(void **state)
{
    (void)state;
    look();
    drain();
    for (int i = 0; i < 5; i++) {
        traffic(true);
        look();
    }
    dir.bytes_max = dir.bytes;
    calls_left = 2; /* the new session's file is made, and no more */
    dead_after = true;
    traffic(true);
    assert_int_equal(look(), ERR_CLOSED);
    assert_int_equal(session.disk_state, DISK_FAILED);
    drain();
    assert_exact("full and broken", 0);
}

static void a_spool_that_cannot_hold_one_look_says_so_and_lives(void **state)
{
    struct wg_interface i = {.peer_count = 0};
    int renewed;
    (void)state;
    dir.bytes_max = 64;
    assert_int_equal(session_tick(&session, &i, now_ms, &renewed, NULL, NULL),
                     ERR_LIMIT);
    assert_int_equal(session.state, SESSION_RENEWED);
    dir.bytes_max = SPOOL_MAX;
    look();
    drain();
}

/* --- failures ------------------------------------------------------------- */

static void a_failed_disk_is_told_and_tried_again_when_all_is_sent(void **state)
{
    (void)state;
    look();
    drain();
    calls_left = 1;
    traffic(true);
    look();
    assert_int_equal(session.disk_state, DISK_FAILED);
    assert_non_null(strstr(session.disk_error.text, path));
    traffic(true);
    look(); /* one waits: not yet */
    assert_int_equal(session.disk_state, DISK_FAILED);
    drain();
    traffic(true);
    look();
    assert_int_equal(session.disk_state, DISK_KEPT);
    assert_int_equal(restart(), 0);
    assert_true(session.resumed);
    drain();
    assert_exact("tried", 0);
}

static void after_a_failure_a_restart_begins_a_new_session(void **state)
{
    (void)state;
    look();
    drain();
    uint64_t old = session.id;
    traffic(true);
    calls_left = 1;
    look();
    traffic(true);
    look();
    session_stream_opened(&session);
    send_some(1, true); /* a number that the disk does not know */
    assert_int_equal(restart(), 0);
    assert_false(session.resumed);
    assert_true(session.id > old);
    look();
    drain();
    assert_exact("memory", 0);
}

static void a_disk_that_became_read_only_is_done_without(void **state)
{
    bool full = false;
    (void)state;
    look();
    drain();
    dead = true;
    traffic(true);
    assert_int_equal(look(), ERR_CLOSED); /* it has some of that session */
    drain();
    for (int i = 0; i < 5; i++) {
        traffic(true);
        assert_int_equal(look(), 0);
        drain();
    }
    session.spool.bytes_max = 1000; /* and no node is there */
    for (int i = 0; i < 50; i++) {
        traffic(true);
        int renewed = look();
        assert_true(renewed == 0 || renewed == ERR_LIMIT);
        full = full || renewed == ERR_LIMIT;
    }
    assert_true(full);
    dead = false;
    drain();
    traffic(true);
    look();
    assert_int_equal(session.disk_state, DISK_KEPT);
    assert_int_equal(restart(), 0);
    assert_true(session.resumed);
    drain();
    assert_exact("read only", 0);
}

/* Life for @steps looks; without resets whatever is given up loses nothing. */
static void live(unsigned steps, bool resets)
{
    for (unsigned i = 0; i < steps && !dead; i++) {
        traffic(true);
        look();
        /* What moved since the last look that was saved is lost by nature if
         * there is a reset now. */
        if (resets && !dead && draw(5) == 0) {
            begin_something();
            look();
        }
        if (draw(3) == 0)
            session_stream_opened(&session);
        if (!dead)
            send_some(draw(6), false);
    }
}

static void every_call_fails_once_and_each_byte_counts_once(void **state)
{
    (void)state;
    unsigned call = 0;
    for (has_failed = true; has_failed;) {
        clean(NULL);
        fresh(NULL);
        world.seed = call + 1;
        look();
        drain(); /* the baseline is known */
        calls_left = ++call;
        live(30, true);
        calls_left = 0;
        drain();
        assert_exact("call", call);
    }
    assert_true(call > 50);
}

static void after_any_failed_call_the_agent_may_die(void **state)
{
    (void)state;
    unsigned call = 0;
    for (has_failed = true; has_failed;) {
        clean(NULL);
        fresh(NULL);
        world.seed = call + 1;
        look();
        drain();
        calls_left = ++call;
        live(20, false);
        calls_left = 0;
        assert_int_equal(restart(), 0);
        live(5, false);
        drain();
        assert_exact("failed call and death", call);
    }
    assert_true(call > 30);
}

/* Of what the disk has then, nothing may be counted as something else. */
static void lives_and_dies_on_a_broken_disk(bool after_a_failure)
{
    unsigned call = 0;
    for (has_failed = true; has_failed;) {
        clean(NULL);
        fresh(NULL);
        world.seed = call + 1;
        look();
        drain();
        if (after_a_failure) {
            calls_left = 1;
            traffic(true);
            look();
            drain();
        }
        has_failed = false;
        calls_left = ++call;
        dead_after = true;
        unsigned renewed = 0;
        for (int i = 0; i < 8; i++) {
            traffic(true);
            renewed += look() != 0;
            drain();
        }
        assert_in_range(renewed, 0, 1);
        calls_left = 0;
        dead = false;
        assert_int_equal(restart(), 0);
        traffic(true);
        look();
        drain();
        assert_exact("broken at call", call);
    }
    assert_true(call > 20);
}

static void a_disk_may_break_for_good_at_any_call(void **state)
{
    (void)state;
    lives_and_dies_on_a_broken_disk(false);
}

static void a_disk_may_break_for_good_when_it_is_tried_again(void **state)
{
    (void)state;
    lives_and_dies_on_a_broken_disk(true);
}

/* The disk has what the calls before have done, and half of the write that was
 * under way. Resets of every kind happen, also meanwhile. */
static void the_machine_may_die_at_any_call(void **state)
{
    (void)state;
    unsigned call = 0;
    for (has_failed = true; has_failed;) {
        clean(NULL);
        fresh(NULL);
        world.seed = call + 1;
        look();
        drain();
        calls_left = ++call;
        dead_after = true;
        live(40, true);
        calls_left = 0;
        dead = dead_after = false;
        int rv = restart();
        if (rv != 0)
            fail_msg("call %u: %s", call, error.text);
        assert_true(session.resumed);
        live(5, true);
        drain();
        assert_exact("death at call", call);
    }
    assert_true(call > 50);
}

static void killed_over_and_over_each_byte_counts_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 50; seed++) {
        clean(NULL);
        fresh(NULL);
        world.seed = seed;
        look();
        for (int kill = 0; kill < 20; kill++) {
            live(1 + draw(8), true);
            if (draw(2) == 0)
                begin_something();
            assert_int_equal(restart(), 0);
            assert_true(session.resumed && session.id == START_MS);
        }
        look();
        drain();
        assert_exact("seed", seed);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, clean)
    const struct CMUnitTest tests[] = {
        CASE(a_restarted_agent_goes_on_with_its_session),
        CASE(the_first_look_after_a_restart_says_all_peers),
        CASE(what_began_while_the_agent_was_away_counts_in_full),
        CASE(a_peer_that_was_removed_is_new_when_it_comes_back),
        CASE(a_beginning_that_was_sent_is_not_said_again),
        CASE(a_beginning_that_was_sent_later_is_not_either),
        CASE(a_beginning_that_was_never_sent_is_said_again),
        CASE(a_resumed_agent_gives_way_to_a_larger_session_once),
        CASE(a_newer_versions_spool_is_left_as_it_is),
        CASE(damage_makes_a_new_session_and_loses_no_byte),
        CASE(a_full_spool_on_disk_begins_a_new_session),
        CASE(a_full_disk_that_breaks_ends_no_agent),
        CASE(a_spool_that_cannot_hold_one_look_says_so_and_lives),
        CASE(a_failed_disk_is_told_and_tried_again_when_all_is_sent),
        CASE(after_a_failure_a_restart_begins_a_new_session),
        CASE(a_disk_that_became_read_only_is_done_without),
        CASE(every_call_fails_once_and_each_byte_counts_once),
        CASE(after_any_failed_call_the_agent_may_die),
        CASE(a_disk_may_break_for_good_at_any_call),
        CASE(a_disk_may_break_for_good_when_it_is_tried_again),
        CASE(the_machine_may_die_at_any_call),
        CASE(killed_over_and_over_each_byte_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
