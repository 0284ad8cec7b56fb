/* Instead of raft/fetch.c, for tests of membership: a node that was let in
 * starts with what the founders had in their logs, and the leader sends the
 * rest. */
#pragma once

#include "raft/test/cluster.h"

/* Waits for a leader and remembers the founders. */
void fake_fetch_found(struct cluster *c);
