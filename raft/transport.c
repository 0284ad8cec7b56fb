#define _GNU_SOURCE /* POLLRDHUP */
#include "raft/transport.h"

#include "base/clock.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* One connect request of libraft. */
struct attempt {
    struct attempt *next;
    struct transport *transport;
    struct raft_uv_connect *req; /* libraft's */
    struct dial *dial;           /* NULL: waits for its time */
    uint64_t id, due_ms;
    char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
};

static int on_init(struct raft_uv_transport *base, raft_id id,
                   const char *address);
static int on_listen(struct raft_uv_transport *base, raft_uv_accept_cb cb);
static int on_connect(struct raft_uv_transport *base,
                      struct raft_uv_connect *req, raft_id id,
                      const char *address, raft_uv_connect_cb cb);
static void on_close(struct raft_uv_transport *base,
                     raft_uv_transport_close_cb cb);

void transport_init(struct transport *t, struct dialer *dialer,
                    struct events *events)
{
    *t = (struct transport){
        .base = {.version = 1,
                 .impl = t,
                 .init = on_init,
                 .listen = on_listen,
                 .connect = on_connect,
                 .close = on_close},
        .dialer = dialer,
        .events = events,
    };
}

static void free_stream(uv_handle_t *handle)
{
    raft_free(handle);
}

void transport_accept(struct transport *t, uint64_t id, const char *address,
                      uv_stream_t *stream)
{
    if (t->accept == NULL || t->closing) {
        uv_close((uv_handle_t *)stream, free_stream);
    } else {
        t->linked(t->arg, id);
        t->accept(&t->base, id, address, stream);
    }
}

unsigned backoff_ms(unsigned failures)
{
    if (failures == 0)
        return 0;
    unsigned most = failures > 5 ? TRANSPORT_BACKOFF_MS_MAX : 50u << failures;
    if (most > TRANSPORT_BACKOFF_MS_MAX)
        most = TRANSPORT_BACKOFF_MS_MAX;
    return most / 2 + (unsigned)(clock_mono_ns() / 1000) % (most / 2);
}

static size_t slot_of(struct transport *t, uint64_t id)
{
    size_t free_slot = PEERS_MAX - 1;
    for (size_t i = PEERS_MAX; i-- > 0;) {
        if (t->peers[i].id == id)
            return i;
        if (t->peers[i].id == 0 || !t->knows(t->arg, t->peers[i].id))
            free_slot = i; /* of one that was removed, maybe */
    }
    memset(&t->peers[free_slot], 0, sizeof t->peers[free_slot]);
    t->peers[free_slot].id = id;
    return free_slot;
}

static unsigned *failures_of(struct transport *t, uint64_t id)
{
    return &t->peers[slot_of(t, id)].failures;
}

static uint64_t inode_of(int fd)
{
    struct stat s;
    return fstat(fd, &s) == 0 ? s.st_ino : 0;
}

/* libraft only writes on its outgoing links (0.22.1), so it takes the one to a
 * peer that was restarted for good, and what it writes there first, a vote, is
 * lost without an error. So the end of a link is looked for here, and its
 * socket shut down: the write then fails, libraft connects anew, and guard
 * sends again. (Reading from it would tell sooner, but makes libuv refuse the
 * write in a way that libraft never recovers from.) */
static void end_broken_links(struct transport *t)
{
    struct pollfd polls[PEERS_MAX];
    for (size_t i = 0; i < PEERS_MAX; i++)
        polls[i] = (struct pollfd){
            .fd = t->peers[i].inode == 0 ? -1 : t->peers[i].fd,
            .events = POLLRDHUP,
        };
    if (poll(polls, PEERS_MAX, 0) <= 0)
        return;
    for (size_t i = 0; i < PEERS_MAX; i++) {
        if (polls[i].revents == 0)
            continue;
        if (inode_of(t->peers[i].fd) == t->peers[i].inode)
            shutdown(t->peers[i].fd, SHUT_RDWR);
        t->peers[i].inode = 0;
    }
}

static void watch_link(struct transport *t, uint64_t id,
                       const uv_stream_t *stream)
{
    uv_os_fd_t fd;
    size_t i = slot_of(t, id);
    if (uv_fileno((const uv_handle_t *)stream, &fd) != 0)
        return;
    t->peers[i].fd = fd;
    t->peers[i].inode = inode_of(fd);
}

void transport_peer_seen(struct transport *t, uint64_t id)
{
    *failures_of(t, id) = 0;
    for (struct attempt *a = t->attempts; a != NULL; a = a->next)
        if (a->id == id)
            a->due_ms = 0;
}

static void unlink_attempt(struct attempt *a)
{
    for (struct attempt **at = &a->transport->attempts; *at != NULL;
         at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            return;
        }
}

static void on_dialed(void *arg, uv_stream_t *stream,
                      const struct hello_answer *answer, const char *why)
{
    struct attempt *a = arg;
    struct transport *t = a->transport;
    struct raft_uv_connect *req = a->req;
    unsigned *failures = failures_of(t, a->id);
    unlink_attempt(a);
    if (stream == NULL) {
        (*failures)++;
        if (*failures >= DIAL_FAILURES_TOLD)
            dial_tell_failure(t->events, a->address, answer, why);
    } else {
        *failures = 0;
        watch_link(t, a->id, stream);
        t->linked(t->arg, a->id);
    }
    free(a);
    req->cb(req, stream, stream == NULL ? RAFT_NOCONNECTION : 0);
}

void transport_beat(struct transport *t)
{
    uint64_t now = clock_mono_ms();
    end_broken_links(t);
    for (struct attempt *a = t->attempts; a != NULL; a = a->next)
        if (a->dial == NULL && a->due_ms <= now && t->knows(t->arg, a->id))
            a->dial = dial_start(t->dialer, HELLO_RAFT, a->id, a->address,
                                 on_dialed, a);
}

/* --- what libraft calls --------------------------------------------------- */

static int on_init(struct raft_uv_transport *base, raft_id id,
                   const char *address)
{
    (void)base;
    (void)id;
    (void)address;
    return 0;
}

static int on_listen(struct raft_uv_transport *base, raft_uv_accept_cb cb)
{
    struct transport *t = base->impl;
    t->accept = cb;
    return 0;
}

static int on_connect(struct raft_uv_transport *base,
                      struct raft_uv_connect *req, raft_id id,
                      const char *address, raft_uv_connect_cb cb)
{
    struct transport *t = base->impl;
    struct attempt *a = calloc(1, sizeof *a);
    if (a == NULL)
        return RAFT_NOMEM;
    if (strlen(address) > MEMBER_ADDRESS_LENGTH_MAX) {
        free(a);
        return RAFT_NAMETOOLONG;
    }
    req->cb = cb;
    a->transport = t;
    a->req = req;
    a->id = id;
    a->due_ms = clock_mono_ms() + backoff_ms(*failures_of(t, id));
    snprintf(a->address, sizeof a->address, "%s", address);
    a->next = t->attempts;
    t->attempts = a;
    transport_beat(t);
    return 0;
}

static void on_close(struct raft_uv_transport *base,
                     raft_uv_transport_close_cb cb)
{
    struct transport *t = base->impl;
    t->closing = true;
    while (t->attempts != NULL) {
        struct attempt *a = t->attempts;
        struct raft_uv_connect *req = a->req;
        t->attempts = a->next;
        dial_cancel(a->dial);
        free(a);
        req->cb(req, NULL, RAFT_CANCELED);
    }
    cb(base);
}
