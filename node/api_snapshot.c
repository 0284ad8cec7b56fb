/* GET /api/v1/snapshot: the store as a file. A thread of its own makes the copy
 * and hashes it (minutes, for a large store), then the http thread streams it.
 * The file has no name any more when it is sent, so that nothing is left of it
 * whatever happens. One at a time. See api.h. */
#include "node/api.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    MAKE_MS_MAX = 60 * 60 * 1000,
    SEND_MS_LEAST = 60 * 1000,
    SEND_BYTES_A_MS_LEAST = 1024, /* slower clients are given up */
    PIECE_SIZE = 256 * 1024,
};

/* Stays free while a copy is there, well above what makes a node refuse new
 * entries: or 1/50 of the file system, if that is more. */
static const uint64_t RESERVE_BYTES_LEAST = 512ULL * 1024 * 1024;
enum { RESERVE_SHARE = 50 };

struct snapshot {
    struct http_task task;
    struct node *node; /* borrowed */
    pthread_t thread;
    bool started;
    int fd; /* owned; -1 = none */
    uint64_t size;
    struct copy_info info;
    uint8_t sha256[crypto_hash_sha256_BYTES];
};

/* --- the worker ----------------------------------------------------------- */

static bool may_go_on(void *arg)
{
    struct snapshot *s = arg;
    return !atomic_load(&s->task.abandoned);
}

static bool may_copy_on(void *arg, uint64_t bytes)
{
    (void)bytes;
    return may_go_on(arg);
}

static int check_room(const struct snapshot *s, const char *folder,
                      struct errmsg *e)
{
    struct statvfs fs;
    struct store_status store;
    if (statvfs(folder, &fs) != 0)
        return errmsg_set(e, ERR_IO, "%.160s: %s", folder, strerror(errno));
    store_status(s->node->store, &store);
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    uint64_t reserve = (uint64_t)fs.f_blocks * fs.f_frsize / RESERVE_SHARE;
    if (reserve < RESERVE_BYTES_LEAST)
        reserve = RESERVE_BYTES_LEAST;
    if (available >= store.used_bytes + reserve)
        return 0;
    return errmsg_set(
        e, ERR_NOSPACE,
        "a copy takes up to %llu MiB beside the store and %llu MiB must stay "
        "free, but only %llu MiB are: make room, or ask another node",
        (unsigned long long)(store.used_bytes >> 20),
        (unsigned long long)(reserve >> 20),
        (unsigned long long)(available >> 20));
}

/* The copy as a nameless file. */
static int make_copy(struct snapshot *s, struct errmsg *e)
{
    char folder[4096], path[4096 + 32];
    snprintf(folder, sizeof folder, "%.4000s/copies",
             s->node->config->data_dir);
    snprintf(path, sizeof path, "%s/download.mdb", folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return errmsg_set(e, ERR_IO, "%.160s: %s", folder, strerror(errno));
    int rv = check_room(s, folder, e);
    if (rv != 0)
        return rv;
    (void)unlink(path); /* of a process that was killed */
    rv = node_await_flush(s->node, may_go_on, s, e);
    if (rv != 0)
        return rv;
    rv = store_copy(s->node->store, path, may_copy_on, s, &s->info, e);
    if (rv != 0)
        return rv;
    struct stat st;
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        rv = errmsg_set(e, ERR_IO, "%.160s: %s", path, strerror(errno));
    else
        s->size = (uint64_t)st.st_size;
    (void)unlink(path);
    return rv;
}

static int hash_copy(struct snapshot *s, struct errmsg *e)
{
    crypto_hash_sha256_state state;
    uint8_t *piece = malloc(PIECE_SIZE);
    uint64_t at = 0;
    int rv = 0;
    if (piece == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    crypto_hash_sha256_init(&state);
    while (rv == 0 && at < s->size) {
        ssize_t n = pread(s->fd, piece, PIECE_SIZE, (off_t)at);
        if (!may_go_on(s))
            rv = ERR_CLOSED;
        else if (n > 0)
            crypto_hash_sha256_update(&state, piece, (size_t)n);
        else if (n == 0 || errno != EINTR)
            rv = errmsg_set(e, ERR_IO, "reading the copy: %s",
                            n == 0 ? "it is cut" : strerror(errno));
        at += n > 0 ? (uint64_t)n : 0;
    }
    crypto_hash_sha256_final(&state, s->sha256);
    free(piece);
    return rv;
}

static void *work(void *arg)
{
    struct snapshot *s = arg;
    struct errmsg *e = &s->task.message;
    s->task.status = make_copy(s, e);
    if (s->task.status == 0)
        s->task.status = hash_copy(s, e);
    http_task_end(&s->task);
    return NULL;
}

/* --- the http thread ------------------------------------------------------ */

/* When the answer was sent, or its client is gone. */
static void snapshot_destroy(struct http_task *t)
{
    struct snapshot *s = CONTAINER_OF(t, struct snapshot, task);
    if (s->started)
        pthread_join(s->thread, NULL); /* its last act was to say so */
    if (s->fd >= 0)
        close(s->fd);
    s->node->copying = false;
    free(s);
}

static void answer_copy(struct http_request *rq, struct snapshot *s)
{
    char sha256[2 * sizeof s->sha256 + 1];
    char cluster[2 * CLUSTER_ID_SIZE + 1];
    sodium_bin2hex(sha256, sizeof sha256, s->sha256, sizeof s->sha256);
    sodium_bin2hex(cluster, sizeof cluster, s->info.cluster_id,
                   CLUSTER_ID_SIZE);
    unsigned long long index = s->info.applied_index;
    http_header(rq, "Holdfast-Copy-Index", "%llu", index);
    http_header(rq, "Holdfast-Copy-Sha256", "%s", sha256);
    http_header(rq, "Holdfast-Cluster-Id", "%s", cluster);
    http_header(rq, "Content-Disposition",
                "attachment; filename=\"holdfast-%.8s-%llu.mdb\"", cluster,
                index);
    rq->has_file = true;
    rq->file = s->fd;
    rq->file_size = s->size;
    s->fd = -1;
    uint64_t ms = SEND_MS_LEAST + s->size / SEND_BYTES_A_MS_LEAST;
    rq->answer_ms = ms < MAKE_MS_MAX ? (unsigned)ms : MAKE_MS_MAX;
    rq->content_type = "application/octet-stream";
    rq->status = 200;
    log_info("snapshot",
             "a copy of the store at index %llu (%llu bytes) is "
             "being downloaded",
             index, (unsigned long long)s->size);
}

static void copied(struct http_request *rq, int status)
{
    struct snapshot *s =
        rq->task != NULL ? CONTAINER_OF(rq->task, struct snapshot, task) : NULL;
    if (status == 0 && s != NULL)
        answer_copy(rq, s);
    else if (status == ERR_CLOSED)
        http_error(rq, 503, "stopping", "this node is stopping");
    else if (status == ERR_NOSPACE && s != NULL)
        http_error(rq, 507, "no_space", "%s", s->task.message.text);
    else if (s != NULL)
        http_error_of(rq, status, &s->task.message);
    else
        http_error(rq, 504, "timeout", "the copy was not made within %d min",
                   MAKE_MS_MAX / 60000);
}

void api_snapshot(struct http_request *rq)
{
    struct node *n = rq->node;
    if (n->copying) {
        http_error(rq, 429, "busy",
                   "this node makes or sends a copy for somebody else: try "
                   "again later, or ask another node");
        http_header(rq, "Retry-After", "10");
        return;
    }
    struct snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        http_error(rq, 503, "overload", "out of memory");
        return;
    }
    s->node = n;
    s->fd = -1;
    s->task.destroy = snapshot_destroy;
    if (http_await_task(rq, &s->task, MAKE_MS_MAX, copied) != 0) {
        free(s);
        return;
    }
    n->copying = true;
    rq->answer_ms = MAKE_MS_MAX;
    s->started = pthread_create(&s->thread, NULL, work, s) == 0;
    if (!s->started) {
        s->task.status =
            errmsg_set(&s->task.message, ERR_NOMEM, "cannot start a thread");
        http_task_end(&s->task);
    }
}
