#define _GNU_SOURCE /* TCP_USER_TIMEOUT */
/* The rules that keep libraft from losing data (docs/hacking.md has the whole
 * table, with the test of each): those that no other test shows. What is set
 * once at the start is looked at where it takes effect. */
#include "base/clock.h"
#include "raft/repl.h"
#include "raft/test/cluster.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cmocka.h>

static struct cluster c;

static int set_up(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cluster_deinit(&c);
    return 0;
}

static void submit_ok(size_t node, uint64_t number)
{
    assert_int_equal(cluster_submit_soon(&c, node, number, 100, NULL), 0);
}

/* --- work on a replica's own loop ------------------------------------------
 */

struct visit {
    struct errand errand;
    void (*look)(struct repl *r, void *arg);
    struct repl *repl;
    void *arg;
    atomic_bool done;
};

static void on_visit(struct errand *errand)
{
    struct visit *v = CONTAINER_OF(errand, struct visit, errand);
    v->look(v->repl, v->arg);
    atomic_store(&v->done, true);
}

static void on_loop(size_t node, void (*look)(struct repl *r, void *arg),
                    void *arg)
{
    struct visit v = {.errand.run = on_visit,
                      .look = look,
                      .repl = c.nodes[node].repl,
                      .arg = arg};
    mailbox_push(&v.repl->errands, &v.errand.letter);
    WAIT_FOR(atomic_load(&v.done), 20000);
}

/* --- 2, 3: raft_apply -------------------------------------------------------
 */

/* What the library is asked. */
static struct {
    const struct raft_heap *real;
    struct raft_heap heap;
    atomic_int many; /* calls with more than one buffer */
    atomic_int calls;
    atomic_int answer;           /* to the next call; 0: the library's */
    _Atomic(void *) refused;     /* its buffer; not freed in truth */
    atomic_int frees_of_refused; /* by the library or by us */
} proposed;

static int append_fails(struct raft_io *io, struct raft_io_append *req,
                        const struct raft_entry entries[], unsigned n,
                        raft_io_append_cb cb)
{
    (void)io;
    (void)req;
    (void)entries;
    (void)n;
    (void)cb;
    return RAFT_IOERR;
}

int __real_raft_apply(struct raft *r, struct raft_apply *req,
                      const struct raft_buffer bufs[], unsigned n,
                      raft_apply_cb cb);
int __wrap_raft_apply(struct raft *r, struct raft_apply *req,
                      const struct raft_buffer bufs[], unsigned n,
                      raft_apply_cb cb);

int __wrap_raft_apply(struct raft *r, struct raft_apply *req,
                      const struct raft_buffer bufs[], unsigned n,
                      raft_apply_cb cb)
{
    atomic_fetch_add(&proposed.calls, 1);
    if (n != 1)
        atomic_fetch_add(&proposed.many, 1);
    int answer = atomic_exchange(&proposed.answer, 0);
    if (answer == 0)
        return __real_raft_apply(r, req, bufs, n, cb);
    atomic_store(&proposed.refused, bufs[0].base);
    if (answer != RAFT_IOERR)
        return answer;
    /* The library itself, which by then has consumed the buffer. */
    struct repl *repl = r->data;
    repl->guard.inner.append = append_fails;
    return __real_raft_apply(r, req, bufs, n, cb);
}

static void free_or_count(void *data, void *block)
{
    if (block != NULL && block == atomic_load(&proposed.refused))
        atomic_fetch_add(&proposed.frees_of_refused, 1);
    else
        proposed.real->free(data, block);
}

static void every_proposal_is_one_buffer(void **state)
{
    (void)state;
    atomic_store(&proposed.calls, 0);
    size_t leader = cluster_leader(&c);
    for (uint64_t n = 1; n <= 10; n++)
        submit_ok((leader + n) % 3, n);
    assert_true(atomic_load(&proposed.calls) >= 10);
    assert_int_equal(atomic_load(&proposed.many), 0);
}

/* How often the buffer of a proposal is freed that gets @answer. */
static int frees_after(int answer, int status)
{
    atomic_store(&proposed.frees_of_refused, 0);
    atomic_store(&proposed.answer, answer);
    assert_int_equal(cluster_submit(&c, 0, 1, 100, 10000, NULL), status);
    void *refused = atomic_exchange(&proposed.refused, NULL);
    assert_non_null(refused);
    raft_free(refused);
    return atomic_load(&proposed.frees_of_refused);
}

static void the_buffer_of_a_proposal_that_fails_is_freed_once(void **state)
{
    (void)state;
    proposed.real = raft_heap_get();
    proposed.heap = *proposed.real;
    proposed.heap.free = free_or_count;
    raft_heap_set(&proposed.heap);
    cluster_init(&c, 1);
    cluster_start(&c, 0);
    cluster_leader(&c);
    WAIT_FOR(store_level(c.nodes[0].store) == LEVEL_NEWEST, 10000);
    /* Proposed again at once, for this node does lead. */
    assert_int_equal(frees_after(RAFT_NOTLEADER, 0), 1);
    assert_int_equal(frees_after(RAFT_NOSPACE, ERR_AGAIN), 1);
    assert_int_equal(frees_after(RAFT_IOERR, ERR_UNKNOWN), 1);
    WAIT_FOR(atomic_load(&c.nodes[0].fatal_code) != 0, 10000);
    assert_int_equal(atomic_load(&c.nodes[0].fatal_code), EXIT_RESTART);
    cluster_deinit(&c);
    raft_heap_set_default();
}

/* --- 5: no delay, keepalive, bounded silence -------------------------------
 */

static bool is_peer_connection(int fd)
{
    struct sockaddr_in ends[2];
    socklen_t size = sizeof ends[0];
    if (getsockname(fd, (struct sockaddr *)&ends[0], &size) != 0 ||
        ends[0].sin_family != AF_INET)
        return false;
    size = sizeof ends[1];
    if (getpeername(fd, (struct sockaddr *)&ends[1], &size) != 0)
        return false;
    for (size_t i = 0; i < c.count; i++)
        for (size_t end = 0; end < 2; end++)
            if (ntohs(ends[end].sin_port) == c.nodes[i].port)
                return true;
    return false;
}

static int option_of(int fd, int level, int name)
{
    int value = 0;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void
every_peer_connection_is_without_delay_and_notices_a_dead_peer(void **state)
{
    (void)state;
    submit_ok(cluster_leader(&c), 1);
    cluster_converge(&c, 1);
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    size_t seen = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int fd = atoi(entry->d_name);
        if (!is_peer_connection(fd))
            continue;
        seen++;
        assert_true(option_of(fd, IPPROTO_TCP, TCP_NODELAY));
        assert_true(option_of(fd, SOL_SOCKET, SO_KEEPALIVE));
        assert_in_range(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 1, 5000);
    }
    closedir(dir);
    /* Forward links each way between all, and the leader's for raft. */
    assert_true(seen >= 8);
}

/* --- 13, 14, 15, 21: what is set at the start --------------------------- */

struct library_settings {
    bool pre_vote;
    unsigned election_ms, heartbeat_ms, in_flight;
};

static void look_at_settings(struct repl *r, void *arg)
{
    *(struct library_settings *)arg =
        (struct library_settings){.pre_vote = r->raft.pre_vote,
                                  .election_ms = r->raft.election_timeout,
                                  .heartbeat_ms = r->raft.heartbeat_timeout,
                                  .in_flight = r->raft.max_inflight_entries};
}

static void the_library_is_set_as_it_was_measured(void **state)
{
    (void)state;
    (void)cluster_leader(&c);
    for (size_t i = 0; i < c.count; i++) {
        struct library_settings set;
        on_loop(i, look_at_settings, &set);
        assert_true(set.pre_vote);
        /* Set in the wrong order the library triples it without a word. */
        assert_int_equal(set.election_ms, 500);
        assert_int_equal(set.heartbeat_ms, 50);
        assert_int_equal(set.in_flight, 128);
    }
    assert_true(atoi(getenv("UV_THREADPOOL_SIZE")) >= 8);
}

static void segments_are_of_the_size_that_the_library_can_count(void **state)
{
    (void)state;
    submit_ok(cluster_leader(&c), 1);
    char path[512];
    snprintf(path, sizeof path, "%s/raft", c.nodes[0].dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t open_ones = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (strncmp(entry->d_name, "open-", 5) != 0 ||
            fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
            continue;
        open_ones++;
        assert_int_equal(st.st_size, 8 * 1024 * 1024);
    }
    closedir(dir);
    assert_true(open_ones > 0);
}

/* --- 4: send never fails by its result -------------------------------------
 */

static int send_fails(struct raft_io *io, struct raft_io_send *req,
                      const struct raft_message *message, raft_io_send_cb cb)
{
    (void)io;
    (void)req;
    (void)message;
    (void)cb;
    return RAFT_NOMEM;
}

static struct {
    int calls, status;
} sent;

static void on_sent(struct raft_io_send *req, int status)
{
    (void)req;
    sent.calls++;
    sent.status = status;
}

static void fail_a_send(struct repl *r, void *arg)
{
    int (*send)(struct raft_io *, struct raft_io_send *,
                const struct raft_message *, raft_io_send_cb) =
        r->guard.inner.send;
    struct raft_io_send req = {0};
    struct raft_entry entry = {.type = RAFT_BARRIER};
    struct raft_message message = {.type = RAFT_REQUEST_VOTE};
    if (*(bool *)arg)
        message = (struct raft_message){
            .type = RAFT_APPEND_ENTRIES,
            .append_entries = {.entries = &entry, .n_entries = 1}};
    r->guard.inner.send = send_fails;
    memset(&sent, 0, sizeof sent);
    assert_int_equal(r->guard.io.send(&r->guard.io, &req, &message, on_sent),
                     0);
    r->guard.inner.send = send;
}

static void a_send_that_fails_says_so_through_its_callback(void **state)
{
    (void)state;
    for (int entries = 0; entries <= 1; entries++) {
        on_loop(cluster_leader(&c), fail_a_send, &(bool){entries == 1});
        assert_int_equal(sent.calls, 1);
        assert_int_equal(sent.status, RAFT_NOMEM);
    }
}

/* --- 7: a disk that takes nothing ------------------------------------------
 */

static int append_never_ends(struct raft_io *io, struct raft_io_append *req,
                             const struct raft_entry entries[], unsigned n,
                             raft_io_append_cb cb)
{
    (void)io;
    (void)req;
    (void)entries;
    (void)n;
    (void)cb;
    return 0;
}

static void stop_the_disk(struct repl *r, void *arg)
{
    (void)arg;
    r->guard.inner.append = append_never_ends;
}

static void a_disk_that_takes_nothing_ends_the_process_in_time(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), other = (leader + 1) % c.count;
    submit_ok(leader, 1);
    on_loop(other, stop_the_disk, NULL);
    submit_ok(leader, 2);
    uint64_t began = clock_mono_ms();
    WAIT_FOR(atomic_load(&c.nodes[other].fatal_code) != 0, 20000);
    assert_int_equal(atomic_load(&c.nodes[other].fatal_code), EXIT_RESTART);
    /* After its retry delay the library would crash. On a busy machine the
     * watch counts its own time only. */
    assert_true(clock_mono_ms() - began >= GUARD_STUCK_MS_MAX / 2);
    submit_ok(leader, 3);
}

/* --- 18: the library gives up -----------------------------------------------
 */

static void give_up(struct repl *r, void *arg)
{
    (void)arg;
    r->raft.state = RAFT_UNAVAILABLE;
}

static void a_library_that_gave_up_ends_the_process(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), other = (leader + 1) % c.count;
    on_loop(other, give_up, NULL);
    WAIT_FOR(atomic_load(&c.nodes[other].fatal_code) != 0, 10000);
    assert_int_equal(atomic_load(&c.nodes[other].fatal_code), EXIT_RESTART);
}

/* --- 20: an id is never used again ------------------------------------------
 */

static void an_emptied_directory_gets_another_id(void **state)
{
    (void)state;
    (void)cluster_leader(&c);
    struct repl_status before, after;
    repl_status(c.nodes[0].repl, &before);
    cluster_stop(&c, 0);
    cluster_wipe(&c, 0);
    cluster_start(&c, 0);
    repl_status(c.nodes[0].repl, &after);
    assert_true(before.raft_id != 0 && after.raft_id != before.raft_id);
}

/* --- 22: where the data lies ------------------------------------------------
 */

enum { TMPFS = 0x01021994, EXT4 = 0xef53 };

static atomic_long file_system = EXT4;
static atomic_int file_system_warnings;

int __wrap_statfs(const char *path, struct statfs *fs);

int __wrap_statfs(const char *path, struct statfs *fs)
{
    (void)path;
    *fs = (struct statfs){.f_type = atomic_load(&file_system)};
    return 0;
}

static void count_file_system_warnings(void *arg, enum repl_event_kind kind,
                                       const char *event, const char *message,
                                       int exit_code)
{
    (void)arg;
    (void)message;
    (void)exit_code;
    if (kind == REPL_WARN && strcmp(event, "file_system") == 0)
        atomic_fetch_add(&file_system_warnings, 1);
}

static void a_file_system_that_was_not_measured_is_warned_of(void **state)
{
    (void)state;
    cluster_init(&c, 1);
    c.on_event = count_file_system_warnings;
    cluster_start(&c, 0);
    cluster_stop(&c, 0);
    assert_int_equal(atomic_load(&file_system_warnings), 0);
    atomic_store(&file_system, TMPFS);
    cluster_start(&c, 0);
    atomic_store(&file_system, EXT4);
    assert_int_equal(atomic_load(&file_system_warnings), 1);
    cluster_deinit(&c);
}

/* --- the peer port ----------------------------------------------------------
 */

static struct {
    const struct raft_heap *real;
    struct raft_heap heap;
    atomic_bool full;
    atomic_int refused;
} memory;

static void *allocate_socket_or_not(void *data, size_t size)
{
    if (size == sizeof(struct peer_socket) && atomic_load(&memory.full)) {
        atomic_fetch_add(&memory.refused, 1);
        return NULL;
    }
    return memory.real->malloc(data, size);
}

static int dial_port(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval timeout = {.tv_sec = 2};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void assert_answers(int fd)
{
    struct hello hello = {.channel = HELLO_PROBE, .raft_id = 7, .level = 1};
    uint8_t data[HELLO_SIZE], answer[HELLO_ANSWER_SIZE];
    hello_encode(&hello, data);
    assert_int_equal(send(fd, data, sizeof data, MSG_NOSIGNAL), sizeof data);
    assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL),
                     sizeof answer);
    close(fd);
}

static void
the_peer_port_hears_again_when_there_was_no_memory_for_a_guest(void **state)
{
    (void)state;
    cluster_init(&c, 1);
    memory.real = raft_heap_get();
    memory.heap = *memory.real;
    memory.heap.malloc = allocate_socket_or_not;
    raft_heap_set(&memory.heap);
    cluster_start(&c, 0);
    cluster_leader(&c);
    atomic_store(&memory.full, true);
    int first = dial_port(c.nodes[0].port), second = dial_port(c.nodes[0].port);
    WAIT_FOR(atomic_load(&memory.refused) > 0, 5000);
    atomic_store(&memory.full, false);
    assert_answers(first);
    assert_answers(second);
    cluster_deinit(&c);
    raft_heap_set_default();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(every_proposal_is_one_buffer),
        cmocka_unit_test(the_buffer_of_a_proposal_that_fails_is_freed_once),
        CASE(every_peer_connection_is_without_delay_and_notices_a_dead_peer),
        CASE(the_library_is_set_as_it_was_measured),
        CASE(segments_are_of_the_size_that_the_library_can_count),
        CASE(a_send_that_fails_says_so_through_its_callback),
        CASE(a_disk_that_takes_nothing_ends_the_process_in_time),
        CASE(a_library_that_gave_up_ends_the_process),
        CASE(an_emptied_directory_gets_another_id),
        cmocka_unit_test(a_file_system_that_was_not_measured_is_warned_of),
        cmocka_unit_test(
            the_peer_port_hears_again_when_there_was_no_memory_for_a_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
