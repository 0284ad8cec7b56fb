/* See reporter_channel.h. Part of the reporter: the agent's only thread. */
#include "gateway/reporter_channel.h"

#include "base/assert.h"
#include "base/log.h"

#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- certificates --------------------------------------------------------- */

/* Reads @path if it is not what was read last. A file that cannot be read
 * leaves the old text; it is told once for each state of the file. */
static int refresh(const char *path, char **text, struct file_mark *mark,
                   struct errmsg *e)
{
    char *fresh = NULL;
    if (path == NULL)
        return 0;
    struct file_mark now = file_mark_take(path);
    if (*text != NULL && file_mark_equal(&now, mark))
        return 0;
    *mark = now;
    int rv = file_read_text(path, &fresh, e);
    if (rv != 0)
        return rv;
    free(*text);
    *text = fresh;
    return 0;
}

static int refresh_all(struct channel_maker *m, struct errmsg *e)
{
    const struct reporter_tls *f = m->files;
    int rv = refresh(f->ca, &m->ca, &m->ca_mark, e);
    if (rv != 0)
        return errmsg_wrap(e, rv, "--grpc-ca");
    rv = refresh(f->cert, &m->cert, &m->cert_mark, e);
    if (rv != 0)
        return errmsg_wrap(e, rv, "--tls-cert");
    rv = refresh(f->key, &m->key, &m->key_mark, e);
    return rv != 0 ? errmsg_wrap(e, rv, "--tls-key") : 0;
}

int channel_maker_init(struct channel_maker *m,
                       const struct reporter_tls *files, struct errmsg *e)
{
    *m = (struct channel_maker){.files = files};
    int rv = refresh_all(m, e);
    if (rv != 0)
        channel_maker_deinit(m);
    return rv;
}

void channel_maker_deinit(struct channel_maker *m)
{
    free(m->ca);
    free(m->cert);
    free(m->key);
    *m = (struct channel_maker){0};
}

static grpc_channel_credentials *make_credentials(struct channel_maker *m,
                                                  bool tls)
{
    struct errmsg e;
    if (!tls)
        return grpc_insecure_credentials_create();
    if (refresh_all(m, &e) != 0)
        log_warn("tls", "%s; going on with the old one", e.text);
    grpc_ssl_pem_key_cert_pair own = {.private_key = m->key,
                                      .cert_chain = m->cert};
    return grpc_ssl_credentials_create_ex(m->ca, m->cert != NULL ? &own : NULL,
                                          NULL, NULL);
}

/* --- channels ------------------------------------------------------------- */

static grpc_arg int_arg(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER};
    memcpy(&arg.key, &key, sizeof key); /* gRPC does not write to it */
    arg.value.integer = value;
    return arg;
}

static grpc_arg string_arg(const char *key, const char *value)
{
    grpc_arg arg = {.type = GRPC_ARG_STRING};
    memcpy(&arg.key, &key, sizeof key);
    memcpy(&arg.value.string, &value, sizeof value);
    return arg;
}

grpc_channel *channel_open(struct channel_maker *m,
                           const struct reporter_node *node)
{
    grpc_arg args[] = {
        /* A frozen node answers no ping; the patience for an acknowledgement
         * sees that sooner, but only while a batch waits. */
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, 2000),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 1000),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        /* Also the time that one attempt to connect may take. */
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000),
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100),
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000),
        /* A DNS name with many addresses: any that answers. */
        string_arg(GRPC_ARG_SERVICE_CONFIG,
                   "{\"loadBalancingConfig\":[{\"round_robin\":{}}]}"),
    };
    grpc_channel_args list = {sizeof args / sizeof *args, args};
    grpc_channel_credentials *credentials = make_credentials(m, node->tls);
    /* A key that does not fit its certificate: the call says UNAVAILABLE. */
    grpc_channel *channel =
        credentials != NULL
            ? grpc_channel_create(node->address, credentials, &list)
            : grpc_lame_client_channel_create(
                  node->address, GRPC_STATUS_UNAVAILABLE,
                  "the certificates cannot be used");
    grpc_channel_credentials_release(credentials);
    ASSERT(channel != NULL);
    return channel;
}

/* gRPC has no codes for why a connection failed, only a text. */
const char *channel_advice(const struct reporter_node *node, grpc_slice details)
{
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)GRPC_SLICE_LENGTH(details),
             (const char *)GRPC_SLICE_START_PTR(details));
    if (strstr(text, "certificate verify failed") != NULL)
        return "check --grpc-ca: it must hold the CA that made the node's "
               "certificate (without it, one that this system trusts); trying "
               "on";
    if (strstr(text, "Hostname Verification") != NULL ||
        strstr(text, "Peer name") != NULL)
        return "the node's certificate does not name the host of --grpc-url; "
               "trying on";
    if (node->tls && strstr(text, "wrong version number") != NULL)
        return "the node speaks no TLS there: http:// instead of https://?";
    if (!node->tls && strstr(text, "Socket closed") != NULL)
        return "the node ended the connection: https:// instead of http://?";
    return "trying the other nodes";
}
