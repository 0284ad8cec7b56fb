/* token recover: asks the node of this host for a new admin token, through its
 * data directory alone (node/token_request.h has the other side). */
#include "ctl/run.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, TOKEN_LENGTH_MAX = 100, LOOK_EVERY_MS = 100 };

static void path_of(const struct ctl *c, const char *name, char out[PATH_SIZE])
{
    const char *data_dir = c->values[FLAG_DATA_DIR];
    if (data_dir == NULL)
        data_dir = flags[FLAG_DATA_DIR].fallback;
    snprintf(out, PATH_SIZE, "%s/%s", data_dir, name);
}

/* One that is there already waits for the same. */
static int ask(const struct ctl *c, const char *request, struct errmsg *e)
{
    char identity[PATH_SIZE];
    path_of(c, "identity", identity);
    if (access(identity, F_OK) != 0)
        return errmsg_set(e, ERR_INVALID,
                          "%s: %s; --data-dir of a node of this host is "
                          "wanted, and the right to write there",
                          identity, strerror(errno));
    int fd = open(request, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return errmsg_set(e, ERR_IO, "%s: %s", request, strerror(errno));
    if (fd >= 0)
        close(fd);
    return 0;
}

static int await_answer(const struct ctl *c, const char *request,
                        struct errmsg *e)
{
    uint64_t begun = clock_mono_ms();
    while (access(request, F_OK) == 0) {
        if (clock_mono_ms() - begun >= (uint64_t)c->client.timeout_ms)
            return errmsg_set(
                e, ERR_TIMEOUT,
                "%s: no answer yet. A running node answers it when the cluster "
                "has a leader; if both are so, its log says why not. The token "
                "will be in admin-token there; to withdraw, remove the file",
                request);
        nanosleep(&(struct timespec){0, LOOK_EVERY_MS * 1000000L}, NULL);
    }
    return 0;
}

static int read_token(const char *path, char token[TOKEN_LENGTH_MAX],
                      struct errmsg *e)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errmsg_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    token[0] = '\0';
    bool read = fgets(token, TOKEN_LENGTH_MAX, file) != NULL;
    fclose(file);
    token[strcspn(token, "\n")] = '\0';
    return read ? 0 : errmsg_set(e, ERR_IO, "%s: is empty", path);
}

int run_token_recover(struct ctl *c, struct errmsg *e)
{
    char request[PATH_SIZE], final[PATH_SIZE], token[TOKEN_LENGTH_MAX];
    path_of(c, "admin-token.request", request);
    path_of(c, "admin-token", final);
    int rv = ask(c, request, e);
    if (rv == 0)
        rv = await_answer(c, request, e);
    if (rv == 0)
        rv = read_token(final, token, e);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(
            json_pack("{s:s,s:s}", "file", final, "token", token), e);
    /* As token create: the token alone on stdout. */
    fprintf(stderr, "it is in %s too:\n", final);
    puts(token);
    return 0;
}
