/* "office" or "1" to the row that is meant. */
#pragma once

#include "ctl/ctl.h"

/* GETs the array at @path, or the object of arrays, as the leader knows it, and
 * finds the row whose id, name or @key (may be NULL) is @text. @what names it
 * in messages. *@out is the caller's. ERR_NOTFOUND; ERR_INVALID: several have
 * this name. */
NODISCARD int lookup(struct ctl *c, const char *path, const char *text,
                     const char *key, const char *what, json_t **out,
                     struct errmsg *e);

/* "/api/v1/network/<id><rest>" for a row. */
enum { ROW_PATH_SIZE = 96 };
void row_path(const char *prefix, const json_t *row, const char *rest,
              char out[ROW_PATH_SIZE]);

/* DELETE of the row that lookup finds, once that is confirmed. */
NODISCARD int delete_row(struct ctl *c, const char *prefix, const char *list,
                         const char *key, const char *what, struct errmsg *e);
