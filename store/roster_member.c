/* What the cluster agreed on about its nodes: the feature level, and what
 * operators wish of members. One row; it is there once there is anything to
 * say. docs/format.md, "Roster rows" and "Feature levels". Applier thread, or
 * before the threads start; reading as store/roster.h says. */
#include "store/roster_spec.h"
#include "store/roster_state.h"

unsigned roster_level(const struct roster *r)
{
    return atomic_load(&r->level_seen);
}

static struct member_row *find(struct members *m, struct bytes name)
{
    for (size_t i = 0; i < m->count; i++)
        if (bytes_equal(bytes_of_string(m->rows[i].name), name))
            return &m->rows[i];
    return NULL;
}

enum member_wish roster_wish(const struct roster *r, const char *name)
{
    for (size_t i = 0; i < r->members.count; i++)
        if (strcmp(r->members.rows[i].name, name) == 0)
            return r->members.rows[i].wish;
    return WISH_AUTO;
}

void roster_set_level(struct roster *r, unsigned level)
{
    r->members.level = level;
    atomic_store(&r->level_seen, level);
}

/* --- commands ------------------------------------------------------------- */

enum outcome_code roster_apply_level(struct roster *r, struct reader *body)
{
    uint32_t level = reader_varint32(body);
    if (body->failed || body->size > 0 || level == 0)
        return OUTCOME_INVALID;
    if (level <= r->members.level)
        return OUTCOME_DUPLICATE;
    roster_set_level(r, level);
    r->members_dirty = true;
    return OUTCOME_TAKEN;
}

static bool take_row(struct reader *in, struct bytes *name,
                     enum member_wish *wish)
{
    uint8_t value = reader_u8(in);
    *name = reader_bytes(in);
    *wish = (enum member_wish)value;
    return !in->failed && value <= WISH_STANDBY && name->size > 0 &&
           name->size < sizeof((struct member_row *)0)->name &&
           bytes_are_text(*name);
}

/* In order of names, so that the row is the same on every node. */
static void insert(struct members *m, struct bytes name, enum member_wish wish)
{
    struct member_row row = {.wish = wish};
    memcpy(row.name, name.data, name.size);
    size_t at = m->count++;
    while (at > 0 && strcmp(m->rows[at - 1].name, row.name) > 0) {
        m->rows[at] = m->rows[at - 1];
        at--;
    }
    m->rows[at] = row;
}

enum outcome_code roster_apply_member(struct roster *r, struct reader *body)
{
    struct members *m = &r->members;
    struct bytes name;
    enum member_wish wish;
    if (!take_row(body, &name, &wish) || body->size > 0)
        return OUTCOME_INVALID;
    struct member_row *row = find(m, name);
    if (row == NULL && wish == WISH_AUTO)
        return OUTCOME_DUPLICATE;
    if (row == NULL && m->count == WISHES_MAX)
        return OUTCOME_LIMIT;
    r->members_dirty = true;
    if (row == NULL) {
        insert(m, name, wish);
    } else if (wish != WISH_AUTO) {
        row->wish = wish;
    } else {
        m->count--;
        size_t at = (size_t)(row - m->rows);
        memmove(row, row + 1, (m->count - at) * sizeof *row);
    }
    return OUTCOME_TAKEN;
}

/* --- the row -------------------------------------------------------------- */

bool roster_has_members(const struct roster *r)
{
    return r->members.level > LEVEL_OLDEST || r->members.count > 0;
}

void roster_put_members(struct buf *out, const struct roster *r)
{
    buf_put_varint(out, r->members.level);
    buf_put_varint(out, r->members.count);
    for (size_t i = 0; i < r->members.count; i++) {
        buf_put_u8(out, (uint8_t)r->members.rows[i].wish);
        buf_put_string(out, r->members.rows[i].name);
    }
}

int roster_load_members(struct roster *r, struct reader *in)
{
    uint32_t level = reader_varint32(in);
    uint64_t count = reader_varint(in);
    if (in->failed || level == 0 || count > WISHES_MAX ||
        roster_has_members(r) || (level == LEVEL_OLDEST && count == 0))
        return ERR_CORRUPT;
    if (level > LEVEL_NEWEST)
        return ERR_NEWER;
    struct members m = {.level = level};
    for (uint64_t i = 0; i < count; i++) {
        struct bytes name;
        enum member_wish wish;
        if (!take_row(in, &name, &wish) || wish == WISH_AUTO ||
            find(&m, name) != NULL)
            return ERR_CORRUPT;
        insert(&m, name, wish);
        if (!bytes_equal(bytes_of_string(m.rows[i].name), name))
            return ERR_CORRUPT; /* out of order: it went before another */
    }
    if (in->failed || in->size > 0)
        return ERR_CORRUPT;
    r->members = m;
    roster_set_level(r, level);
    return 0;
}
