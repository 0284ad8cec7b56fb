#include "gateway/spool_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    SEGMENTS_WANTED = 16, /* of a full spool */
    SEGMENT_SIZE_LEAST = 64 * 1024,
};

static const char name_format[] = "%016llx-%016llx.spool";
enum { NAME_LENGTH = 16 + 1 + 16 + 6 };

/* False: not the name of a segment. */
static bool name_parse(const char *name, unsigned long long *session,
                       unsigned long long *first)
{
    char again[NAME_LENGTH + 1];
    if (strlen(name) != NAME_LENGTH ||
        sscanf(name, "%16llx-%16llx", session, first) != 2)
        return false;
    snprintf(again, sizeof again, name_format, *session, *first);
    return strcmp(name, again) == 0;
}

/* --- opening -------------------------------------------------------------- */

/* What an agent may leave before its first record is on the disk, and the root
 * of a fresh file system. Others have files of these names too: they make no
 * spool. */
static bool is_expected(const char *name)
{
    static const char *const names[] = {".",    "..",      "lost+found",
                                        "lock", "session", "session.tmp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Nobody's files are to be mixed with ours because of a wrong path. A spool is
 * there if a note of its owner or a segment is. */
static int refuse_strange(const struct spool_dir *d, struct errmsg *e)
{
    unsigned long long session, first;
    struct spool_owner owner;
    int rv = spool_owner_read(d->path, &owner, e);
    if (rv != ERR_NOTFOUND && rv != ERR_CORRUPT)
        return 0; /* take_owner judges it */
    DIR *entries = opendir(d->path);
    if (entries == NULL)
        return errmsg_set(e, ERR_IO,
                          "--spool-dir %.120s cannot be read: %s; give the "
                          "agent a directory of its own",
                          d->path, strerror(errno));
    char strange[64] = "";
    bool spool = false;
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (name_parse(entry->d_name, &session, &first))
            spool = true;
        else if (!is_expected(entry->d_name))
            snprintf(strange, sizeof strange, "%.60s", entry->d_name);
    closedir(entries);
    if (spool || strange[0] == '\0')
        return 0;
    return errmsg_set(e, ERR_FOREIGN,
                      "--spool-dir %.120s holds other files (%s) and no spool: "
                      "give the agent a directory of its own",
                      d->path, strange);
}

/* Kept until the process ends, however it does. */
static int take_lock(struct spool_dir *d, struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    int rv = durable_path(path, d->path, "lock", e);
    if (rv != 0)
        return rv;
    d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock < 0)
        return errmsg_set(e, ERR_IO,
                          "--spool-dir %.120s cannot be written to: %s; give "
                          "the agent a directory of its own",
                          d->path, strerror(errno));
    if (flock(d->lock, LOCK_EX | LOCK_NB) != 0)
        return errmsg_set(e, ERR_EXISTS,
                          "--spool-dir %.120s is used by another agent: give "
                          "each a directory of its own",
                          d->path);
    return 0;
}

/* A damaged note is as good as none: the session begins anew. */
static int take_owner(struct spool_dir *d, struct errmsg *e)
{
    struct spool_owner found;
    int rv = spool_owner_read(d->path, &found, e);
    if (rv == ERR_NOTFOUND || rv == ERR_CORRUPT)
        return 0;
    if (rv != 0)
        return errmsg_wrap(e, rv, "--spool-dir");
    if (strcmp(found.gateway_id, d->owner.gateway_id) != 0)
        return errmsg_set(e, ERR_FOREIGN,
                          "--spool-dir %.80s belongs to the gateway "
                          "\"%.60s\": give each a directory of its own",
                          d->path, found.gateway_id);
    /* Copied from another machine: that one may go on with the session. */
    if (memcmp(found.machine, d->owner.machine, sizeof found.machine) == 0)
        d->owner.session = found.session;
    return 0;
}

int spool_dir_open(struct spool_dir *d, const char *path, uint64_t bytes_max,
                   const char *gateway_id,
                   const uint8_t machine[MACHINE_HASH_SIZE], struct errmsg *e)
{
    *d = (struct spool_dir){
        .bytes_max = bytes_max, .lock = -1, .file = {.fd = -1}};
    /* Room for the names that follow. */
    if (snprintf(d->path, sizeof d->path, "%s", path) >=
            DURABLE_PATH_SIZE - NAME_LENGTH - 8 ||
        strlen(gateway_id) > SPOOL_ID_LENGTH_MAX)
        return errmsg_set(e, ERR_INVALID, "--spool-dir: is too long");
    memcpy(d->owner.gateway_id, gateway_id, strlen(gateway_id));
    memcpy(d->owner.machine, machine, sizeof d->owner.machine);
    int rv = durable_make_directory(path, e);
    if (rv != 0)
        rv = errmsg_wrap(e, rv, "--spool-dir");
    if (rv == 0)
        rv = refuse_strange(d, e);
    if (rv == 0)
        rv = take_lock(d, e);
    if (rv == 0)
        rv = take_owner(d, e);
    if (rv != 0)
        spool_dir_close(d);
    return rv;
}

void spool_dir_close(struct spool_dir *d)
{
    if (d->path[0] == '\0')
        return;
    spool_file_close(&d->file);
    if (d->lock >= 0)
        close(d->lock);
    d->lock = -1;
    free(d->segments);
    d->segments = NULL;
    d->count = d->capacity = 0;
}

/* --- segments ------------------------------------------------------------- */

static void segment_path(const struct spool_dir *d, uint64_t session,
                         uint64_t first, char out[DURABLE_PATH_SIZE])
{
    char name[NAME_LENGTH + 1];
    snprintf(name, sizeof name, name_format, (unsigned long long)session,
             (unsigned long long)first);
    /* spool_dir_open left room. */
    snprintf(out, DURABLE_PATH_SIZE, "%.*s/%s",
             DURABLE_PATH_SIZE - NAME_LENGTH - 8, d->path, name);
}

static int segment_add(struct spool_dir *d, uint64_t first, uint64_t size)
{
    if (d->count == d->capacity) {
        size_t capacity = d->capacity == 0 ? 32 : d->capacity * 2;
        struct spool_segment *segments =
            realloc(d->segments, capacity * sizeof *segments);
        if (segments == NULL)
            return ERR_NOMEM;
        d->segments = segments;
        d->capacity = capacity;
    }
    d->segments[d->count++] = (struct spool_segment){first, size};
    d->bytes += size;
    return 0;
}

/* What cannot be removed now is a leftover of another session some day. */
static void segments_remove(struct spool_dir *d, uint64_t session, size_t count)
{
    char path[DURABLE_PATH_SIZE];
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        segment_path(d, session, d->segments[i].first, path);
        (void)unlink(path);
        d->bytes -= d->segments[i].size;
    }
    d->count -= count;
    memmove(d->segments, d->segments + count, d->count * sizeof *d->segments);
}

void spool_dir_acknowledge(struct spool_dir *d, uint64_t sequence)
{
    size_t done = 0;
    while (done + 1 < d->count && d->segments[done + 1].first <= sequence + 1)
        done++;
    segments_remove(d, d->owner.session, done);
}

int spool_dir_void(struct spool_dir *d, struct errmsg *e)
{
    spool_file_close(&d->file);
    uint64_t session = d->owner.session;
    int rv = spool_owner_remove(d->path, e);
    if (rv == 0) {
        segments_remove(d, session, d->count);
        d->owner.session = 0;
    }
    return rv;
}

/* --- reading -------------------------------------------------------------- */

static int by_first(const void *a, const void *b)
{
    uint64_t x = ((const struct spool_segment *)a)->first;
    uint64_t y = ((const struct spool_segment *)b)->first;
    return x < y ? -1 : x > y;
}

/* One name of the directory: a segment of the session, or a leftover of one
 * that was given up. */
static int take_name(struct spool_dir *d, const char *name)
{
    unsigned long long session, first;
    if (!name_parse(name, &session, &first))
        return 0;
    if (session == d->owner.session)
        return segment_add(d, first, 0);
    char path[DURABLE_PATH_SIZE];
    segment_path(d, session, first, path);
    (void)unlink(path);
    return 0;
}

static int list(struct spool_dir *d, struct errmsg *e)
{
    DIR *entries = opendir(d->path);
    if (entries == NULL)
        return errmsg_set(e, ERR_IO, "--spool-dir: list %.170s: %s", d->path,
                          strerror(errno));
    const struct dirent *entry;
    int rv = 0;
    while (rv == 0 && (entry = readdir(entries)) != NULL)
        rv = take_name(d, entry->d_name);
    closedir(entries);
    if (d->count > 0)
        qsort(d->segments, d->count, sizeof *d->segments, by_first);
    return rv;
}

static int read_segment(struct spool_dir *d, struct spool_segment *segment,
                        spool_record_fn *each, void *arg, struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    struct spool_file file;
    segment_path(d, d->owner.session, segment->first, path);
    int rv = spool_file_open(&file, path, each, arg, e);
    if (rv != 0)
        return rv;
    if (file.session != d->owner.session || file.first != segment->first)
        rv =
            errmsg_set(e, ERR_CORRUPT, "%.170s: holds another's batches", path);
    spool_file_close(&file);
    if (rv == 0 && file.size == SPOOL_FILE_HEADER_SIZE)
        return ERR_NOTFOUND;
    segment->size = file.size;
    d->bytes += file.size;
    return rv;
}

int spool_dir_read(struct spool_dir *d, spool_record_fn *each, void *arg,
                   uint64_t *session, struct errmsg *e)
{
    *session = 0;
    int rv = list(d, e);
    for (size_t i = 0; rv == 0 && i < d->count; i++) {
        rv = read_segment(d, &d->segments[i], each, arg, e);
        /* The newest may have been made and never synced. */
        if (rv == ERR_NOTFOUND && i + 1 == d->count) {
            rv = 0;
            d->count--;
        }
    }
    if (rv == 0 && d->count > 0)
        *session = d->begun = d->owner.session;
    return rv == ERR_NOTFOUND ? ERR_CORRUPT : rv;
}

/* --- adding --------------------------------------------------------------- */

bool spool_dir_begins(const struct spool_dir *d, uint64_t session)
{
    if (session != d->owner.session || d->file.fd < 0)
        return true;
    uint64_t full = d->bytes_max / SEGMENTS_WANTED;
    if (full < SEGMENT_SIZE_LEAST)
        full = SEGMENT_SIZE_LEAST;
    if (full < 2 * d->begin_size)
        full = 2 * d->begin_size;
    return d->file.size >= full;
}

/* The session that was here gives way, now that the new one has a record. */
static int replace_session(struct spool_dir *d, uint64_t session, size_t old,
                           struct errmsg *e)
{
    struct spool_owner owner = d->owner;
    uint64_t given_up = d->owner.session;
    owner.session = session;
    int rv = spool_owner_write(d->path, &owner, e);
    if (rv != 0)
        return rv;
    segments_remove(d, given_up, old);
    d->owner.session = session;
    return 0;
}

static int begin_segment(struct spool_dir *d, uint64_t session, uint64_t first,
                         struct bytes payload, struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    size_t old = d->count;
    spool_file_close(&d->file);
    segment_path(d, session, first, path);
    int rv = spool_file_create(&d->file, path, session, first, e);
    if (d->file.fd >= 0)
        d->begun = session;
    if (rv == 0)
        rv = spool_file_append(&d->file, path, payload, e);
    if (rv == 0)
        rv = durable_sync(d->path, e);
    if (rv == 0)
        rv = segment_add(d, first, d->file.size);
    if (rv == 0 && session != d->owner.session)
        rv = replace_session(d, session, old, e);
    if (rv != 0)
        (void)unlink(path);
    d->begin_size = d->file.size;
    return rv;
}

int spool_dir_append(struct spool_dir *d, uint64_t session, uint64_t first,
                     struct bytes payload, struct errmsg *e)
{
    bool begins = spool_dir_begins(d, session);
    uint64_t more =
        SPOOL_FRAME_SIZE + payload.size + (begins ? SPOOL_FILE_HEADER_SIZE : 0);
    uint64_t there = session == d->owner.session ? d->bytes : 0;
    if (there + more > d->bytes_max)
        return errmsg_set(e, ERR_LIMIT,
                          "--spool-dir %.120s holds %llu bytes, and more than "
                          "--spool-bytes is not allowed",
                          d->path, (unsigned long long)there);
    if (begins)
        return begin_segment(d, session, first, payload, e);
    char path[DURABLE_PATH_SIZE];
    segment_path(d, session, d->file.first, path);
    int rv = spool_file_append(&d->file, path, payload, e);
    if (rv == 0) {
        d->bytes += more;
        d->segments[d->count - 1].size += more;
    }
    return rv;
}
