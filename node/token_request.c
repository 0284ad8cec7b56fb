#include "node/token_request.h"

#include "base/clock.h"
#include "base/log.h"
#include "node/token_file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMPLAINT_EVERY_MS = 60 * 1000, HEARD_MS_MAX = 3000 };

/* It is tried again every second all the same. */
static void complain(struct token_request *t, const char *path, const char *why)
{
    uint64_t now_ms = clock_mono_ms();
    if (now_ms < t->quiet_until_ms)
        return;
    log_error("token_request", "%s: %s", path, why);
    t->quiet_until_ms = now_ms + COMPLAINT_EVERY_MS;
}

void token_request_init(struct token_request *t, struct node *node)
{
    *t = (struct token_request){.node = node};
}

void token_request_deinit(struct token_request *t)
{
    buf_deinit(&t->record);
}

/* Somebody with this process's rights asks. In a directory that others may
 * write to a file may be theirs, or a link to one that is not. */
static bool is_asked(struct token_request *t, const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return false;
    if (S_ISREG(st.st_mode) && st.st_nlink == 1 &&
        (st.st_uid == geteuid() || st.st_uid == 0))
        return true;
    complain(t, path,
             "is not a file of this node's user or of root: no admin token "
             "is made for it");
    return false;
}

/* Whatever became of it, the roster shows it, or the next step tries again. */
static void proposal_done(struct submission *s, int status)
{
    struct token_request *t = CONTAINER_OF(s, struct token_request, submission);
    atomic_store(&t->refused, status == 0 && s->outcome.code == OUTCOME_LIMIT);
    atomic_store(&t->failed, status != 0);
    atomic_store(&t->in_flight, false);
}

static void propose(struct token_request *t)
{
    uint8_t hash[API_TOKEN_HASH_SIZE];
    char name[100];
    api_token_hash(bytes_of_string(t->token), hash);
    snprintf(name, sizeof name, "recovered on %s", t->node->config->name);
    buf_clear(&t->record);
    record_put_token_create(&t->record, name, hash);
    if (buf_failed(&t->record))
        return;
    t->submission = (struct submission){.record = buf_bytes(&t->record),
                                        .done = proposal_done};
    atomic_store(&t->in_flight, true);
    repl_submit(t->node->repl, &t->submission);
}

/* A new one every time: what lies there may be another's. */
static bool make(struct token_request *t)
{
    char path[TOKEN_PATH_SIZE];
    token_file_path(t->node, ".new", path);
    api_token_make(t->token);
    if (token_file_write(path, t->token))
        return true;
    t->token[0] = '\0';
    complain(t, path, strerror(errno));
    return false;
}

/* The request goes last: until then everything is done again after a crash. */
static void answer(struct token_request *t, const char *request)
{
    char pending[TOKEN_PATH_SIZE], final[TOKEN_PATH_SIZE];
    token_file_path(t->node, ".new", pending);
    token_file_path(t->node, "", final);
    if (rename(pending, final) != 0) {
        complain(t, final, strerror(errno));
        return;
    }
    log_warn("token_request",
             "a new admin token was made, as %s asked for: it is in %s. The "
             "others still count",
             request, final);
    t->token[0] = '\0';
    if (unlink(request) != 0)
        complain(t, request, strerror(errno));
}

/* The token that is here already does. Only a node that hears the cluster knows
 * that it was not revoked. */
static bool is_needless(struct token_request *t)
{
    char final[TOKEN_PATH_SIZE], token[API_TOKEN_LENGTH + 1];
    struct repl_status status;
    repl_status(t->node->repl, &status);
    if (status.heard_ms == 0 ||
        clock_mono_ms() > status.heard_ms + HEARD_MS_MAX)
        return false;
    token_file_path(t->node, "", final);
    return token_file_read(final, token) && token_is_known(t->node, token);
}

void token_request_step(struct token_request *t)
{
    char request[TOKEN_PATH_SIZE];
    if (atomic_load(&t->in_flight))
        return;
    token_file_path(t->node, ".request", request);
    if (!is_asked(t, request))
        return;
    if (t->token[0] != '\0' && token_is_known(t->node, t->token)) {
        answer(t, request);
    } else if (t->token[0] == '\0' && is_needless(t)) {
        log_info("token_request", "the token in admin-token is good");
        if (unlink(request) != 0)
            complain(t, request, strerror(errno));
    } else if (t->token[0] != '\0' || make(t)) {
        if (atomic_load(&t->refused))
            complain(t, request, "the cluster has no room for one more token");
        else if (atomic_load(&t->failed))
            complain(t, request,
                     "the cluster takes no new token now: tried on");
        propose(t);
    }
}
