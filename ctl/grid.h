/* Tables for people: columns as wide as what is in them, aligned by display
 * columns. A column that is empty in every row is left out, and where the
 * terminal is too narrow the short titles serve. Scripts take -w json. (The
 * store has a table of its own, so this one is a grid.) */
#pragma once

#include "base/bytes.h"

#include <stdio.h>

enum { GRID_COLUMNS_MAX = 40 };

struct column {
    const char *title;
    const char *short_title; /* NULL: as the title */
    bool right;              /* numbers */
};

struct grid {
    const struct column *columns; /* borrowed */
    size_t column_count;
    struct buf text;  /* the cells, each NUL-terminated */
    struct buf cells; /* size_t: where in text each begins */
};

void grid_init(struct grid *t, const struct column *columns, size_t count);
void grid_deinit(struct grid *t);

/* The next cell, row by row. "" is an empty one. */
void grid_put(struct grid *t, const char *text);
void grid_printf(struct grid *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ERR_NOMEM when a cell could not be kept. */
NODISCARD int grid_print(const struct grid *t, FILE *out, struct errmsg *e);
