#include "raft/receive.h"

#include "base/bulk_file.h"
#include "base/durable.h"
#include "base/file.h"
#include "raft/identity.h"
#include "raft/peer_io.h"
#include "store/store.h"

#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The paths of an attempt and what it holds; the thread's. */
struct work {
    struct receive *x;
    char next[DURABLE_PATH_SIZE], store[DURABLE_PATH_SIZE];
    char file[DURABLE_PATH_SIZE], begun[DURABLE_PATH_SIZE];
    struct bulk_answer answer;
    XXH3_state_t *hash; /* of the file */
    uint8_t *block;     /* BULK_CHUNK_SIZE_MAX */
};

static void *receive_main(void *arg);

int receive_start(struct receive *x, struct errmsg *e)
{
    atomic_init(&x->stopping, false);
    if (pthread_create(&x->thread, NULL, receive_main, x) != 0)
        return errmsg_set(e, ERR_NOMEM, "cannot start a thread");
    return 0;
}

void receive_cut(struct receive *x)
{
    atomic_store(&x->stopping, true);
    shutdown(x->fd, SHUT_RDWR);
}

void receive_join(struct receive *x)
{
    pthread_join(x->thread, NULL);
    close(x->fd);
}

/* --- what is there -------------------------------------------------------- */

/* Which copy was begun and how much of it is there; 0 and 0 if none. */
static void look_back(const struct work *w, uint64_t *copy_id, uint64_t *size)
{
    char *text;
    struct errmsg ignored;
    struct stat file;
    *copy_id = *size = 0;
    if (file_read_text(w->begun, &text, &ignored) != 0)
        return;
    if (sscanf(text, "copy %" SCNx64, copy_id) != 1 ||
        stat(w->file, &file) != 0)
        *copy_id = 0;
    else
        *size = (uint64_t)file.st_size;
    free(text);
}

/* Everything anew, and a note which copy it is, before its first byte. */
static int begin_anew(struct work *w, struct errmsg *e)
{
    char text[32];
    int length =
        snprintf(text, sizeof text, "copy %016" PRIx64 "\n", w->answer.copy_id);
    int rv = durable_remove(w->next, e);
    if (rv == 0)
        rv = durable_make_directory(w->next, e);
    if (rv == 0)
        rv = durable_make_directory(w->store, e);
    if (rv == 0)
        rv = durable_write(w->begun, text, (size_t)length, e);
    return rv;
}

/* --- the other side ------------------------------------------------------- */

static int read_answer(struct work *w, struct errmsg *e)
{
    uint8_t size_field[4], data[BULK_ANSWER_SIZE_MAX];
    int rv = peer_io_read(w->x->fd, size_field, sizeof size_field, e);
    if (rv != 0)
        return rv;
    uint32_t size = le32_get(size_field);
    if (size > sizeof data)
        return errmsg_set(e, ERR_CORRUPT, "an answer of %u bytes", size);
    rv = peer_io_read(w->x->fd, data, size, e);
    if (rv != 0)
        return rv;
    rv = bulk_answer_decode((struct bytes){data, size}, &w->answer);
    return rv == 0 ? 0 : errmsg_set(e, rv, "its answer: %s", err_text(rv));
}

static bool lists(const struct seed *seed, uint64_t id)
{
    for (size_t i = 0; i < seed->member_count; i++)
        if (seed->members[i].id == id)
            return true;
    return false;
}

/* Is it a copy for us, and one that goes on from what we have? */
static int check_answer(struct work *w, const struct bulk_request *request,
                        struct errmsg *e)
{
    const struct bulk_answer *a = &w->answer;
    const struct seed *seed = &a->seed;
    if (a->kind == BULK_REFUSED)
        return errmsg_set(e, ERR_AGAIN, "%s", a->text);
    if (memcmp(seed->cluster_id, w->x->cluster_id, CLUSTER_ID_SIZE) != 0)
        return errmsg_set(e, ERR_FOREIGN, "the copy is of another cluster");
    if (!lists(seed, w->x->raft_id) || seed->index < request->index)
        return errmsg_set(e, ERR_AGAIN,
                          "its copy is older than this node needs");
    bool goes_on = a->copy_id == request->copy_id;
    if (a->offset != (goes_on ? request->offset : 0))
        return errmsg_set(e, ERR_CORRUPT, "the copy begins at a wrong place");
    return 0;
}

static int ask(struct work *w, const struct bulk_request *request,
               struct errmsg *e)
{
    uint8_t out[BULK_REQUEST_SIZE];
    bulk_request_encode(request, out);
    int rv = peer_io_write(w->x->fd, out, sizeof out, e);
    do
        rv = rv == 0 ? read_answer(w, e) : rv;
    while (rv == 0 && w->answer.kind == BULK_WAIT);
    return rv == 0 ? check_answer(w, request, e) : rv;
}

static int check_room(const struct work *w, struct errmsg *e)
{
    struct statvfs fs;
    uint64_t needed = w->answer.bytes - w->answer.offset + w->x->reserve_bytes;
    if (statvfs(w->next, &fs) != 0 || fs.f_bavail * fs.f_frsize >= needed)
        return 0; /* what cannot be measured will show */
    return errmsg_set(e, ERR_NOSPACE,
                      "no room for a copy of the store: %" PRIu64
                      " MiB are needed in %.100s, %" PRIu64 " are free",
                      needed >> 20, w->x->data_dir,
                      (uint64_t)(fs.f_bavail * fs.f_frsize) >> 20);
}

static int take_chunk(struct work *w, struct bulk_file *file, struct errmsg *e)
{
    uint8_t header[BULK_CHUNK_HEADER_SIZE];
    int rv = peer_io_read(w->x->fd, header, sizeof header, e);
    if (rv != 0)
        return rv;
    int size = bulk_chunk_size(header);
    if (size < 0 || (uint64_t)size > w->answer.bytes - file->size)
        return errmsg_set(e, ERR_CORRUPT, "a chunk of a wrong size");
    rv = peer_io_read(w->x->fd, w->block, (size_t)size, e);
    if (rv != 0)
        return rv;
    if (!bulk_chunk_is_good(header, (struct bytes){w->block, (size_t)size}))
        return errmsg_set(e, ERR_CORRUPT, "a chunk was damaged on the way");
    rv = bulk_file_write(file, w->block, (size_t)size, e);
    atomic_store(&w->x->bytes, file->size);
    return rv;
}

static int take_file(struct work *w, struct errmsg *e)
{
    struct bulk_file file;
    int rv = bulk_file_open(&file, w->file, w->answer.offset, e);
    if (rv != 0)
        return rv;
    atomic_store(&w->x->total, w->answer.bytes);
    atomic_store(&w->x->bytes, file.size);
    while (rv == 0 && file.size < w->answer.bytes)
        rv = take_chunk(w, &file, e);
    if (rv == 0)
        rv = bulk_file_sync(&file, e);
    bulk_file_close(&file);
    return rv;
}

/* --- the end -------------------------------------------------------------- */

/* Sent whole, but not what was made: nothing of it can be used. */
static int spoilt(struct work *w, const char *why, struct errmsg *e)
{
    struct errmsg ignored;
    int rv = durable_remove(w->next, &ignored);
    return errmsg_set(e, rv == 0 ? ERR_CORRUPT : rv,
                      "%s: it is fetched from the start again", why);
}

/* Of what is on the disk, and only now: the giver would wait for it, were the
 * part that was there before hashed first. */
static int hash_file(struct work *w, struct errmsg *e)
{
    int fd = open(w->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errmsg_set(e, ERR_IO, "open %.150s: %s", w->file,
                          strerror(errno));
    int rv = 0;
    ssize_t n = 1;
    while (rv == 0 && n != 0) {
        n = read(fd, w->block, BULK_CHUNK_SIZE_MAX);
        if (n > 0)
            XXH3_128bits_update(w->hash, w->block, (size_t)n);
        else if (n < 0 && errno != EINTR)
            rv = errmsg_set(e, ERR_IO, "read %.150s: %s", w->file,
                            strerror(errno));
        if (atomic_load(&w->x->stopping))
            rv = errmsg_set(e, ERR_CLOSED, "this node stops");
    }
    close(fd);
    return rv;
}

static int check_copy(struct work *w, struct copy_info *info, struct errmsg *e)
{
    static const uint8_t none[CLUSTER_ID_SIZE];
    XXH128_canonical_t hash;
    int rv = hash_file(w, e);
    if (rv != 0)
        return rv;
    XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(w->hash));
    if (memcmp(hash.digest, w->answer.hash, sizeof w->answer.hash) != 0)
        return spoilt(w, "the copy does not have its hash", e);
    rv = store_copy_inspect(w->file, info, e);
    if (rv == ERR_CORRUPT)
        return spoilt(w, "the copy is damaged", e);
    /* A cluster has no settings in its very first moments. */
    if (rv == 0 && memcmp(info->cluster_id, none, sizeof none) != 0 &&
        memcmp(info->cluster_id, w->x->cluster_id, CLUSTER_ID_SIZE) != 0)
        return spoilt(w, "the copy is of another cluster", e);
    return rv;
}

/* The raft directory and the identity beside the store. */
static int write_rest(struct work *w, const struct copy_info *info,
                      struct errmsg *e)
{
    struct receive *x = w->x;
    char raft[DURABLE_PATH_SIZE];
    struct seed *seed = &w->answer.seed;
    seed->applied_index = info->applied_index;
    if (x->term >= seed->current_term) {
        /* Promises outlive the log in which they were made. */
        seed->current_term = x->term;
        seed->voted_for = x->voted_for;
    }
    struct identity identity = {.raft_id = x->raft_id};
    memcpy(identity.cluster_id, x->cluster_id, CLUSTER_ID_SIZE);
    int rv = durable_path(raft, w->next, "raft", e);
    if (rv == 0)
        rv = durable_remove(raft, e);
    if (rv == 0)
        rv = durable_make_directory(raft, e);
    if (rv == 0)
        rv = seed_write(raft, seed, e);
    if (rv == 0)
        rv = identity_save(w->next, &identity, e);
    return rv;
}

static int complete(struct work *w, struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    struct copy_info info = {0};
    int rv = check_copy(w, &info, e);
    if (rv == 0)
        rv = write_rest(w, &info, e);
    if (rv == 0)
        rv = durable_sync(w->store, e);
    if (rv == 0)
        rv = durable_sync(w->next, e);
    if (rv == 0)
        rv = durable_path(path, w->next, "complete", e);
    if (rv == 0)
        rv = durable_write(path, NULL, 0, e);
    if (rv == 0)
        rv = durable_sync(w->x->data_dir, e);
    w->x->copy_index = info.applied_index;
    return rv;
}

static int run(struct work *w, struct errmsg *e)
{
    struct bulk_request request = {.index = w->x->index};
    int rv = durable_path(w->next, w->x->data_dir, "next", e);
    if (rv == 0)
        rv = durable_path(w->store, w->next, "store", e);
    if (rv == 0)
        rv = durable_path(w->file, w->store, "data.mdb", e);
    if (rv == 0)
        rv = durable_path(w->begun, w->next, "copy", e);
    if (rv != 0)
        return rv;
    look_back(w, &request.copy_id, &request.offset);
    rv = ask(w, &request, e);
    if (rv == 0 && w->answer.copy_id != request.copy_id)
        rv = begin_anew(w, e);
    if (rv == 0)
        rv = check_room(w, e);
    if (rv == 0)
        rv = take_file(w, e);
    return rv == 0 ? complete(w, e) : rv;
}

static void *receive_main(void *arg)
{
    struct receive *x = arg;
    struct work *w = calloc(1, sizeof *w);
    if (w != NULL) {
        w->x = x;
        w->hash = XXH3_createState();
        w->block = malloc(BULK_CHUNK_SIZE_MAX);
    }
    if (w == NULL || w->hash == NULL || w->block == NULL) {
        x->result = errmsg_set(&x->e, ERR_NOMEM, "out of memory");
    } else {
        XXH3_128bits_reset(w->hash);
        x->result = run(w, &x->e);
    }
    if (w != NULL) {
        XXH3_freeState(w->hash);
        free(w->block);
    }
    free(w);
    mailbox_push(x->box, &x->ended.letter);
    return NULL;
}
