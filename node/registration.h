/* What Config told of a gateway's connection: its display name, and the log
 * index that the answer was read at, from which Updates goes on. Kept per
 * (location, hostname, connection), because a defguard gateway makes its calls
 * on one connection: two gateways of one hostname do not disturb each other.
 * grpc thread. reference section 1.6 */
#pragma once

#include "node/ingest.h"

enum {
    REGISTRATIONS_MAX = 8192, /* the one unused for longest goes first */
    CONNECTION_LENGTH_MAX = 79,
};

struct registration {
    char name[IDENTITY_LENGTH_MAX + 1];
    uint64_t index;
};

struct registrations {
    struct registration_entry *entries; /* owned, a uthash, oldest use first */
    uint64_t seed;                      /* of its hashes, see ingest_seed */
};

void registrations_deinit(struct registrations *r);

/* @connection: the peer of the call with its port. ERR_NOMEM. */
NODISCARD int registrations_note(struct registrations *r, uint32_t location,
                                 const char *hostname, const char *connection,
                                 const struct registration *told);

/* Borrowed until the next note; NULL when there was no Config. */
const struct registration *registrations_find(struct registrations *r,
                                              uint32_t location,
                                              const char *hostname,
                                              const char *connection);

/* The display name of the one gateway of this hostname that the roster knows,
 * for a stream without a Config before it: "" when it knows none, ERR_EXISTS
 * when there are several names, of which a guess could count bytes twice. */
NODISCARD int gateway_name_known(struct roster *roster, uint32_t location,
                                 const char *hostname,
                                 char name[IDENTITY_LENGTH_MAX + 1]);
