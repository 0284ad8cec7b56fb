/* libraft is started on directories that seed_write made, and goes on. */
#define _GNU_SOURCE /* nftw */
#include "raft/seed.h"

#include "raft/disk_log.h"
#include "raft/manifest.h"

#include <raft.h>
#include <raft/uv.h>

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[64];
static struct errmsg e;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/holdfast-seed-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *s, int flag,
                      struct FTW *f)
{
    (void)s;
    (void)flag;
    (void)f;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct seed seed_of_one(void)
{
    struct seed seed = {
        .cluster_id = "the cluster's id",
        .index = 7000,
        .term = 12,
        .current_term = 13,
        .configuration_index = 6000,
        .member_count = 1,
        .members = {{.id = 99, .address = "a=localhost:1", .role = RAFT_VOTER}},
    };
    return seed;
}

/* --- libraft on that directory -------------------------------------------- */

struct server {
    uv_loop_t loop;
    struct raft_uv_transport transport;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft raft;
    struct manifest restored; /* index 0: nothing was */
    uint64_t applied[16];
    size_t applied_count;
    bool done;
};

static int on_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t;
    (void)id;
    (void)address;
    return 0;
}

static int on_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t;
    (void)cb;
    return 0;
}

static int on_connect(struct raft_uv_transport *t, struct raft_uv_connect *req,
                      raft_id id, const char *address, raft_uv_connect_cb cb)
{
    (void)t;
    (void)req;
    (void)id;
    (void)address;
    (void)cb;
    return RAFT_NOCONNECTION;
}

static void on_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
                    void **result)
{
    struct server *s = fsm->data;
    *result = NULL;
    s->applied[s->applied_count++] = le64_get(buf->base);
    return 0;
}

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                       unsigned *count)
{
    (void)fsm;
    (void)bufs;
    (void)count;
    return RAFT_BUSY;
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct server *s = fsm->data;
    assert_int_equal(
        manifest_decode((struct bytes){buf->base, buf->len}, &s->restored), 0);
    raft_free(buf->base);
    return 0;
}

static void server_start(struct server *s, uint64_t id)
{
    memset(s, 0, sizeof *s);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    s->transport = (struct raft_uv_transport){.version = 1,
                                              .init = on_init,
                                              .listen = on_listen,
                                              .connect = on_connect,
                                              .close = on_close};
    s->fsm = (struct raft_fsm){.version = 1,
                               .data = s,
                               .apply = on_apply,
                               .snapshot = on_snapshot,
                               .restore = on_restore};
    assert_int_equal(raft_uv_init(&s->io, &s->loop, dir, &s->transport), 0);
    raft_uv_set_auto_recovery(&s->io, false);
    assert_int_equal(raft_init(&s->raft, &s->io, &s->fsm, id, "a=localhost:1"),
                     0);
    s->raft.data = s;
    int rv = raft_start(&s->raft);
    if (rv != 0)
        print_message("%s\n", raft_errmsg(&s->raft));
    assert_int_equal(rv, 0);
}

static void on_raft_closed(struct raft *raft)
{
    struct server *s = raft->data;
    s->done = true;
}

static void run_until_done(struct server *s)
{
    while (!s->done)
        uv_run(&s->loop, UV_RUN_ONCE);
    s->done = false;
}

static void server_stop(struct server *s)
{
    raft_close(&s->raft, on_raft_closed);
    run_until_done(s);
    raft_uv_close(&s->io);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void on_applied(struct raft_apply *req, int status, void *result)
{
    (void)result;
    struct server *s = req->data;
    assert_int_equal(status, 0);
    s->done = true;
}

/* Returns the index that @value got. */
static uint64_t server_apply(struct server *s, uint64_t value)
{
    struct raft_buffer buf = {.base = raft_malloc(8), .len = 8};
    le64_put(buf.base, value);
    struct raft_apply req = {.data = s};
    assert_int_equal(raft_apply(&s->raft, &req, &buf, 1, on_applied), 0);
    run_until_done(s);
    return raft_last_applied(&s->raft);
}

/* --- cases ---------------------------------------------------------------- */

static void a_single_voter_goes_on_behind_its_seed_and_restarts(void **state)
{
    (void)state;
    struct seed seed = seed_of_one();
    assert_int_equal(seed_write(dir, &seed, &e), 0);
    struct server s;
    server_start(&s, 99);
    assert_int_equal(raft_state(&s.raft), RAFT_LEADER);
    assert_int_equal(s.restored.index, 7000);
    assert_memory_equal(s.restored.cluster_id, seed.cluster_id,
                        CLUSTER_ID_SIZE);
    /* An only voter leads without an election, in the term it finds. */
    assert_int_equal(raft_current_term(&s.raft), 13);
    uint64_t first = server_apply(&s, 111);
    assert_true(first > 7000);
    assert_int_equal(server_apply(&s, 222), first + 1);
    server_stop(&s);
    server_start(&s, 99);
    assert_int_equal(raft_state(&s.raft), RAFT_LEADER);
    assert_true(server_apply(&s, 333) > first + 1);
    assert_int_equal(s.applied_count, 3);
    assert_int_equal(s.applied[0], 111);
    assert_int_equal(s.applied[1], 222);
    assert_int_equal(s.applied[2], 333);
    server_stop(&s);
}

static void a_follower_knows_its_term_vote_and_members(void **state)
{
    (void)state;
    struct seed seed = seed_of_one();
    seed.current_term = 20;
    seed.voted_for = 5;
    seed.member_count = 3;
    seed.members[1] = (struct seed_member){5, "b=host.b:7600", RAFT_VOTER};
    seed.members[2] = (struct seed_member){6, "c=[::1]:7600", RAFT_STANDBY};
    assert_int_equal(seed_write(dir, &seed, &e), 0);
    struct server s;
    server_start(&s, 99);
    assert_int_equal(raft_state(&s.raft), RAFT_FOLLOWER);
    assert_int_equal(raft_current_term(&s.raft), 20);
    assert_int_equal(s.raft.voted_for, 5);
    assert_int_equal(raft_last_index(&s.raft), 7000);
    assert_int_equal(raft_last_applied(&s.raft), 7000);
    assert_int_equal(s.raft.configuration_committed_index, 6000);
    assert_int_equal(s.raft.configuration.n, 3);
    assert_int_equal(s.raft.configuration.servers[2].id, 6);
    assert_string_equal(s.raft.configuration.servers[1].address,
                        "b=host.b:7600");
    assert_int_equal(s.raft.configuration.servers[2].role, RAFT_STANDBY);
    server_stop(&s);
    struct disk_log log;
    assert_int_equal(disk_log_read(dir, &log, &e), 0);
    assert_int_equal(log.snapshot_index, 7000);
    assert_int_equal(log.snapshot_term, 12);
    assert_int_equal(log.last_index, 7000);
    assert_int_equal(log.count, 0);
    disk_log_deinit(&log);
}

static void a_store_that_ends_before_the_log_is_enough_for_it(void **state)
{
    (void)state;
    struct seed seed = seed_of_one();
    seed.applied_index = 6990;
    assert_int_equal(seed_write(dir, &seed, &e), 0);
    struct server s;
    server_start(&s, 99);
    assert_int_equal(s.restored.index, 6990);
    server_stop(&s);
}

static void a_store_that_ends_behind_the_seed_is_known_to_do_so(void **state)
{
    (void)state;
    struct seed seed = seed_of_one();
    seed.applied_index = 7010;
    assert_int_equal(seed_write(dir, &seed, &e), 0);
    struct server s;
    server_start(&s, 99);
    assert_int_equal(s.restored.index, 7010);
    server_stop(&s);
}

static void the_vote_is_read_as_libraft_reads_it(void **state)
{
    (void)state;
    uint64_t term = 1, vote = 1;
    assert_int_equal(seed_read_vote(dir, &term, &vote, &e), 0);
    assert_int_equal(term, 0);
    assert_int_equal(vote, 0);
    struct seed seed = seed_of_one();
    seed.voted_for = 7;
    assert_int_equal(seed_write(dir, &seed, &e), 0);
    assert_int_equal(seed_read_vote(dir, &term, &vote, &e), 0);
    assert_int_equal(term, 13);
    assert_int_equal(vote, 7);
    struct server s;
    server_start(&s, 99);
    assert_int_equal(raft_current_term(&s.raft), term);
    assert_int_equal(s.raft.voted_for, vote);
    /* What libraft writes itself, into the older of the two files. */
    assert_int_equal(s.io.set_term(&s.io, 14), 0);
    assert_int_equal(seed_read_vote(dir, &term, &vote, &e), 0);
    assert_int_equal(term, 14);
    assert_int_equal(vote, 0);
    assert_int_equal(s.io.set_vote(&s.io, 99), 0);
    assert_int_equal(seed_read_vote(dir, &term, &vote, &e), 0);
    assert_int_equal(vote, 99);
    server_stop(&s);
}

static void
a_cut_metadata_file_does_not_count_and_a_damaged_one_does(void **state)
{
    (void)state;
    struct seed seed = seed_of_one();
    seed.voted_for = 7;
    assert_int_equal(seed_write(dir, &seed, &e), 0);
    /* The term went to the first file, the vote to the second. */
    char path[128];
    snprintf(path, sizeof path, "%s/metadata2", dir);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fputc(9, f), 9);
    fclose(f);
    uint64_t term, vote;
    assert_int_equal(seed_read_vote(dir, &term, &vote, &e), ERR_CORRUPT);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("cut", f);
    fclose(f);
    assert_int_equal(seed_read_vote(dir, &term, &vote, &e), 0);
    assert_int_equal(term, 13);
    assert_int_equal(vote, 0);
}

static void what_cannot_begin_a_log_is_refused(void **state)
{
    (void)state;
    struct seed seed = seed_of_one();
    seed.current_term = 11; /* older than its last entry */
    assert_int_equal(seed_write(dir, &seed, &e), ERR_INVALID);
    seed = seed_of_one();
    seed.member_count = 0;
    assert_int_equal(seed_write(dir, &seed, &e), ERR_INVALID);
    seed = seed_of_one();
    seed.member_count = 2;
    seed.members[1] = seed.members[0];
    assert_int_equal(seed_write(dir, &seed, &e), ERR_INVALID);
    seed = seed_of_one();
    assert_int_equal(seed_write("/tmp/holdfast-not-there", &seed, &e), ERR_IO);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_single_voter_goes_on_behind_its_seed_and_restarts),
        CASE(a_follower_knows_its_term_vote_and_members),
        CASE(a_store_that_ends_before_the_log_is_enough_for_it),
        CASE(a_store_that_ends_behind_the_seed_is_known_to_do_so),
        CASE(the_vote_is_read_as_libraft_reads_it),
        CASE(a_cut_metadata_file_does_not_count_and_a_damaged_one_does),
        CASE(what_cannot_begin_a_log_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
