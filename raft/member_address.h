/* How libraft's configuration names a server: "name=host:port". libraft takes
 * it for an opaque string; we dial what follows the "=" and so know the name of
 * every member on every node, also of one that is dead. Configurations of
 * before have "host:port" alone, and no name. Pure. */
#pragma once

#include "raft/replica.h"

enum {
    MEMBER_ADDRESS_LENGTH_MAX =
        NODE_NAME_LENGTH_MAX + 1 + PEER_ADDRESS_LENGTH_MAX,
};

/* @out takes MEMBER_ADDRESS_LENGTH_MAX + 1 characters. */
void member_address_join(const char *name, const char *address, char *out);

/* The parts; a name that is not there is "". ERR_INVALID: too long. */
NODISCARD int member_address_split(const char *text, struct repl_peer *out);

/* What to dial: the part after the name; borrowed from @text. */
const char *member_address_dial(const char *text);
