#include "gateway/spool_file.h"

#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t magic[8] = {'H', 'F', 'S', 'P', 'O', 'O', 'L', 1};

static int failed(const char *what, const char *path, struct errmsg *e)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE
               : errno == EACCES || errno == EPERM || errno == EROFS
                   ? ERR_DENIED
                   : ERR_IO;
    return errmsg_set(e, code, "%s %.170s: %s", what, path, strerror(errno));
}

static int write_all(int fd, const uint8_t *data, size_t size, uint64_t at)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, data, size, (off_t)at);
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
            at += (uint64_t)n;
        }
    }
    return 0;
}

/* --- writing -------------------------------------------------------------- */

int spool_file_create(struct spool_file *f, const char *path, uint64_t session,
                      uint64_t first, struct errmsg *e)
{
    uint8_t header[SPOOL_FILE_HEADER_SIZE];
    memcpy(header, magic, sizeof magic);
    le64_put(header + 8, session);
    le64_put(header + 16, first);
    le64_put(header + 24, XXH3_64bits(header, 24));
    *f = (struct spool_file){
        .fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
        .session = session,
        .first = first,
        .size = sizeof header,
        .salt = le64_get(header + 24)};
    if (f->fd < 0)
        return failed("create", path, e);
    return write_all(f->fd, header, sizeof header, 0) == 0
               ? 0
               : failed("write", path, e);
}

static uint64_t checksum(const struct spool_file *f, uint64_t at,
                         struct bytes payload)
{
    return XXH3_64bits_withSeed(payload.data, payload.size, f->salt + at);
}

int spool_file_append(struct spool_file *f, const char *path,
                      struct bytes payload, struct errmsg *e)
{
    uint8_t frame[SPOOL_FRAME_SIZE];
    if (f->size + sizeof frame + payload.size > SPOOL_FILE_SIZE_MAX)
        return errmsg_set(e, ERR_LIMIT,
                          "%.170s: one look at the interface is "
                          "too large",
                          path);
    le32_put(frame, (uint32_t)payload.size);
    le64_put(frame + 4, checksum(f, f->size, payload));
    if (write_all(f->fd, frame, sizeof frame, f->size) != 0 ||
        write_all(f->fd, payload.data, payload.size, f->size + sizeof frame) !=
            0 ||
        fdatasync(f->fd) != 0) {
        int rv = failed("write", path, e);
        /* If this fails too, the checksum tells. */
        (void)!ftruncate(f->fd, (off_t)f->size);
        return rv;
    }
    f->size += sizeof frame + payload.size;
    return 0;
}

void spool_file_close(struct spool_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* --- reading -------------------------------------------------------------- */

static int read_all(int fd, uint8_t *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, data + done, size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* it became shorter meanwhile */
        if (n <= 0)
            return ERR_IO;
        done += (size_t)n;
    }
    return 0;
}

static bool is_zero(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != 0)
            return false;
    return true;
}

static int read_header(struct spool_file *f, const char *path,
                       const uint8_t *data, size_t size, struct errmsg *e)
{
    if (size < SPOOL_FILE_HEADER_SIZE || is_zero(data, SPOOL_FILE_HEADER_SIZE))
        return errmsg_set(e, ERR_NOTFOUND, "%.170s: was never synced", path);
    if (memcmp(data, magic, sizeof magic - 1) == 0 &&
        data[sizeof magic - 1] > magic[sizeof magic - 1])
        return errmsg_set(e, ERR_NEWER, "%.170s: written by a newer version",
                          path);
    if (memcmp(data, magic, sizeof magic) != 0 ||
        le64_get(data + 24) != XXH3_64bits(data, 24))
        return errmsg_set(e, ERR_CORRUPT, "%.170s: its beginning is damaged",
                          path);
    f->session = le64_get(data + 8);
    f->first = le64_get(data + 16);
    f->salt = le64_get(data + 24);
    return 0;
}

/* True with the payload if there is a record at @at. */
static bool record_at(const struct spool_file *f, struct bytes all, uint64_t at,
                      struct bytes *payload)
{
    if (at > all.size || all.size - at < SPOOL_FRAME_SIZE)
        return false;
    size_t size = le32_get(all.data + at);
    if (size == 0 || size > all.size - at - SPOOL_FRAME_SIZE)
        return false;
    *payload = (struct bytes){all.data + at + SPOOL_FRAME_SIZE, size};
    return checksum(f, at, *payload) == le64_get(all.data + at + 4);
}

static bool any_record_behind(const struct spool_file *f, struct bytes all,
                              uint64_t at)
{
    struct bytes payload;
    while (++at < all.size)
        if (record_at(f, all, at, &payload))
            return true;
    return false;
}

static int read_records(struct spool_file *f, const char *path,
                        struct bytes all, spool_record_fn *each, void *arg,
                        struct errmsg *e)
{
    struct bytes payload;
    f->size = SPOOL_FILE_HEADER_SIZE;
    while (record_at(f, all, f->size, &payload)) {
        int rv = each(arg, payload, e);
        if (rv != 0)
            return errmsg_wrap(e, rv, "%.100s, byte %llu", path,
                               (unsigned long long)f->size);
        f->size += SPOOL_FRAME_SIZE + payload.size;
    }
    if (f->size == all.size)
        return 0;
    if (any_record_behind(f, all, f->size))
        return errmsg_set(e, ERR_CORRUPT, "%.170s: damaged at byte %llu", path,
                          (unsigned long long)f->size);
    if (ftruncate(f->fd, (off_t)f->size) != 0 || fdatasync(f->fd) != 0)
        return failed("cut", path, e);
    return 0;
}

int spool_file_open(struct spool_file *f, const char *path,
                    spool_record_fn *each, void *arg, struct errmsg *e)
{
    uint8_t *data = NULL;
    struct stat st;
    *f = (struct spool_file){.fd = open(path, O_RDWR | O_CLOEXEC)};
    if (f->fd < 0)
        return failed("open", path, e);
    int rv = 0;
    if (fstat(f->fd, &st) != 0)
        rv = failed("look at", path, e);
    else if (st.st_size > SPOOL_FILE_SIZE_MAX)
        rv = errmsg_set(e, ERR_CORRUPT, "%.170s: is too large", path);
    if (rv != 0)
        goto out;
    struct bytes all = {NULL, (size_t)st.st_size};
    data = calloc(1, all.size + 1);
    if (data == NULL) {
        rv = errmsg_set(e, ERR_NOMEM, "out of memory");
        goto out;
    }
    all.data = data;
    rv = read_all(f->fd, data, all.size) != 0
             ? failed("read", path, e)
             : read_header(f, path, data, all.size, e);
    if (rv == 0)
        rv = read_records(f, path, all, each, arg, e);
out:
    free(data);
    if (rv != 0)
        spool_file_close(f);
    return rv;
}
