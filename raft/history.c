#include "raft/history.h"

#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* <raft/uv.h>: format, version, term, vote. Odd versions are in metadata1. */
enum { METADATA_SIZE = 32, METADATA_FORMAT = 1, PATH_SIZE = 4096 };

static const char remedy[] =
    "this node may not vote any more: wipe its data directory and let it "
    "rejoin as a new node";

/* --- term and vote -------------------------------------------------------- */

struct metadata {
    char path[PATH_SIZE];
    ssize_t size; /* -1: no file */
    uint64_t version, term, voted_for;
};

static int damaged(const struct metadata *m, const char *why, struct errmsg *e)
{
    return errmsg_set(e, ERR_CORRUPT, "%.100s is damaged (%s); %s", m->path,
                      why, remedy);
}

static int read_one(const char *raft_dir, uint64_t number, struct metadata *m,
                    struct errmsg *e)
{
    *m = (struct metadata){.size = -1};
    snprintf(m->path, sizeof m->path, "%s/metadata%d", raft_dir, (int)number);
    int fd = open(m->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    uint8_t data[METADATA_SIZE + 1];
    m->size = fd < 0 ? -1 : read(fd, data, sizeof data);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (m->size < 0)
        return errmsg_set(e, ERR_IO,
                          "read %.100s: %s; if the disk is sound, "
                          "%s",
                          m->path, strerror(reason), remedy);
    if (m->size == 0)
        return 0;
    if (m->size != METADATA_SIZE)
        return damaged(m, "another length", e);
    m->version = le64_get(data + 8);
    m->term = le64_get(data + 16);
    m->voted_for = le64_get(data + 24);
    if (le64_get(data) != METADATA_FORMAT || m->version == 0 ||
        (m->version % 2 == 1) != (number == 1))
        return damaged(m, "not what was written", e);
    return 0;
}

int history_check_vote(const char *raft_dir, struct errmsg *e)
{
    struct metadata files[2];
    int rv = read_one(raft_dir, 1, &files[0], e);
    if (rv == 0)
        rv = read_one(raft_dir, 2, &files[1], e);
    if (rv != 0)
        return rv;
    bool first_newer = files[0].version > files[1].version;
    const struct metadata *newer = &files[first_newer ? 0 : 1];
    const struct metadata *older = &files[first_newer ? 1 : 0];
    if (older->version == 0) {
        /* The second file is made by the second write: until then it is not
         * there, or was not finished. */
        return newer->version <= 1
                   ? 0
                   : damaged(older, older->size < 0 ? "missing" : "empty", e);
    }
    if (older->version != newer->version - 1)
        return damaged(older, "out of turn", e);
    /* A term is written without a vote, then the vote. */
    if (newer->term < older->term ||
        (newer->term == older->term && older->voted_for != 0 &&
         newer->voted_for != older->voted_for))
        return damaged(newer, "it takes back what was written before", e);
    return 0;
}

/* --- open segments -------------------------------------------------------- */

/* docs/format.md, "Raft directory": u64 format, then batches: u32 and u32
 * checksums, u64 count, count headers of 16 bytes (term, type, size), data. */
enum {
    BATCH_HEAD_SIZE = 16,
    ENTRY_HEAD_SIZE = 16,
    BATCH_COUNT_MAX = SEGMENT_SIZE / 32,
};

static int read_at(int fd, uint64_t offset, uint8_t *out, size_t size)
{
    return pread(fd, out, size, (off_t)offset) == (ssize_t)size ? 0 : ERR_IO;
}

/* The size of a batch's data as its headers say, which may be wrong. */
static int data_size(int fd, uint64_t headers, uint64_t count, uint64_t *out)
{
    uint8_t head[ENTRY_HEAD_SIZE];
    *out = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (read_at(fd, headers + i * sizeof head, head, sizeof head) != 0)
            return ERR_IO;
        *out += le32_get(head + 12);
    }
    return 0;
}

static int cut_short(const char **why)
{
    *why = "it was cut short";
    return ERR_CORRUPT;
}

/* libraft cuts a segment to its last whole batch and then renames it. Who is
 * killed between the two leaves one that is short and ends there. */
static int check_closing(int fd, uint64_t size, const char **why)
{
    uint64_t offset = 8;
    do {
        uint8_t head[BATCH_HEAD_SIZE];
        if (size - offset < sizeof head)
            return cut_short(why);
        if (read_at(fd, offset, head, sizeof head) != 0)
            return ERR_IO;
        offset += sizeof head;
        uint64_t count = le64_get(head + 8), data;
        if (count == 0 || count > (size - offset) / ENTRY_HEAD_SIZE)
            return cut_short(why);
        if (data_size(fd, offset, count, &data) != 0)
            return ERR_IO;
        offset += count * ENTRY_HEAD_SIZE;
        if (data > size - offset)
            return cut_short(why);
        offset += data;
    } while (offset < size);
    return 0;
}

static int check_batches(int fd, uint64_t size, const char **why)
{
    uint64_t offset = 8;
    while (offset < size) {
        uint8_t head[BATCH_HEAD_SIZE];
        if (size - offset < sizeof head) {
            *why = "it ends in the middle of a batch";
            return ERR_CORRUPT;
        }
        if (read_at(fd, offset, head, sizeof head) != 0)
            return ERR_IO;
        uint64_t count = le64_get(head + 8), data;
        if (count == 0 || count > BATCH_COUNT_MAX)
            return 0; /* the end, or torn */
        offset += sizeof head + count * ENTRY_HEAD_SIZE;
        if (offset > size) {
            *why = "a batch reaches beyond its end";
            return ERR_CORRUPT;
        }
        if (data_size(fd, offset - count * ENTRY_HEAD_SIZE, count, &data) != 0)
            return ERR_IO;
        if (data > size - offset)
            return 0; /* torn, or libraft finds it */
        offset += data;
    }
    return 0;
}

static int check_segment(const char *path, struct errmsg *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint8_t format[8] = {0};
    const char *why = NULL;
    int rv = fd < 0 || fstat(fd, &st) != 0 ? ERR_IO : 0;
    if (rv == 0 && st.st_size >= (off_t)sizeof format)
        rv = read_at(fd, 0, format, sizeof format);
    /* Never written: nothing in it. */
    bool written = rv == 0 && le64_get(format) != 0;
    if (written && st.st_size != SEGMENT_SIZE)
        rv = check_closing(fd, (uint64_t)st.st_size, &why);
    else if (written)
        rv = check_batches(fd, (uint64_t)st.st_size, &why);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (rv == ERR_CORRUPT)
        return errmsg_set(e, rv, "%.100s is damaged (%s); %s", path, why,
                          remedy);
    if (rv != 0)
        return errmsg_set(e, rv, "read %.100s: %s; if the disk is sound, %s",
                          path, strerror(reason), remedy);
    return 0;
}

typedef int check_fn(const char *path, struct errmsg *e);

/* Every file of the directory whose name begins with @prefix. */
static int check_files(const char *raft_dir, const char *prefix, check_fn *fn,
                       struct errmsg *e)
{
    DIR *dir = opendir(raft_dir);
    if (dir == NULL)
        return errmsg_set(e, ERR_IO, "open %.100s: %s", raft_dir,
                          strerror(errno));
    int rv = 0;
    for (struct dirent *entry; rv == 0 && (entry = readdir(dir)) != NULL;) {
        char path[PATH_SIZE];
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof path, "%.3800s/%.250s", raft_dir, entry->d_name);
        rv = fn(path, e);
    }
    closedir(dir);
    return rv;
}

int history_check_segments(const char *raft_dir, struct errmsg *e)
{
    return check_files(raft_dir, "open-", check_segment, e);
}

/* --- snapshots ------------------------------------------------------------ */

/* As libraft writes it: u64 format, u64 checksum of what follows, u64
 * configuration index, u64 size of the configuration, the configuration. */
enum {
    META_HEAD_SIZE = 32,
    META_CHECKED_FROM = 16,
    META_FORMAT = 1,
    META_SIZE_MAX = 64 * 1024,
};

/* CRC-32 with the highest bit first, from zero, not inverted. */
static uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)data[i] << 24;
        for (int bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ (crc >> 31 != 0 ? 0x04C11DB7U : 0);
    }
    return crc;
}

static const char *judge_meta(const uint8_t *data, size_t size)
{
    if (size < META_HEAD_SIZE)
        return "it was cut short";
    if (le64_get(data) != META_FORMAT)
        return "not what was written";
    if (le64_get(data + 24) != size - META_HEAD_SIZE)
        return "another length";
    if (le64_get(data + 8) !=
        crc32_of(data + META_CHECKED_FROM, size - META_CHECKED_FROM))
        return "its checksum is another";
    return NULL;
}

static int check_meta(const char *path, struct errmsg *e)
{
    static const size_t room = META_SIZE_MAX + 1;
    uint8_t *data = malloc(room);
    if (data == NULL)
        return errmsg_set(e, ERR_NOMEM, "read %.100s: out of memory", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, data, room);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    const char *why = size < 0 ? NULL : judge_meta(data, (size_t)size);
    free(data);
    if (size < 0)
        return errmsg_set(e, ERR_IO,
                          "read %.100s: %s; if the disk is sound, %s", path,
                          strerror(reason), remedy);
    if (why != NULL)
        return errmsg_set(e, ERR_CORRUPT, "%.100s is damaged (%s); %s", path,
                          why, remedy);
    return 0;
}

/* A .meta file is synced before its snapshot is begun: one without a snapshot,
 * or with an empty one, may be unfinished, and libraft passes over it. */
static bool is_finished(const char *meta_path)
{
    char path[PATH_SIZE];
    struct stat st;
    snprintf(path, sizeof path, "%.*s",
             (int)(strlen(meta_path) - strlen(".meta")), meta_path);
    return stat(path, &st) == 0 && st.st_size > 0;
}

static int check_snapshot_file(const char *path, struct errmsg *e)
{
    size_t length = strlen(path);
    if (length <= 5 || strcmp(path + length - 5, ".meta") != 0 ||
        !is_finished(path))
        return 0;
    return check_meta(path, e);
}

int history_check_snapshots(const char *raft_dir, struct errmsg *e)
{
    return check_files(raft_dir, "snapshot-", check_snapshot_file, e);
}

/* --- the log -------------------------------------------------------------- */

int history_check_log(const char *raft_dir, uint64_t term, uint64_t last_index,
                      uint64_t last_term, uint64_t flushed_index,
                      struct errmsg *e)
{
    if (last_term > term)
        return errmsg_set(e, ERR_CORRUPT,
                          "%.100s: the term is %llu, but entry %llu is of term "
                          "%llu: metadata1 or metadata2 was lost; %s",
                          raft_dir, (unsigned long long)term,
                          (unsigned long long)last_index,
                          (unsigned long long)last_term, remedy);
    if (flushed_index > last_index)
        return errmsg_set(e, ERR_CORRUPT,
                          "%.100s: the log ends at index %llu, but the store "
                          "was written up to %llu: its end was lost; %s",
                          raft_dir, (unsigned long long)last_index,
                          (unsigned long long)flushed_index, remedy);
    return 0;
}
