/* export: raw reports or buckets, streamed from the first endpoint to standard
 * output or into a file, which is only there when it is whole. */
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/text.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, TARGET_SIZE = 512, SHOW_EVERY_MS = 200 };

struct exporting {
    char part[PATH_SIZE]; /* FILE.part */
    const char *path;     /* borrowed: FILE; NULL: standard output */
    FILE *file;
    int write_errno;
    uint64_t size, begun_ms, shown_ms;
    char first_time[64], gaps[32], last_gap[64];
};

static bool take_piece(void *arg, const void *data, size_t size)
{
    struct exporting *x = arg;
    x->size += size;
    if (fwrite(data, 1, size, x->file) == size)
        return true;
    x->write_errno = errno;
    return false;
}

static void take_header(void *arg, const char *name, const char *value)
{
    struct exporting *x = arg;
    if (strcasecmp(name, "Holdfast-Raw-First-Time") == 0)
        snprintf(x->first_time, sizeof x->first_time, "%s", value);
    else if (strcasecmp(name, "Holdfast-Raw-Gaps") == 0)
        snprintf(x->gaps, sizeof x->gaps, "%s", value);
    else if (strcasecmp(name, "Holdfast-Raw-Last-Gap") == 0)
        snprintf(x->last_gap, sizeof x->last_gap, "%s", value);
}

static void show(void *arg)
{
    struct exporting *x = arg;
    char size[UNIT_TEXT_SIZE], speed[UNIT_TEXT_SIZE];
    uint64_t now = clock_mono_ms();
    if (now < x->shown_ms + SHOW_EVERY_MS)
        return;
    x->shown_ms = now;
    bytes_format(x->size, size);
    bytes_format(x->size * 1000 / (now - x->begun_ms + 1), speed);
    progress_show("%s, %s/s", size, speed);
}

/* --- the question --------------------------------------------------------- */

static int add(char target[TARGET_SIZE], const char *name, const char *value,
               struct errmsg *e)
{
    char escaped[TARGET_SIZE];
    size_t length = strlen(target);
    if (value == NULL)
        return 0;
    int n = path_escape(value, escaped, sizeof escaped)
                ? snprintf(target + length, TARGET_SIZE - length, "&%s=%s",
                           name, escaped)
                : -1;
    if (n < 0 || (size_t)n >= TARGET_SIZE - length)
        return errmsg_set(e, ERR_INVALID, "--%s is too long", name);
    return 0;
}

static int add_location(struct ctl *c, char target[TARGET_SIZE],
                        struct errmsg *e)
{
    json_t *row = NULL;
    char id[24];
    if (!ctl_has(c, FLAG_LOCATION))
        return 0;
    int rv = lookup(c, "/api/v1/network", c->values[FLAG_LOCATION], NULL,
                    "location", &row, e);
    if (rv != 0)
        return rv;
    snprintf(id, sizeof id, "%lld",
             (long long)json_integer_value(json_object_get(row, "id")));
    json_decref(row);
    return add(target, "location", id, e);
}

static int make_target(struct ctl *c, char target[TARGET_SIZE],
                       struct errmsg *e)
{
    const char *format = ctl_has(c, FLAG_FORMAT) ? c->values[FLAG_FORMAT]
                                                 : flags[FLAG_FORMAT].fallback;
    snprintf(target, TARGET_SIZE, "/api/v1/export?format=%s",
             strcmp(format, "json") == 0 ? "json" : "csv");
    if (strcmp(format, "json") != 0 && strcmp(format, "csv") != 0)
        return errmsg_set(e, ERR_INVALID, "--format is csv or json");
    int rv = add(target, "what", c->arguments[0], e);
    if (rv == 0)
        rv = add(target, "from", c->values[FLAG_FROM], e);
    if (rv == 0)
        rv = add(target, "to", c->values[FLAG_TO], e);
    return rv == 0 ? add_location(c, target, e) : rv;
}

/* --- the answer ----------------------------------------------------------- */

static int fail(const struct exporting *x, int error, struct errmsg *e)
{
    return errmsg_set(e, error == ENOSPC ? ERR_NOSPACE : ERR_IO, "%s: %s",
                      x->path != NULL ? x->part : "standard output",
                      strerror(error));
}

static int begin(struct ctl *c, struct exporting *x, struct errmsg *e)
{
    x->begun_ms = clock_mono_ms();
    x->file = stdout;
    if (c->argument_count < 2)
        return 0;
    x->path = c->arguments[1];
    int n = snprintf(x->part, sizeof x->part, "%s.part", x->path);
    if (n < 0 || (size_t)n >= sizeof x->part)
        return errmsg_set(e, ERR_INVALID, "the name of the file is too long");
    x->file = fopen(x->part, "we");
    return x->file != NULL ? 0 : fail(x, errno, e);
}

static int finish(struct exporting *x, struct errmsg *e)
{
    if (fflush(x->file) != 0 ||
        (x->path != NULL && fsync(fileno(x->file)) != 0))
        return fail(x, errno, e);
    if (x->path != NULL && rename(x->part, x->path) != 0)
        return fail(x, errno, e);
    return 0;
}

/* Not in the rows, which are for programs. */
static void say_coverage(const struct exporting *x)
{
    if (x->first_time[0] != '\0')
        fprintf(stderr, "raw reports of this node begin at %s\n",
                x->first_time);
    if (x->gaps[0] != '\0' && strcmp(x->gaps, "0") != 0)
        fprintf(
            stderr,
            "%s gaps: log entries that this node never had; the last is %s\n",
            x->gaps, x->last_gap);
}

int run_export(struct ctl *c, struct errmsg *e)
{
    struct exporting x = {0};
    char target[TARGET_SIZE];
    int rv = make_target(c, target, e);
    if (rv == 0)
        rv = begin(c, &x, e);
    if (rv != 0)
        return rv;
    struct download d = {.endpoint = c->client.endpoints[0],
                         .path = target,
                         .take = take_piece,
                         .header = take_header,
                         .tick = show,
                         .arg = &x};
    rv = client_download(&c->client, &d, e);
    progress_clear();
    if (rv != 0 && x.write_errno != 0)
        rv = fail(&x, x.write_errno, e);
    if (rv == 0)
        rv = finish(&x, e);
    if (rv == 0)
        say_coverage(&x);
    if (x.path != NULL)
        fclose(x.file);
    if (x.path != NULL && rv != 0)
        unlink(x.part);
    return rv;
}
