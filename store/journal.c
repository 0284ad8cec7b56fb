#include "store/journal.h"
#include "store/roster_state.h"

#include <stdlib.h>

int journal_init(struct journal *j)
{
    *j = (struct journal){0};
    j->changes = calloc(JOURNAL_CHANGES_MAX, sizeof *j->changes);
    return j->changes == NULL ? ERR_NOMEM : 0;
}

void journal_deinit(struct journal *j)
{
    free(j->changes);
    *j = (struct journal){0};
}

static struct change *change_at(const struct journal *j, uint64_t position)
{
    return &j->changes[position % JOURNAL_CHANGES_MAX];
}

void journal_push(struct journal *j, uint64_t index, enum change_kind kind,
                  uint32_t id, const uint8_t *key)
{
    struct change *c = change_at(j, j->pushed);
    if (j->pushed >= JOURNAL_CHANGES_MAX)
        j->floor = c->index;
    *c = (struct change){.index = index, .kind = kind, .id = id};
    if (key != NULL)
        memcpy(c->public_key, key, sizeof c->public_key);
    j->pushed++;
}

int roster_changes(const struct roster *r, uint64_t after, struct change *out,
                   size_t max)
{
    const struct journal *j = &r->journal;
    if (after < j->floor)
        return ERR_BEHIND;
    /* From the newest back: readers are rarely far behind. */
    uint64_t oldest =
        j->pushed < JOURNAL_CHANGES_MAX ? 0 : j->pushed - JOURNAL_CHANGES_MAX;
    uint64_t first = j->pushed;
    while (first > oldest && change_at(j, first - 1)->index > after)
        first--;
    uint64_t end = j->pushed;
    if (end - first > max) {
        end = first + max;
        while (end > first &&
               change_at(j, end - 1)->index == change_at(j, end)->index)
            end--;
        if (end == first)
            return ERR_BEHIND;
    }
    for (uint64_t i = first; i < end; i++)
        out[i - first] = *change_at(j, i);
    return (int)(end - first);
}
