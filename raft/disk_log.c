#include "raft/disk_log.h"

#include "base/assert.h"
#include "raft/history.h"
#include "raft/manifest.h"
#include "raft/transport.h"

#include <raft.h>
#include <raft/uv.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* libraft's disk backend with nothing around it. */
struct backend {
    uv_loop_t loop;
    struct transport transport; /* never asked to connect */
    struct raft_io io;
};

static int failed(const char *raft_dir, int rv, const char *why,
                  struct errmsg *e)
{
    int code = rv == RAFT_CORRUPT || rv == RAFT_MALFORMED ? ERR_CORRUPT
               : rv == RAFT_NOMEM                         ? ERR_NOMEM
                                                          : ERR_IO;
    return errmsg_set(e, code, "%s: %s (%s)", raft_dir, raft_strerror(rv), why);
}

static void on_closed(struct raft_io *io)
{
    (void)io;
}

static void take_configuration(struct disk_log *out,
                               const struct raft_configuration *c,
                               uint64_t index)
{
    out->configuration_index = index;
    out->member_count = 0;
    for (unsigned i = 0; i < c->n && out->member_count < PEERS_MAX; i++) {
        struct seed_member *m = &out->members[out->member_count++];
        m->id = c->servers[i].id;
        m->role = c->servers[i].role;
        snprintf(m->address, sizeof m->address, "%s", c->servers[i].address);
    }
}

/* A configuration as libraft encodes it in a RAFT_CHANGE entry: u8 version 1,
 * u64 count, then for each server u64 id, its address with the NUL, u8 role. */
static int decode_configuration(struct disk_log *out, struct bytes in,
                                uint64_t index)
{
    struct reader r = reader_of(in);
    uint8_t version = reader_u8(&r);
    uint64_t count = reader_u64(&r);
    if (r.failed || version != 1 || count > PEERS_MAX)
        return ERR_CORRUPT;
    for (size_t i = 0; i < count; i++) {
        struct seed_member *m = &out->members[i];
        m->id = reader_u64(&r);
        size_t length = strnlen((const char *)r.data, r.size);
        if (r.failed || length == r.size || length >= sizeof m->address)
            return ERR_CORRUPT;
        memcpy(m->address, reader_take(&r, length + 1).data, length + 1);
        m->role = reader_u8(&r);
    }
    out->configuration_index = index;
    out->member_count = (size_t)count;
    return r.failed ? ERR_CORRUPT : 0;
}

static int take_snapshot(const char *raft_dir, struct disk_log *out,
                         const struct raft_snapshot *s, struct errmsg *e)
{
    struct manifest manifest;
    if (s->n_bufs != 1 ||
        manifest_decode((struct bytes){s->bufs[0].base, s->bufs[0].len},
                        &manifest) != 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%s: the snapshot's manifest is not one that this "
                          "version wrote",
                          raft_dir);
    out->snapshot_index = out->last_index = s->index;
    out->snapshot_term = out->last_term = s->term;
    out->manifest_index = manifest.index;
    take_configuration(out, &s->configuration, s->configuration_index);
    return 0;
}

static void free_snapshot(struct raft_snapshot *s)
{
    for (unsigned i = 0; i < s->n_bufs; i++)
        raft_free(s->bufs[i].base);
    raft_free(s->bufs);
    raft_configuration_close(&s->configuration);
    raft_free(s);
}

static int take_entries(const char *raft_dir, struct disk_log *out,
                        struct errmsg *e)
{
    for (size_t i = 0; i < out->count; i++) {
        const struct raft_entry *entry = &out->entries[i];
        out->last_index = out->first_index + i;
        out->last_term = entry->term;
        struct bytes data = {entry->buf.base, entry->buf.len};
        if (entry->type == RAFT_CHANGE &&
            decode_configuration(out, data, out->last_index) != 0)
            return errmsg_set(e, ERR_CORRUPT,
                              "%s: entry %llu: a configuration that cannot be "
                              "read",
                              raft_dir, (unsigned long long)out->last_index);
    }
    return 0;
}

static int load(struct backend *b, const char *raft_dir, struct disk_log *out,
                struct errmsg *e)
{
    raft_term term;
    raft_id voted_for;
    raft_index first;
    struct raft_snapshot *snapshot = NULL;
    int rv = b->io.load(&b->io, &term, &voted_for, &snapshot, &first,
                        &out->entries, &out->count);
    if (rv != 0)
        return failed(raft_dir, rv, b->io.errmsg, e);
    out->term = term;
    out->voted_for = voted_for;
    out->first_index = first;
    if (snapshot != NULL) {
        rv = take_snapshot(raft_dir, out, snapshot, e);
        free_snapshot(snapshot);
    }
    return rv == 0 ? take_entries(raft_dir, out, e) : rv;
}

int disk_log_read(const char *raft_dir, struct disk_log *out, struct errmsg *e)
{
    *out = (struct disk_log){0};
    struct stat st;
    if (stat(raft_dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return errmsg_set(e, ERR_INVALID, "%s: no such directory", raft_dir);
    int sound = history_check_segments(raft_dir, e);
    if (sound == 0)
        sound = history_check_snapshots(raft_dir, e);
    if (sound != 0)
        return sound;
    struct backend *b = calloc(1, sizeof *b);
    if (b == NULL || uv_loop_init(&b->loop) != 0) {
        free(b);
        return errmsg_set(e, ERR_NOMEM, "%s: out of memory", raft_dir);
    }
    transport_init(&b->transport, NULL, NULL);
    int rv = raft_uv_init(&b->io, &b->loop, raft_dir, &b->transport.base);
    if (rv != 0) {
        rv = failed(raft_dir, rv, b->io.errmsg, e);
    } else {
        raft_uv_set_auto_recovery(&b->io, false);
        rv = b->io.init(&b->io, 1, "offline");
        rv = rv != 0 ? failed(raft_dir, rv, b->io.errmsg, e)
                     : load(b, raft_dir, out, e);
        b->io.close(&b->io, on_closed);
        uv_run(&b->loop, UV_RUN_DEFAULT);
        raft_uv_close(&b->io);
    }
    int closed = uv_loop_close(&b->loop);
    ASSERT(closed == 0);
    free(b);
    if (rv != 0)
        disk_log_deinit(out);
    return rv;
}

void disk_log_deinit(struct disk_log *log)
{
    /* Entries of one segment share a batch and stand side by side. */
    void *freed = NULL;
    for (size_t i = 0; i < log->count; i++) {
        struct raft_entry *entry = &log->entries[i];
        void *memory = entry->batch != NULL ? entry->batch : entry->buf.base;
        if (memory != freed)
            raft_free(memory);
        freed = memory;
    }
    raft_free(log->entries);
    *log = (struct disk_log){0};
}

struct bytes disk_log_command(const struct disk_log *log, size_t i)
{
    const struct raft_entry *entry = &log->entries[i];
    if (entry->type != RAFT_COMMAND)
        return (struct bytes){0};
    return (struct bytes){entry->buf.base, entry->buf.len};
}
