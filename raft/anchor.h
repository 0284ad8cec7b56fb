/* Entries that a leader sends from before the point at which this node's log
 * begins. All that a node has behind it in a snapshot is committed, so such
 * entries are known and what precedes them matches; but libraft 0.22 refuses
 * them, its leader then goes back one entry a round trip, and when it meets the
 * start of its own log it begins again: for ever, if this node was seeded
 * (raft/seed.h) at an index that is newer than the leader's snapshot. Pure. */
#pragma once

#include <raft.h>

#include <stdbool.h>

/* Moves the start of @m to the end of the snapshot if it is before the log.
 * The entries that this leaves out are @m->entries[0, return value): the caller
 * drops them and frees what belongs to them if none is left. */
unsigned anchor_entries(const struct raft_trail *trail,
                        struct raft_append_entries *m);
