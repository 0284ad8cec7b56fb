/* Tables for people: columns as wide as what is in them, aligned by display
 * columns. A column that is empty in every row is left out, and where the
 * terminal is too narrow the short titles serve. Scripts take -w json. */
#pragma once

#include "base/bytes.h"

#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 40 };

struct column {
    const char *title;
    const char *short_title; /* NULL: as the title */
    bool right;              /* numbers */
};

struct table {
    const struct column *columns; /* borrowed */
    size_t column_count;
    struct buf text;  /* the cells, each NUL-terminated */
    struct buf cells; /* size_t: where in text each begins */
};

void table_init(struct table *t, const struct column *columns, size_t count);
void table_deinit(struct table *t);

/* The next cell, row by row. "" is an empty one. */
void table_put(struct table *t, const char *text);
void table_printf(struct table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ERR_NOMEM when a cell could not be kept. */
NODISCARD int table_print(const struct table *t, FILE *out, struct errmsg *e);
