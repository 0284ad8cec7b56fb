/* Objects by id: ids count up from 1 and are never used twice, so the table is
 * an array with holes. It also remembers which ids changed since the last
 * flush; an object that was removed stays marked. Owned by the roster, whose
 * lock and thread rules hold. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id_table {
    void **items;      /* owned array, by id; the objects are the roster's */
    uint64_t *dirty;   /* owned; one bit an id; the applier's alone */
    uint32_t capacity; /* of both, in ids */
    uint32_t next_id;  /* of the next object */
    uint32_t count;    /* objects that are there */
    bool any_dirty;    /* some bit of dirty is set */
};

void id_table_init(struct id_table *t);
/* Frees the arrays, not the objects. */
void id_table_deinit(struct id_table *t);

/* @id is next_id for a new object, or a smaller one that is free (a row that
 * is loaded). ERR_NOMEM. */
NODISCARD int id_table_insert(struct id_table *t, uint32_t id, void *item);

/* Gives the object back to the caller; NULL when there is none. */
void *id_table_remove(struct id_table *t, uint32_t id);

static inline void *id_table_get(const struct id_table *t, uint32_t id)
{
    return id < t->capacity ? t->items[id] : NULL;
}

/* Does an object have this id, or did one that was removed? */
static inline bool id_table_gave(const struct id_table *t, uint32_t id)
{
    return id != 0 && id < t->next_id;
}

/* The object with the smallest id above @after, NULL at the end. */
void *id_table_next(const struct id_table *t, uint32_t after);

/* Marks an id that was given out. */
void id_table_mark(struct id_table *t, uint32_t id);
/* The smallest marked id above @after, 0 at the end. */
uint32_t id_table_next_marked(const struct id_table *t, uint32_t after);
void id_table_unmark_all(struct id_table *t);
