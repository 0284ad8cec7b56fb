#include "raft/seed.h"

#include "raft/manifest.h"

#include <raft.h>
#include <raft/uv.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    METADATA_SIZE = 32, /* <raft/uv.h>: format, version, term, vote */
    METADATA_FORMAT = 1,
    PATH_SIZE = 4096,
};

/* --- writing -------------------------------------------------------------- */

/* libraft's disk layer on a loop of its own, without the rest of libraft. */
struct disk {
    uv_loop_t loop;
    struct raft_uv_transport transport; /* never connects */
    struct raft_io io;
    int put_status;
    bool put_done;
};

static int on_init(struct raft_uv_transport *transport, raft_id id,
                   const char *address)
{
    (void)transport;
    (void)id;
    (void)address;
    return 0;
}

static void on_close(struct raft_uv_transport *transport,
                     raft_uv_transport_close_cb cb)
{
    cb(transport);
}

static void on_put(struct raft_io_snapshot_put *req, int status)
{
    struct disk *d = req->data;
    d->put_status = status;
    d->put_done = true;
}

static int disk_failed(const struct disk *d, int rv, const char *what,
                       const char *raft_dir, struct errmsg *e)
{
    int code = rv == RAFT_NOMEM     ? ERR_NOMEM
               : rv == RAFT_NOSPACE ? ERR_NOSPACE
                                    : ERR_IO;
    return errmsg_set(e, code, "%.100s: %s: %s (%.80s)", raft_dir, what,
                      raft_strerror(rv), d->io.errmsg);
}

static int put_snapshot(struct disk *d, const struct seed *seed,
                        struct raft_configuration *configuration)
{
    struct manifest manifest = {
        .index = seed->applied_index != 0 ? seed->applied_index : seed->index,
        .term = seed->term,
    };
    memcpy(manifest.cluster_id, seed->cluster_id, CLUSTER_ID_SIZE);
    uint8_t data[MANIFEST_SIZE];
    manifest_encode(&manifest, data);
    struct raft_buffer buf = {.base = data, .len = sizeof data};
    struct raft_snapshot snapshot = {
        .index = seed->index,
        .term = seed->term,
        .configuration = *configuration,
        .configuration_index = seed->configuration_index,
        .bufs = &buf,
        .n_bufs = 1,
    };
    struct raft_io_snapshot_put put = {.data = d};
    /* No trailing entries: as when a snapshot of the leader is installed. */
    int rv = d->io.snapshot_put(&d->io, 0, &put, &snapshot, on_put);
    if (rv != 0)
        return rv;
    uv_run(&d->loop, UV_RUN_DEFAULT);
    return d->put_done ? d->put_status : RAFT_IOERR;
}

static int write_all(struct disk *d, const char *raft_dir,
                     const struct seed *seed,
                     struct raft_configuration *configuration, struct errmsg *e)
{
    int rv = d->io.init(&d->io, seed->members[0].id, seed->members[0].address);
    if (rv != 0)
        return disk_failed(d, rv, "open", raft_dir, e);
    rv = d->io.set_term(&d->io, seed->current_term);
    if (rv == 0 && seed->voted_for != 0)
        rv = d->io.set_vote(&d->io, seed->voted_for);
    if (rv != 0)
        return disk_failed(d, rv, "writing the term", raft_dir, e);
    rv = put_snapshot(d, seed, configuration);
    if (rv != 0)
        return disk_failed(d, rv, "writing the snapshot", raft_dir, e);
    return 0;
}

static void on_closed(struct raft_io *io)
{
    (void)io;
}

static int write_with_libraft(const char *raft_dir, const struct seed *seed,
                              struct raft_configuration *configuration,
                              struct errmsg *e)
{
    struct disk d = {
        .transport = {.version = 1, .init = on_init, .close = on_close}};
    int rv = uv_loop_init(&d.loop);
    if (rv != 0)
        return errmsg_set(e, ERR_IO, "event loop: %s", uv_strerror(rv));
    rv = raft_uv_init(&d.io, &d.loop, raft_dir, &d.transport);
    if (rv != 0) {
        rv = disk_failed(&d, rv, "open", raft_dir, e);
    } else {
        rv = write_all(&d, raft_dir, seed, configuration, e);
        d.io.close(&d.io, on_closed);
        uv_run(&d.loop, UV_RUN_DEFAULT);
        raft_uv_close(&d.io);
    }
    uv_loop_close(&d.loop);
    return rv;
}

int seed_write(const char *raft_dir, const struct seed *seed, struct errmsg *e)
{
    if (seed->index == 0 || seed->term == 0 ||
        seed->current_term < seed->term || seed->configuration_index == 0 ||
        seed->configuration_index > seed->index || seed->member_count == 0 ||
        seed->member_count > PEERS_MAX)
        return errmsg_set(e, ERR_INVALID,
                          "%.150s: a log cannot begin at index %llu of term "
                          "%llu with %zu members",
                          raft_dir, (unsigned long long)seed->index,
                          (unsigned long long)seed->term, seed->member_count);
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = 0;
    for (size_t i = 0; i < seed->member_count && rv == 0; i++)
        rv = raft_configuration_add(&configuration, seed->members[i].id,
                                    seed->members[i].address,
                                    seed->members[i].role);
    if (rv != 0)
        rv = errmsg_set(e, ERR_INVALID, "%.150s: members: %s", raft_dir,
                        raft_strerror(rv));
    else
        rv = write_with_libraft(raft_dir, seed, &configuration, e);
    raft_configuration_close(&configuration);
    return rv;
}

/* --- reading -------------------------------------------------------------- */

struct metadata {
    uint64_t version, term, voted_for;
};

/* A file that is missing or cut short was never finished: version 0. */
static int read_metadata(const char *raft_dir, int number, struct metadata *out,
                         struct errmsg *e)
{
    char path[PATH_SIZE];
    *out = (struct metadata){0};
    snprintf(path, sizeof path, "%s/metadata%d", raft_dir, number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    uint8_t data[METADATA_SIZE];
    ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof data);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return errmsg_set(e, ERR_IO, "read %.180s: %s", path, strerror(reason));
    if (n < METADATA_SIZE)
        return 0;
    if (le64_get(data) != METADATA_FORMAT || le64_get(data + 8) == 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%.150s is damaged: wipe the data directory and "
                          "rejoin as a new node",
                          path);
    *out = (struct metadata){.version = le64_get(data + 8),
                             .term = le64_get(data + 16),
                             .voted_for = le64_get(data + 24)};
    return 0;
}

int seed_read_vote(const char *raft_dir, uint64_t *term, uint64_t *voted_for,
                   struct errmsg *e)
{
    struct metadata one, two;
    int rv = read_metadata(raft_dir, 1, &one, e);
    if (rv == 0)
        rv = read_metadata(raft_dir, 2, &two, e);
    if (rv != 0)
        return rv;
    const struct metadata *newest = one.version > two.version ? &one : &two;
    *term = newest->term;
    *voted_for = newest->voted_for;
    return 0;
}
