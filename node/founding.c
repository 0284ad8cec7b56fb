#include "node/founding.h"

#include "base/log.h"
#include "node/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATH_LENGTH_MAX = 4096 };

static const char final_name[] = "admin-token";
static const char pending_name[] = "admin-token.new";

static void path_of(const struct founding *f, const char *name,
                    char out[PATH_LENGTH_MAX])
{
    snprintf(out, PATH_LENGTH_MAX, "%s/%s", f->node->config->data_dir, name);
}

/* --- the token that waits for its proposal -------------------------------- */

static bool token_read(const char *path, char token[API_TOKEN_LENGTH + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, token, API_TOKEN_LENGTH);
    close(fd);
    token[API_TOKEN_LENGTH] = '\0';
    return size == API_TOKEN_LENGTH;
}

static bool token_write(const char *path, const char *token)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, token, API_TOKEN_LENGTH) == API_TOKEN_LENGTH &&
              write(fd, "\n", 1) == 1 && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

/* The hash to propose: of the token given, of one that waits from a start
 * before, or of a new one. */
static bool token_prepare(struct founding *f, uint8_t hash[API_TOKEN_HASH_SIZE])
{
    const char *given = f->node->config->admin_token;
    char path[PATH_LENGTH_MAX], token[API_TOKEN_LENGTH + 1];
    if (given != NULL) {
        api_token_hash(bytes_of_string(given), hash);
        return true;
    }
    path_of(f, pending_name, path);
    if (!token_read(path, token)) {
        api_token_make(token);
        if (!token_write(path, token)) {
            log_error("founding", "%s: %s", path, strerror(errno));
            return false;
        }
    }
    api_token_hash(bytes_of_string(token), hash);
    return true;
}

/* The settings are there: were they ours? */
static void token_publish(struct founding *f)
{
    char pending[PATH_LENGTH_MAX], final[PATH_LENGTH_MAX];
    char token[API_TOKEN_LENGTH + 1];
    uint8_t hash[API_TOKEN_HASH_SIZE];
    path_of(f, pending_name, pending);
    path_of(f, final_name, final);
    if (!token_read(pending, token))
        return;
    api_token_hash(bytes_of_string(token), hash);
    struct roster *roster = store_roster(f->node->store);
    roster_read_lock(roster);
    bool ours = roster_api_token(roster, hash);
    roster_read_unlock(roster);
    if (!ours)
        unlink(pending);
    else if (rename(pending, final) == 0)
        log_info("founding", "the admin token of the cluster is in %s", final);
    else
        log_error("founding", "%s: %s; the admin token stays in %s", final,
                  strerror(errno), pending);
}

/* Flags that count only at the founding are easily believed to count later. */
static void tell_what_is_ignored(struct founding *f)
{
    const struct node_config *config = f->node->config;
    uint8_t hash[API_TOKEN_HASH_SIZE];
    if (config->admin_token != NULL)
        api_token_hash(bytes_of_string(config->admin_token), hash);
    struct roster *roster = store_roster(f->node->store);
    roster_read_lock(roster);
    bool token = config->admin_token == NULL || roster_api_token(roster, hash);
    bool secret = config->gateway_secret == NULL ||
                  strcmp(config->gateway_secret,
                         roster_settings(roster)->gateway_secret) == 0;
    roster_read_unlock(roster);
    if (!token)
        log_warn("founding", "--admin-token is not a token of this cluster: it "
                             "counts only when a cluster is founded");
    if (!secret)
        log_warn("founding", "--gateway-secret is not this cluster's: it "
                             "counts only when a cluster is founded");
}

/* --- the proposal --------------------------------------------------------- */

void founding_init(struct founding *f, struct node *node)
{
    *f = (struct founding){.node = node};
}

void founding_deinit(struct founding *f)
{
    buf_deinit(&f->record);
}

/* Whatever became of it, the roster shows it, or the next step tries again. */
static void proposal_done(struct submission *s, int status)
{
    struct founding *f = CONTAINER_OF(s, struct founding, submission);
    (void)status;
    atomic_store(&f->in_flight, false);
}

static void propose(struct founding *f, const struct repl_status *status)
{
    const struct node_config *config = f->node->config;
    char secret[65];
    struct settings_spec spec = {
        .gateway_secret = config->gateway_secret,
        .retain_minute_s = config->retain_minute_s,
        .retain_hour_s = config->retain_hour_s,
        .retain_day_s = config->retain_day_s,
    };
    memcpy(spec.cluster_id, status->cluster_id, CLUSTER_ID_SIZE);
    if (!token_prepare(f, spec.admin_token_hash))
        return;
    if (spec.gateway_secret == NULL) {
        gateway_secret_make(secret);
        spec.gateway_secret = secret;
    }
    buf_clear(&f->record);
    record_put_settings(&f->record, &spec);
    if (buf_failed(&f->record))
        return;
    f->submission = (struct submission){.record = buf_bytes(&f->record),
                                        .done = proposal_done};
    atomic_store(&f->in_flight, true);
    repl_submit(f->node->repl, &f->submission);
}

bool founding_step(struct founding *f)
{
    if (f->done)
        return true;
    struct roster *roster = store_roster(f->node->store);
    roster_read_lock(roster);
    const struct settings *settings = roster_settings(roster);
    bool founded = settings != NULL && settings->present;
    roster_read_unlock(roster);
    if (atomic_load(&f->in_flight))
        return false;
    if (founded) {
        token_publish(f);
        tell_what_is_ignored(f);
        f->done = true;
        return true;
    }
    struct repl_status status;
    repl_status(f->node->repl, &status);
    if (status.is_leader && status.bootstrapped)
        propose(f, &status);
    return false;
}
