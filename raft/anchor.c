#include "raft/anchor.h"

unsigned anchor_entries(const struct raft_trail *trail,
                        struct raft_append_entries *m)
{
    if (m->prev_log_index >= trail->offset ||
        m->prev_log_index >= trail->snapshot.index)
        return 0;
    raft_index known = trail->snapshot.index - m->prev_log_index;
    m->prev_log_index = trail->snapshot.index;
    m->prev_log_term = trail->snapshot.term;
    return known < m->n_entries ? (unsigned)known : m->n_entries;
}
