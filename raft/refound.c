#define _GNU_SOURCE /* getrandom */
#include "raft/refound.h"

#include "base/durable.h"

#include "raft/identity.h"
#include "raft/member_address.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { VOTER = 1 /* RAFT_VOTER */ };

int refound_io_error(struct errmsg *e, const char *what, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
    return errmsg_set(e, code, "%s %.300s: %s", what, path, strerror(errno));
}

void refound_tell(const struct recover_options *o, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (o->progress != NULL)
        o->progress(o->arg, text);
}

static int random_bytes(void *out, size_t size, struct errmsg *e)
{
    if (getrandom(out, size, 0) != (ssize_t)size)
        return errmsg_set(e, ERR_IO, "no random numbers: %s", strerror(errno));
    return 0;
}

/* Another cluster's id, another raft id, one member. */
static int new_identity(const struct recover_options *o, struct identity *id,
                        struct seed *seed, struct errmsg *e)
{
    *id = (struct identity){0};
    int rv = random_bytes(&id->raft_id, sizeof id->raft_id, e);
    if (rv == 0)
        rv = random_bytes(id->cluster_id, sizeof id->cluster_id, e);
    if (rv != 0)
        return rv;
    id->raft_id |= 1; /* never 0 */
    memcpy(seed->cluster_id, id->cluster_id, CLUSTER_ID_SIZE);
    seed->member_count = 1;
    seed->members[0].id = id->raft_id;
    seed->members[0].role = VOTER;
    int length =
        snprintf(seed->members[0].address, sizeof seed->members[0].address,
                 "%s=%s", o->name, o->address);
    if (length < 0 || (size_t)length >= sizeof seed->members[0].address)
        return errmsg_set(e, ERR_INVALID, "name or address is too long");
    return 0;
}

/* The store in @dir/store is there; around it a log that begins where it ends,
 * and at last the identity, which makes it a node's directory. */
int refound_around_store(const struct recover_options *o, const char *dir,
                         const struct copy_info *info, struct errmsg *e)
{
    char store[DURABLE_PATH_SIZE], raft[DURABLE_PATH_SIZE];
    struct identity id;
    struct seed seed = {.index = info->applied_index,
                        .term = info->applied_term,
                        /* Terms only grow; nobody has voted in this one. */
                        .current_term = info->applied_term + 1,
                        .configuration_index = info->applied_index};
    int rv = new_identity(o, &id, &seed, e);
    if (rv == 0)
        rv = durable_path(store, dir, "store", e);
    if (rv == 0)
        rv = durable_path(raft, dir, "raft", e);
    if (rv == 0)
        rv = store_copy_rename_cluster(store, id.cluster_id, e);
    if (rv == 0)
        rv = durable_make_directory(raft, e);
    if (rv == 0)
        rv = seed_write(raft, &seed, e);
    return rv == 0 ? identity_save(dir, &id, e) : rv;
}
