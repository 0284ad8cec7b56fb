#include "node/founding.h"

#include "base/log.h"
#include "node/token_file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* --- the token that waits for its proposal -------------------------------- */

/* The hash to propose: of the token given, of one that waits from a start
 * before, or of a new one. */
static bool token_prepare(struct founding *f, uint8_t hash[API_TOKEN_HASH_SIZE])
{
    const char *given = f->node->config->admin_token;
    char path[TOKEN_PATH_SIZE], token[API_TOKEN_LENGTH + 1];
    if (given != NULL) {
        api_token_hash(bytes_of_string(given), hash);
        return true;
    }
    token_file_path(f->node, ".new", path);
    if (!token_file_read(path, token)) {
        api_token_make(token);
        if (!token_file_write(path, token)) {
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
    char pending[TOKEN_PATH_SIZE], final[TOKEN_PATH_SIZE];
    char token[API_TOKEN_LENGTH + 1];
    token_file_path(f->node, ".new", pending);
    token_file_path(f->node, "", final);
    if (!token_file_read(pending, token))
        return;
    if (!token_is_known(f->node, token))
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
    bool token = config->admin_token == NULL ||
                 token_is_known(f->node, config->admin_token);
    struct roster *roster = store_roster(f->node->store);
    roster_read_lock(roster);
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
