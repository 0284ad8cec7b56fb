#include "gateway/spool_owner.h"

#include "base/bytes.h"
#include "base/durable.h"

#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    OWNER_SIZE_MAX = 8 + 8 + MACHINE_HASH_SIZE + 1 + SPOOL_ID_LENGTH_MAX + 8,
};

static const uint8_t magic[8] = {'H', 'F', 'S', 'E', 'S', 'S', 'N', 1};
static const char name[] = "session";

int spool_owner_write(const char *directory, const struct spool_owner *owner,
                      struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    struct buf out = {0};
    size_t length = strlen(owner->gateway_id);
    buf_put(&out, magic, sizeof magic);
    buf_put_u64(&out, owner->session);
    buf_put(&out, owner->machine, sizeof owner->machine);
    buf_put_u8(&out, (uint8_t)length);
    buf_put(&out, owner->gateway_id, length);
    buf_put_u64(&out, XXH3_64bits(out.data, out.size));
    int rv = buf_failed(&out) ? errmsg_set(e, ERR_NOMEM, "out of memory")
                              : durable_path(path, directory, name, e);
    if (rv == 0)
        rv = durable_write(path, out.data, out.size, e);
    buf_deinit(&out);
    return rv;
}

static int decode(struct bytes all, struct spool_owner *out)
{
    struct reader r = reader_of(all);
    struct bytes begin = reader_take(&r, sizeof magic);
    out->session = reader_u64(&r);
    struct bytes machine = reader_take(&r, sizeof out->machine);
    struct bytes id = reader_take(&r, reader_u8(&r));
    size_t covered = all.size - r.size;
    uint64_t sum = reader_u64(&r);
    if (r.failed || memcmp(begin.data, magic, sizeof magic - 1) != 0)
        return ERR_CORRUPT;
    if (begin.data[sizeof magic - 1] > magic[sizeof magic - 1])
        return ERR_NEWER;
    if (r.size != 0 || sum != XXH3_64bits(all.data, covered) ||
        out->session == 0 || id.size > SPOOL_ID_LENGTH_MAX)
        return ERR_CORRUPT;
    memcpy(out->machine, machine.data, machine.size);
    memcpy(out->gateway_id, id.data, id.size);
    out->gateway_id[id.size] = '\0';
    return 0;
}

int spool_owner_read(const char *directory, struct spool_owner *out,
                     struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    uint8_t data[OWNER_SIZE_MAX + 1];
    int rv = durable_path(path, directory, name, e);
    if (rv != 0)
        return rv;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR_NOTFOUND;
    ssize_t size = fd < 0 ? -1 : read(fd, data, sizeof data);
    if (size < 0)
        rv = errmsg_set(e, ERR_IO, "read %.170s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (rv != 0)
        return rv;
    *out = (struct spool_owner){0};
    rv = decode((struct bytes){data, (size_t)size}, out);
    return rv == 0 ? 0 : errmsg_set(e, rv, "%.170s: %s", path, err_text(rv));
}

int spool_owner_remove(const char *directory, struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    int rv = durable_path(path, directory, name, e);
    if (rv != 0)
        return rv;
    if (unlink(path) != 0 && errno != ENOENT)
        return errmsg_set(e, ERR_IO, "remove %.170s: %s", path,
                          strerror(errno));
    return durable_sync(directory, e);
}
