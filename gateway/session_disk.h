/* What of a session is on the disk: every tick is saved before any of its
 * batches is sent, so that an agent that was killed goes on with its session
 * (DESIGN, rule 1). The spool in memory stays what is sent from; the disk is
 * its journal, read once at the start. When the disk fails the session goes on
 * in memory, and what is on the disk is made void: a number that the disk does
 * not know could be given to another batch after a restart. Part of session.c;
 * the agent's only thread.
 *
 *   KEPT ──write failed──► FAILED ──all is acknowledged: tried anew──► KEPT */
#pragma once

#include "gateway/session.h"
#include "gateway/spool_dir.h"

/* Goes on with the session in @dir, which is borrowed, opened and never read;
 * the next look says all peers. A fresh session starts there if there is none.
 * Otherwise ERR_CORRUPT, ERR_IO, ERR_LIMIT (more than the spool may hold) with
 * a message: what is there was given up, and the session is a fresh one that is
 * kept there. ERR_NEWER, with a message: what is there was left as it is, and
 * the session must not be used. ERR_NOMEM. */
NODISCARD int session_resume(struct session *s, struct spool_dir *dir,
                             struct errmsg *e);

/* Saves the look whose batches begin at @first. ERR_LIMIT: the spool is full.
 * ERR_CLOSED: the disk failed and may still hold a part of this session, which
 * must be given up. At most once a tick. ERR_NOMEM. */
NODISCARD int session_save_look(struct session *s, uint64_t first);

/* All that is in the spool is about to be sent: says so on the disk first.
 * ERR_CLOSED, ERR_NOMEM as above. */
NODISCARD int session_save_sent(struct session *s);

/* What is acknowledged is needed no more. */
void session_save_acknowledged(struct session *s);
