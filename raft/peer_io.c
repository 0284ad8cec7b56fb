#include "raft/peer_io.h"

#include "base/clock.h"

#include <raft.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void free_stream(uv_handle_t *handle)
{
    raft_free(handle);
}

static int blocking_twin(const uv_stream_t *stream)
{
    uv_os_fd_t own;
    if (uv_fileno((const uv_handle_t *)stream, &own) != 0)
        return -1;
    int fd = fcntl(own, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* Shared with the descriptor that libuv is about to close. */
    int flags = fcntl(fd, F_GETFL);
    struct timeval silence = {.tv_sec = PEER_IO_SILENCE_S_MAX};
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) !=
            0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence) !=
            0) {
        close(fd);
        return -1;
    }
    return fd;
}

int peer_io_take(uv_stream_t *stream)
{
    uv_read_stop(stream);
    int fd = blocking_twin(stream);
    uv_close((uv_handle_t *)stream, free_stream);
    return fd;
}

static int failed(const char *what, struct errmsg *e)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return errmsg_set(e, ERR_TIMEOUT, "%s: nothing moved for %d s", what,
                          PEER_IO_SILENCE_S_MAX);
    return errmsg_set(e, ERR_IO, "%s: %s", what, strerror(errno));
}

int peer_io_read(int fd, void *data, size_t size, struct errmsg *e)
{
    char *at = data;
    while (size > 0) {
        ssize_t n = recv(fd, at, size, 0);
        if (n == 0)
            return errmsg_set(e, ERR_CLOSED, "the peer hung up");
        if (n < 0 && errno != EINTR)
            return failed("receive", e);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int peer_io_write(int fd, const void *data, size_t size, struct errmsg *e)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return failed("send", e);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

void pace_keep(struct pace *pace, uint64_t bytes, uint64_t bytes_per_s)
{
    uint64_t now = clock_mono_ns();
    if (pace->started_ns == 0)
        pace->started_ns = now;
    uint64_t due_ns = bytes / (bytes_per_s / 1000) * 1000 * 1000;
    uint64_t passed_ns = now - pace->started_ns;
    if (passed_ns >= due_ns)
        return;
    uint64_t wait_ns = due_ns - passed_ns;
    struct timespec t = {.tv_sec = (time_t)(wait_ns / 1000000000),
                         .tv_nsec = (long)(wait_ns % 1000000000)};
    nanosleep(&t, NULL);
}
