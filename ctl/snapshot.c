/* snapshot save and status. What a copy is: store/store.h. Beside FILE lies
 * FILE.sha256, in the form of sha256sum. */
#include "ctl/run.h"
#include "ctl/sha256.h"
#include "ctl/text.h"

#include "base/clock.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, SHOW_EVERY_MS = 200 };

/* --- receiving ------------------------------------------------------------ */

struct saving {
    char part[PATH_SIZE];          /* FILE.part */
    char sum_part[PATH_SIZE + 16]; /* FILE.sha256.part */
    const char *path;              /* borrowed: FILE */
    int fd;
    int write_errno;
    struct sha256 *sha256; /* owned */
    uint64_t size, total;  /* total 0: not told */
    uint64_t begun_ms, shown_ms;
    char index[32], cluster[64], promised[SHA256_TEXT_SIZE];
};

static void take_header(void *arg, const char *name, const char *value)
{
    struct saving *s = arg;
    if (strcasecmp(name, "Holdfast-Copy-Index") == 0)
        snprintf(s->index, sizeof s->index, "%s", value);
    else if (strcasecmp(name, "Holdfast-Cluster-Id") == 0)
        snprintf(s->cluster, sizeof s->cluster, "%s", value);
    else if (strcasecmp(name, "Holdfast-Copy-Sha256") == 0)
        snprintf(s->promised, sizeof s->promised, "%s", value);
    else if (strcasecmp(name, "Content-Length") == 0)
        (void)number_parse(value, UINT64_MAX, &s->total);
}

static void show(void *arg)
{
    struct saving *s = arg;
    char size[UNIT_TEXT_SIZE], total[UNIT_TEXT_SIZE], speed[UNIT_TEXT_SIZE];
    uint64_t now = clock_mono_ms();
    if (now < s->shown_ms + SHOW_EVERY_MS)
        return;
    s->shown_ms = now;
    if (s->size == 0) {
        progress_show("the node makes a copy, %llu s ...",
                      (unsigned long long)(now - s->begun_ms) / 1000);
        return;
    }
    bytes_format(s->size, size);
    bytes_format(s->total, total);
    bytes_format(s->size * 1000 / (now - s->begun_ms + 1), speed);
    if (s->total > 0)
        progress_show("%s: %s of %s, %3.0f %%, %s/s", s->path, size, total,
                      100.0 * (double)s->size / (double)s->total, speed);
    else
        progress_show("%s: %s, %s/s", s->path, size, speed);
}

static bool take_piece(void *arg, const void *data, size_t size)
{
    struct saving *s = arg;
    const char *rest = data;
    sha256_add(s->sha256, data, size);
    s->size += size;
    while (size > 0) {
        ssize_t n = write(s->fd, rest, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            s->write_errno = errno;
            return false;
        }
        rest += n;
        size -= (size_t)n;
    }
    return true;
}

/* --- keeping it ----------------------------------------------------------- */

static int fail(const struct saving *s, const char *path, int error,
                struct errmsg *e)
{
    return errmsg_set(e, error == ENOSPC ? ERR_NOSPACE : ERR_IO,
                      "%s: %s; %s is as it was", path, strerror(error),
                      s->path);
}

/* A name is on the disk when its directory is. */
static int sync_directory(const char *path)
{
    char directory[PATH_SIZE];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash == NULL)
        snprintf(directory, sizeof directory, ".");
    else
        slash[slash == directory ? 1 : 0] = '\0';
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int rv = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return rv;
}

static int write_sum(const struct saving *s, const char *sum, struct errmsg *e)
{
    const char *slash = strrchr(s->path, '/');
    FILE *file = fopen(s->sum_part, "we");
    if (file == NULL)
        return fail(s, s->sum_part, errno, e);
    bool ok = fprintf(file, "%s  %s\n", sum,
                      slash != NULL ? slash + 1 : s->path) > 0 &&
              fflush(file) == 0 && fsync(fileno(file)) == 0;
    int error = errno;
    ok = fclose(file) == 0 && ok;
    return ok ? 0 : fail(s, s->sum_part, error, e);
}

/* At every moment FILE has its own sum or none: a copy that is whole is never
 * taken for a damaged one. */
static int rename_both(const struct saving *s, struct errmsg *e)
{
    char path[PATH_SIZE + 8];
    snprintf(path, sizeof path, "%s.sha256", s->path);
    if (unlink(path) != 0 && errno != ENOENT)
        return fail(s, path, errno, e);
    int error = sync_directory(s->path);
    if (error == 0 && rename(s->part, s->path) != 0)
        error = errno;
    if (error != 0)
        return errmsg_set(e, ERR_IO, "%s: %s; %s is as it was, without its sum",
                          s->path, strerror(error), s->path);
    if (rename(s->sum_part, path) != 0)
        error = errno;
    int synced = sync_directory(s->path);
    if (error == 0)
        error = synced;
    return error == 0 ? 0
                      : errmsg_set(e, ERR_IO, "%s: %s; %s is the new copy",
                                   path, strerror(error), s->path);
}

static int keep(struct saving *s, char sum[SHA256_TEXT_SIZE], struct errmsg *e)
{
    sha256_text(s->sha256, sum);
    if (s->promised[0] == '\0' || s->index[0] == '\0')
        return errmsg_set(e, ERR_CORRUPT,
                          "what came is no copy of a store: it has no index "
                          "or no sum; is this a node's HTTP address?");
    if (strcasecmp(s->promised, sum) != 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "what came is not what the node sent (SHA-256 "
                          "%.16s..., wanted %.16s...): try again",
                          sum, s->promised);
    if (fsync(s->fd) != 0)
        return fail(s, s->part, errno, e);
    int rv = write_sum(s, sum, e);
    return rv == 0 ? rename_both(s, e) : rv;
}

static int begin(struct ctl *c, struct saving *s, struct errmsg *e)
{
    s->path = c->arguments[0];
    int n = snprintf(s->part, sizeof s->part, "%s.part", s->path);
    if (n < 0 || (size_t)n >= sizeof s->part)
        return errmsg_set(e, ERR_INVALID, "the name of the file is too long");
    snprintf(s->sum_part, sizeof s->sum_part, "%s.sha256.part", s->path);
    s->begun_ms = clock_mono_ms();
    s->sha256 = sha256_create();
    if (s->sha256 == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    s->fd = open(s->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return s->fd >= 0 ? 0 : fail(s, s->part, errno, e);
}

static int print_saved(const struct ctl *c, const struct saving *s,
                       const char *sum, struct errmsg *e)
{
    char size[UNIT_TEXT_SIZE];
    if (c->output == OUTPUT_JSON) {
        uint64_t index = 0;
        (void)number_parse(s->index, INT64_MAX, &index);
        return ctl_print_json(json_pack("{s:s,s:I,s:s,s:I,s:s}", "file",
                                        s->path, "index", (json_int_t)index,
                                        "cluster_id", s->cluster, "bytes",
                                        (json_int_t)s->size, "sha256", sum),
                              e);
    }
    bytes_format(s->size, size);
    printf("%s: %s, the state at log index %s\ncluster %s\nSHA-256 %s\n",
           s->path, size, s->index, s->cluster, sum);
    return 0;
}

int run_snapshot_save(struct ctl *c, struct errmsg *e)
{
    char sum[SHA256_TEXT_SIZE];
    struct saving s = {.fd = -1};
    int rv = begin(c, &s, e);
    if (rv == 0) {
        struct download d = {.endpoint = c->client.endpoints[0],
                             .path = "/api/v1/snapshot",
                             .take = take_piece,
                             .header = take_header,
                             .tick = show,
                             .arg = &s};
        rv = client_download(&c->client, &d, e);
        progress_clear();
        if (rv != 0 && s.write_errno != 0)
            rv = fail(&s, s.part, s.write_errno, e);
    }
    if (rv == 0)
        rv = keep(&s, sum, e);
    if (rv != 0 && s.fd >= 0) {
        unlink(s.part);
        unlink(s.sum_part);
    }
    if (rv == 0)
        rv = print_saved(c, &s, sum, e);
    if (s.fd >= 0)
        close(s.fd);
    sha256_destroy(s.sha256);
    return rv;
}

/* --- status --------------------------------------------------------------- */

/* The sum in FILE.sha256, "" if there is no such file. */
static int read_sum(const char *path, char out[SHA256_TEXT_SIZE],
                    struct errmsg *e)
{
    char name[PATH_SIZE + 8];
    out[0] = '\0';
    snprintf(name, sizeof name, "%s.sha256", path);
    FILE *file = fopen(name, "re");
    if (file == NULL && errno == ENOENT)
        return 0;
    if (file == NULL)
        return errmsg_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    if (fgets(out, SHA256_TEXT_SIZE, file) == NULL)
        out[0] = '\0';
    fclose(file);
    if (strspn(out, "0123456789abcdefABCDEF") == SHA256_TEXT_SIZE - 1)
        return 0;
    return errmsg_set(e, ERR_CORRUPT,
                      "%s holds no SHA-256: without that file %s is taken "
                      "unchecked",
                      name, path);
}

static int print_status(const struct ctl *c, const struct copy_info *info,
                        const char *sum, const char *kept, struct errmsg *e)
{
    char id[2 * CLUSTER_ID_SIZE + 1], size[UNIT_TEXT_SIZE];
    for (size_t i = 0; i < CLUSTER_ID_SIZE; i++)
        snprintf(id + 2 * i, 3, "%02x", info->cluster_id[i]);
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(
            json_pack("{s:s,s:I,s:I,s:I,s:s,s:I,s:s,s:b}", "file",
                      c->arguments[0], "index", (json_int_t)info->applied_index,
                      "term", (json_int_t)info->applied_term, "log_time_ms",
                      (json_int_t)info->log_time_ms, "cluster_id", id, "bytes",
                      (json_int_t)info->bytes, "sha256", sum, "sum_checked",
                      kept[0] != '\0'),
            e);
    time_t seconds = (time_t)(info->log_time_ms / 1000);
    char when[40] = "";
    struct tm tm;
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    bytes_format(info->bytes, size);
    printf("log index  %llu, of term %llu\nlog time   %s\ncluster    %s\n"
           "size       %s\nSHA-256    %s%s\n",
           (unsigned long long)info->applied_index,
           (unsigned long long)info->applied_term, when, id, size, sum,
           kept[0] != '\0' ? "\n           as FILE.sha256 says" : "");
    return 0;
}

int snapshot_check_sum(const char *path, char sum[SHA256_TEXT_SIZE],
                       char kept[SHA256_TEXT_SIZE], struct errmsg *e)
{
    int rv = sha256_of_file(path, sum, e);
    if (rv != 0)
        return rv;
    rv = read_sum(path, kept, e);
    if (rv != 0)
        return rv;
    if (kept[0] == '\0')
        fprintf(stderr, "%s.sha256 is not there: the sum was not checked\n",
                path);
    if (kept[0] != '\0' && strcasecmp(kept, sum) != 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%s is damaged, or another file: %s.sha256 says "
                          "%.16s..., it has %.16s...",
                          path, path, kept, sum);
    return 0;
}

int run_snapshot_status(struct ctl *c, struct errmsg *e)
{
    char sum[SHA256_TEXT_SIZE], kept[SHA256_TEXT_SIZE];
    const char *path = c->arguments[0];
    struct copy_info info;
    int rv = snapshot_check_sum(path, sum, kept, e);
    if (rv == 0)
        rv = store_copy_inspect(path, &info, e);
    return rv == 0 ? print_status(c, &info, sum, kept, e) : rv;
}
