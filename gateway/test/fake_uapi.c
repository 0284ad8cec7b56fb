#include "gateway/test/fake_uapi.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fake_uapi {
    pthread_t thread;
    int listener;
    atomic_int stop;
    char *path, *answer; /* owned */
    size_t chunk;
    int silent;
};

static int wait_readable(struct fake_uapi *f, int fd)
{
    while (!atomic_load(&f->stop)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 10) > 0)
            return 0;
    }
    return -1;
}

static void serve(struct fake_uapi *f, int fd)
{
    char question[64];
    size_t got = 0;
    while (got < 7 && wait_readable(f, fd) == 0) {
        ssize_t n = recv(fd, question + got, sizeof question - got, 0);
        if (n <= 0)
            return;
        got += (size_t)n;
    }
    if (got < 7 || memcmp(question, "get=1\n\n", 7) != 0)
        return;
    while (f->silent && !atomic_load(&f->stop))
        (void)poll(NULL, 0, 5);
    size_t size = strlen(f->answer);
    for (size_t at = 0; at < size && !f->silent;) {
        size_t n = f->chunk == 0 || f->chunk > size - at ? size - at : f->chunk;
        ssize_t sent = send(fd, f->answer + at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += (size_t)sent;
    }
    (void)wait_readable(f, fd); /* the client closes first */
}

static void *run(void *arg)
{
    struct fake_uapi *f = arg;
    while (wait_readable(f, f->listener) == 0) {
        int fd = accept(f->listener, NULL, NULL);
        if (fd < 0)
            continue;
        serve(f, fd);
        close(fd);
    }
    return NULL;
}

struct fake_uapi *fake_uapi_start(const char *path, const char *answer,
                                  size_t chunk, int silent)
{
    struct fake_uapi *f = calloc(1, sizeof *f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path);
    f->path = strdup(path);
    f->answer = strdup(answer);
    f->chunk = chunk;
    f->silent = silent;
    f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(f->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(f->listener, 4) != 0 ||
        pthread_create(&f->thread, NULL, run, f) != 0)
        return NULL;
    return f;
}

void fake_uapi_stop(struct fake_uapi *f, int unlink_path)
{
    atomic_store(&f->stop, 1);
    pthread_join(f->thread, NULL);
    close(f->listener);
    if (unlink_path)
        unlink(f->path);
    free(f->path);
    free(f->answer);
    free(f);
}
