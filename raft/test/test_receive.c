/* The receiving of a copy of the store, from a giver that this test is. */
#include "raft/receive.h"

#include "base/durable.h"
#include "base/file.h"
#include "raft/identity.h"
#include "raft/peer_io.h"
#include "raft/test/lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { COPY_ID = 77, CHUNK = 4096 };

static struct lone n;
static char dir[128]; /* of the receiver */
static struct bulk_answer answer;
static uint8_t *copy; /* answer.bytes */

/* --- what the receiver reads of its disk ---------------------------------- */

static atomic_bool giving, read_meanwhile;

ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __real_read(int fd, void *data, size_t size);

ssize_t __wrap_read(int fd, void *data, size_t size)
{
    if (atomic_load(&giving))
        atomic_store(&read_meanwhile, true);
    return __real_read(fd, data, size);
}

/* --- the fixture ---------------------------------------------------------- */

static void in_dir(char out[192], const char *name)
{
    snprintf(out, 192, "%s/%s", dir, name);
}

static void load_copy(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    copy = malloc(answer.bytes);
    assert_non_null(copy);
    assert_int_equal(fread(copy, 1, answer.bytes, f), answer.bytes);
    fclose(f);
}

/* The copy of a small store, and a receiver with nothing. */
static int set_up(void **state)
{
    (void)state;
    char path[128];
    struct errmsg e = {""};
    struct identity own;
    struct copy_info info;
    lone_init(&n);
    lone_start(&n, n.data);
    lone_await_lead(&n);
    lone_found(&n);
    lone_stop(&n);
    assert_int_equal(identity_read(n.data, &own, &e), 0);
    snprintf(path, sizeof path, "%s/store", n.data);
    assert_int_equal(
        store_open(&(struct store_options){.path = path}, &n.store, &e), 0);
    snprintf(path, sizeof path, "%s/copy", n.dir);
    assert_int_equal(store_copy(n.store, path, NULL, NULL, &info, &e), 0);
    answer = (struct bulk_answer){
        .kind = BULK_COPY,
        .copy_id = COPY_ID,
        .bytes = info.bytes,
        .seed = {.index = info.applied_index,
                 .term = info.applied_term,
                 .current_term = info.applied_term,
                 .configuration_index = 1,
                 .member_count = 1,
                 .members = {{.id = own.raft_id,
                              .address = "n1=localhost:0",
                              .role = 1}}},
    };
    memcpy(answer.hash, info.hash, sizeof answer.hash);
    memcpy(answer.seed.cluster_id, own.cluster_id, CLUSTER_ID_SIZE);
    load_copy(path);
    assert_true(answer.bytes >= 4 * CHUNK);
    snprintf(dir, sizeof dir, "%s/receiver", n.dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(copy);
    lone_deinit(&n);
    return 0;
}

/* --- an attempt ----------------------------------------------------------- */

static struct mailbox box;

static void wake(void *arg)
{
    (void)arg;
}

/* Returns the giver's end, and what it was asked for. */
static int begin(struct receive *x, struct bulk_request *request)
{
    struct errmsg e;
    int fds[2];
    uint8_t in[BULK_REQUEST_SIZE];
    mailbox_init(&box, wake, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *x = (struct receive){.data_dir = dir,
                          .raft_id = answer.seed.members[0].id,
                          .fd = fds[0],
                          .box = &box};
    memcpy(x->cluster_id, answer.seed.cluster_id, CLUSTER_ID_SIZE);
    assert_int_equal(receive_start(x, &e), 0);
    assert_int_equal(peer_io_read(fds[1], in, sizeof in, &e), 0);
    assert_int_equal(bulk_request_decode(in, request), 0);
    return fds[1];
}

static void say_from(int fd, uint64_t offset)
{
    struct errmsg e;
    struct buf frame = {0};
    answer.offset = offset;
    bulk_answer_encode(&answer, &frame);
    assert_int_equal(peer_io_write(fd, frame.data, frame.size, &e), 0);
    buf_deinit(&frame);
}

static void give(int fd, uint64_t from, uint64_t to)
{
    struct errmsg e;
    uint8_t header[BULK_CHUNK_HEADER_SIZE];
    while (from < to) {
        size_t size = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
        bulk_chunk_encode((struct bytes){copy + from, size}, header);
        assert_int_equal(peer_io_write(fd, header, sizeof header, &e), 0);
        assert_int_equal(peer_io_write(fd, copy + from, size, &e), 0);
        from += size;
    }
}

static void await_bytes(struct receive *x, uint64_t bytes)
{
    for (int i = 0; i < 4000 && atomic_load(&x->bytes) < bytes; i++)
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    assert_int_equal(atomic_load(&x->bytes), bytes);
}

/* The giver goes; the receiver must come to @result. */
static void end(struct receive *x, int fd, int result)
{
    shutdown(fd, SHUT_WR);
    receive_join(x);
    close(fd);
    if (x->result != result)
        print_message("%s\n", x->e.text);
    assert_int_equal(x->result, result);
}

static void cut_at(uint64_t bytes)
{
    struct receive x;
    struct bulk_request request;
    int fd = begin(&x, &request);
    assert_int_equal(request.copy_id, 0);
    say_from(fd, 0);
    give(fd, 0, bytes);
    end(&x, fd, ERR_CLOSED);
}

static bool is_complete(void)
{
    char path[192];
    in_dir(path, "next/complete");
    return durable_exists(path);
}

/* --- cases ---------------------------------------------------------------- */

/* A giver whose bytes are not taken for a while hangs up: to hash what is there
 * takes longer than that, and would come again at every attempt. */
static void nothing_is_read_of_the_disk_while_the_giver_waits(void **state)
{
    (void)state;
    struct receive x;
    struct bulk_request request;
    cut_at(2 * CHUNK);
    int fd = begin(&x, &request);
    assert_int_equal(request.copy_id, COPY_ID);
    assert_int_equal(request.offset, 2 * CHUNK);
    atomic_store(&giving, true);
    say_from(fd, request.offset);
    give(fd, request.offset, answer.bytes - CHUNK);
    await_bytes(&x, answer.bytes - CHUNK);
    atomic_store(&giving, false);
    assert_false(atomic_load(&read_meanwhile));
    give(fd, answer.bytes - CHUNK, answer.bytes);
    end(&x, fd, 0);
    assert_true(is_complete());
}

static void a_part_that_is_not_what_was_sent_is_noticed(void **state)
{
    (void)state;
    char path[192];
    struct receive x;
    struct bulk_request request;
    cut_at(2 * CHUNK);
    in_dir(path, "next/store/data.mdb");
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fputc(copy[0] ^ 1, f), copy[0] ^ 1);
    fclose(f);
    int fd = begin(&x, &request);
    say_from(fd, request.offset);
    give(fd, request.offset, answer.bytes);
    end(&x, fd, ERR_CORRUPT);
    assert_non_null(strstr(x.e.text, "does not have its hash"));
    assert_false(is_complete());
    /* And is not built upon once more. */
    fd = begin(&x, &request);
    assert_int_equal(request.offset, 0);
    end(&x, fd, ERR_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(nothing_is_read_of_the_disk_while_the_giver_waits),
        CASE(a_part_that_is_not_what_was_sent_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
