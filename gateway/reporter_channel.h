/* The reporter's way to a node: a gRPC channel, in plain text or over TLS. The
 * node's certificate must be made by --grpc-ca (without it: by an authority
 * that the system trusts) and name the host of the URL. The files are read
 * again when they have changed, at the next stream. */
#pragma once

#include "base/file.h"
#include "gateway/reporter.h"

#include <grpc/grpc.h>
#include <grpc/slice.h>

struct channel_maker {
    const struct reporter_tls *files; /* borrowed */
    /* owned, NULL where no file is configured */
    char *ca, *cert, *key;
    struct file_mark ca_mark, cert_mark, key_mark;
};

/* Reads the files once: ERR_* with a message that names the file. */
NODISCARD int channel_maker_init(struct channel_maker *m,
                                 const struct reporter_tls *files,
                                 struct errmsg *e);
void channel_maker_deinit(struct channel_maker *m);

/* Never NULL: what cannot be reached says so at the call's end. */
grpc_channel *channel_open(struct channel_maker *m,
                           const struct reporter_node *node);

/* What to do about a stream to @node that never came about and ended with
 * @details. Static. */
const char *channel_advice(const struct reporter_node *node,
                           grpc_slice details);
