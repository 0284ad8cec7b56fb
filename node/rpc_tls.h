/* The certificate of the gateways' port. libgrpc asks for it at every
 * handshake; the files are read again when they have changed, so that a renewed
 * certificate is served without a restart. What cannot be read or does not fit
 * together leaves the old one in use. */
#pragma once

#include "base/file.h"

#include <grpc/grpc_security.h>
#include <pthread.h>

struct rpc_tls {
    const char *cert_path, *key_path; /* borrowed */
    /* Handshakes run on threads of libgrpc's: guarded by lock. */
    pthread_mutex_t lock;
    struct file_mark cert, key; /* as they were when last read */
    bool served;                /* once: there is an old one to go on with */
};

/* @t must outlive the server. NULL when libgrpc has no memory. */
grpc_server_credentials *rpc_tls_credentials(struct rpc_tls *t,
                                             const char *cert_path,
                                             const char *key_path);
void rpc_tls_deinit(struct rpc_tls *t);
