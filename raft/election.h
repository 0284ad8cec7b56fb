/* The messages of elections, beside libraft: one that starts an election now,
 * and votes that must not be lost on a link that broke while it was idle. Raft
 * loop only. */
#pragma once

#include "raft/guard.h"

/* Lets libraft start an election now, as if @leader_id, whom it must follow,
 * had handed leadership over; nothing happens if it follows somebody else.
 * @last_term: of the last entry of this node's log. Not inside a callback of
 * libraft. */
void election_start_now(struct guard *g, uint64_t leader_id,
                        uint64_t last_term);

/* Is it a vote, a request for one, or the word to start an election? */
bool election_concerns(const struct raft_message *message);

/* As raft_io's send, but once more if the link turns out to be broken. */
NODISCARD int election_send(struct guard *g, struct raft_io_send *req,
                            const struct raft_message *message,
                            raft_io_send_cb cb);
