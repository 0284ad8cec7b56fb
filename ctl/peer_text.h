/* "d=d.example:7600": a node's name and peer address. */
#pragma once

#include "raft/replica.h"

/* ERR_INVALID: the message says what is wanted; @what names the argument. */
NODISCARD int peer_parse(const char *text, const char *what,
                         struct repl_peer *out, struct errmsg *e);
