/* See rpc_tls.h. reference: grpc-c-core.md, "Cert rotation w/o restart" */
#include "node/rpc_tls.h"

#include "base/log.h"

#include <stdlib.h>

static int load(const struct rpc_tls *t,
                grpc_ssl_server_certificate_config **config, struct errmsg *e)
{
    char *cert = NULL, *key = NULL;
    int rv = file_read_text(t->cert_path, &cert, e);
    if (rv == 0)
        rv = file_read_text(t->key_path, &key, e);
    if (rv == 0) {
        grpc_ssl_pem_key_cert_pair pair = {.private_key = key,
                                           .cert_chain = cert};
        /* libgrpc insists on roots here even where no client is asked for a
         * certificate and they are of no use. */
        *config = grpc_ssl_server_certificate_config_create(cert, &pair, 1);
    }
    free(cert);
    free(key);
    return rv;
}

/* Under the lock. The marks are taken before the files are read: what changes
 * in between is read at the next handshake. */
static grpc_ssl_certificate_config_reload_status
reload(struct rpc_tls *t, grpc_ssl_server_certificate_config **config)
{
    struct errmsg e;
    struct file_mark cert = file_mark_take(t->cert_path);
    struct file_mark key = file_mark_take(t->key_path);
    if (t->served && file_mark_equal(&cert, &t->cert) &&
        file_mark_equal(&key, &t->key))
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    t->cert = cert;
    t->key = key;
    if (load(t, config, &e) == 0) {
        if (t->served)
            log_info("tls", "%s and its key are read again for gateways",
                     t->cert_path);
        t->served = true;
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
    }
    log_warn("tls", "%s; gateways are served the old certificate", e.text);
    return t->served ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED
                     : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
}

/* A thread of libgrpc's. */
static grpc_ssl_certificate_config_reload_status
fetch(void *arg, grpc_ssl_server_certificate_config **config)
{
    struct rpc_tls *t = arg;
    pthread_mutex_lock(&t->lock);
    grpc_ssl_certificate_config_reload_status status = reload(t, config);
    pthread_mutex_unlock(&t->lock);
    return status;
}

grpc_server_credentials *rpc_tls_credentials(struct rpc_tls *t,
                                             const char *cert_path,
                                             const char *key_path)
{
    *t = (struct rpc_tls){.cert_path = cert_path, .key_path = key_path};
    pthread_mutex_init(&t->lock, NULL);
    /* The credentials own the options. */
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, fetch, t));
}

void rpc_tls_deinit(struct rpc_tls *t)
{
    if (t->cert_path != NULL)
        pthread_mutex_destroy(&t->lock);
}
