/* Each step is one rename or removal and finds out by itself whether it was
 * done before, so that a kill between any two of them, or a power loss, is
 * finished by the next start:
 *
 *   raft, store, identity: away to next/old-NAME, then in from next/NAME
 *   the note that a fetch is wanted goes      (now the new data is ours)
 *   next/complete goes, then the rest of next/
 *
 * Without next/complete nothing is taken; what a fetch has begun stays for it
 * to go on with, and anything else is removed. */
#include "raft/adopt.h"

#include "base/durable.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct adoption {
    char data_dir[DURABLE_PATH_SIZE], next[DURABLE_PATH_SIZE];
    char note[DURABLE_PATH_SIZE], complete[DURABLE_PATH_SIZE];
    bool (*may_go_on)(void *arg); /* may be NULL */
    void *arg;
};

static int step(struct adoption *a, struct errmsg *e)
{
    if (a->may_go_on == NULL || a->may_go_on(a->arg))
        return 0;
    return errmsg_set(e, ERR_CLOSED, "%.200s: stopped on the way", a->next);
}

static int move(struct adoption *a, const char *from, const char *to,
                struct errmsg *e)
{
    int rv = step(a, e);
    if (rv == 0 && rename(from, to) != 0)
        rv = errmsg_set(e, ERR_IO, "rename %.100s to %.100s: %s", from, to,
                        strerror(errno));
    return rv;
}

static int discard(struct adoption *a, const char *path, struct errmsg *e)
{
    int rv = durable_exists(path) ? step(a, e) : 0;
    return rv == 0 ? durable_remove(path, e) : rv;
}

/* next/@name becomes ours; what was ours goes to next/old-@name. */
static int take(struct adoption *a, const char *name, struct errmsg *e)
{
    char from[DURABLE_PATH_SIZE], to[DURABLE_PATH_SIZE];
    char old_name[16], old[DURABLE_PATH_SIZE];
    snprintf(old_name, sizeof old_name, "old-%s", name);
    int rv = durable_path(from, a->next, name, e);
    if (rv == 0)
        rv = durable_path(to, a->data_dir, name, e);
    if (rv == 0)
        rv = durable_path(old, a->next, old_name, e);
    if (rv != 0 || !durable_exists(from))
        return rv; /* taken before */
    if (durable_exists(to))
        rv = move(a, to, old, e);
    return rv == 0 ? move(a, from, to, e) : rv;
}

static int sync_both(struct adoption *a, struct errmsg *e)
{
    int rv = durable_sync(a->next, e);
    return rv == 0 ? durable_sync(a->data_dir, e) : rv;
}

static int take_all(struct adoption *a, struct errmsg *e)
{
    static const char *const names[] = {"raft", "store", "identity"};
    int rv = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && rv == 0; i++)
        rv = take(a, names[i], e);
    if (rv == 0)
        rv = sync_both(a, e);
    if (rv == 0)
        rv = discard(a, a->note, e);
    if (rv == 0)
        rv = durable_sync(a->data_dir, e);
    if (rv == 0)
        rv = discard(a, a->complete, e);
    if (rv == 0)
        rv = durable_sync(a->next, e);
    return rv;
}

int adopt_step_by_step(const char *data_dir, bool (*may_go_on)(void *arg),
                       void *arg, struct errmsg *e)
{
    struct adoption a = {.may_go_on = may_go_on, .arg = arg};
    int length = snprintf(a.data_dir, sizeof a.data_dir, "%s", data_dir);
    if (length < 0 || length >= DURABLE_PATH_SIZE)
        return errmsg_set(e, ERR_INVALID, "data directory: path is too long");
    int rv = durable_path(a.next, data_dir, "next", e);
    if (rv == 0)
        rv = durable_path(a.note, data_dir, "fetch", e);
    if (rv == 0)
        rv = durable_path(a.complete, a.next, "complete", e);
    if (rv != 0 || !durable_exists(a.next))
        return rv;
    if (durable_exists(a.complete))
        rv = take_all(&a, e);
    else if (durable_exists(a.note))
        return 0; /* a fetch that goes on */
    if (rv == 0)
        rv = discard(&a, a.next, e);
    return rv == 0 ? durable_sync(data_dir, e) : rv;
}

int repl_adopt(const char *data_dir, struct errmsg *e)
{
    return adopt_step_by_step(data_dir, NULL, NULL, e);
}
