#define _GNU_SOURCE /* gettid */
#include "raft/serving.h"

#include "base/clock.h"
#include "raft/repl.h"
#include "raft/peer_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NICE = 10 };

struct serving {
    struct repl *repl;
    struct serving *next;
    uint64_t peer_id;
    char name[NODE_NAME_LENGTH_MAX + 1];
    int fd; /* owned */
    pthread_t thread;
    bool joined;
    struct errand ended;
    /* the thread's until it has ended */
    uint64_t sent;
    int result;
    struct errmsg e;
};

static void *serving_main(void *arg);
static void serving_ended(struct errand *errand);

/* --- the loop's side ------------------------------------------------------ */

bool servings_have_room(const struct repl *r)
{
    return r->servings.count < SERVINGS_MAX;
}

void serving_begin(struct repl *r, uint64_t peer_id, const char *name,
                   uv_stream_t *stream)
{
    int fd = peer_io_take(stream);
    struct serving *s = calloc(1, sizeof *s);
    if (fd < 0 || s == NULL) {
        if (fd >= 0)
            close(fd);
        free(s);
        return; /* the other side tries again */
    }
    s->repl = r;
    s->peer_id = peer_id;
    s->fd = fd;
    s->ended.run = serving_ended;
    snprintf(s->name, sizeof s->name, "%s", name);
    if (pthread_create(&s->thread, NULL, serving_main, s) != 0) {
        close(fd);
        free(s);
        return;
    }
    s->next = r->servings.first;
    r->servings.first = s;
    r->servings.count++;
}

static void serving_ended(struct errand *errand)
{
    struct serving *s = CONTAINER_OF(errand, struct serving, ended);
    struct repl *r = s->repl;
    if (!s->joined)
        pthread_join(s->thread, NULL);
    for (struct serving **at = &r->servings.first; *at != NULL;
         at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    r->servings.count--;
    char source[96];
    snprintf(source, sizeof source, "serve %s", s->name);
    if (s->result == 0)
        events_info(&r->events, "copy", "%llu MiB of the store went to %s",
                    (unsigned long long)s->sent >> 20, s->name);
    else if (s->result != ERR_CLOSED &&
             events_may_tell(&r->events, source, clock_mono_ms()))
        events_info(&r->events, "copy", "not given to %s: %s", s->name,
                    s->e.text);
    close(s->fd);
    free(s);
}

void servings_stop(struct repl *r)
{
    for (struct serving *s = r->servings.first; s != NULL; s = s->next)
        shutdown(s->fd, SHUT_RDWR);
    for (struct serving *s = r->servings.first; s != NULL; s = s->next) {
        pthread_join(s->thread, NULL);
        s->joined = true;
    }
}

/* --- the thread ----------------------------------------------------------- */

static int send_answer(struct serving *s, const struct bulk_answer *answer,
                       struct errmsg *e)
{
    struct buf frame = {0};
    bulk_answer_encode(answer, &frame);
    int rv = buf_failed(&frame)
                 ? errmsg_set(e, ERR_NOMEM, "answer: out of memory")
                 : peer_io_write(s->fd, frame.data, frame.size, e);
    buf_deinit(&frame);
    return rv;
}

static int send_wait(void *arg)
{
    struct errmsg ignored;
    return send_answer(arg, &(struct bulk_answer){.kind = BULK_WAIT}, &ignored);
}

static int refuse(struct serving *s, int code, const struct errmsg *why)
{
    struct bulk_answer answer = {.kind = BULK_REFUSED};
    struct errmsg ignored;
    snprintf(answer.text, sizeof answer.text, "%s", why->text);
    if (send_answer(s, &answer, &ignored) != 0)
        return ERR_CLOSED; /* who asked has gone */
    return code;
}

static int send_chunk(struct serving *s, const uint8_t *data, size_t size)
{
    uint8_t header[BULK_CHUNK_HEADER_SIZE];
    bulk_chunk_encode((struct bytes){data, size}, header);
    int rv = peer_io_write(s->fd, header, sizeof header, &s->e);
    return rv == 0 ? peer_io_write(s->fd, data, size, &s->e) : rv;
}

static int send_file(struct serving *s, int file, uint64_t offset,
                     uint64_t bytes)
{
    uint8_t *block = malloc(BULK_CHUNK_SIZE_MAX);
    if (block == NULL)
        return errmsg_set(&s->e, ERR_NOMEM, "sending: out of memory");
    struct pace pace = {0};
    int rv = 0;
    for (uint64_t at = offset; rv == 0 && at < bytes;) {
        ssize_t n = pread(file, block, BULK_CHUNK_SIZE_MAX, (off_t)at);
        if (n <= 0) {
            rv = errmsg_set(&s->e, ERR_IO, "reading the copy: %s",
                            n < 0 ? strerror(errno) : "it is cut short");
            break;
        }
        rv = send_chunk(s, block, (size_t)n);
        posix_fadvise(file, (off_t)at, n, POSIX_FADV_DONTNEED);
        at += (uint64_t)n;
        s->sent = at - offset;
        pace_keep(&pace, s->sent, COPY_BYTES_PER_S);
        if (rv == 0 && copies_stopping(&s->repl->copies))
            rv = errmsg_set(&s->e, ERR_CLOSED, "this node stops");
    }
    free(block);
    return rv;
}

static int send_copy(struct serving *s, const struct bulk_request *request,
                     struct bulk_answer *answer, const char *path)
{
    bool begun =
        request->copy_id == answer->copy_id && request->offset <= answer->bytes;
    answer->offset = begun ? request->offset : 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        int rv =
            errmsg_set(&s->e, ERR_IO, "opening the copy: %s", strerror(errno));
        return refuse(s, rv, &s->e);
    }
    int rv = send_answer(s, answer, &s->e);
    if (rv == 0)
        rv = send_file(s, file, answer->offset, answer->bytes);
    close(file);
    return rv;
}

static int serve(struct serving *s)
{
    uint8_t in[BULK_REQUEST_SIZE];
    struct bulk_request request;
    int rv = peer_io_read(s->fd, in, sizeof in, &s->e);
    if (rv != 0)
        return rv;
    if (bulk_request_decode(in, &request) != 0)
        return refuse(
            s,
            errmsg_set(&s->e, ERR_CORRUPT, "the request cannot be read here"),
            &s->e);
    struct bulk_answer answer;
    const char *path;
    struct copies *c = &s->repl->copies;
    rv = copies_obtain(c, s->peer_id, &request, send_wait, s, &answer, &path,
                       &s->e);
    if (rv != 0)
        return refuse(s, rv, &s->e);
    rv = send_copy(s, &request, &answer, path);
    copies_release(c);
    return rv;
}

static void *serving_main(void *arg)
{
    struct serving *s = arg;
    /* Linux gives each thread a priority of its own. */
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    s->result = serve(s);
    mailbox_push(&s->repl->errands, &s->ended.letter);
    return NULL;
}
