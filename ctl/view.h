/* Looking into a JSON answer: what is missing, null or of another type is
 * absent. */
#pragma once

#include "ctl/grid.h"

#include <jansson.h>

static inline const char *view_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static inline bool view_uint(const json_t *object, const char *key,
                             uint64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static inline bool view_bool(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* Cells of what may be absent (an empty cell). */
void grid_put_member(struct grid *t, const json_t *object, const char *key);
void grid_put_bytes(struct grid *t, const json_t *object, const char *key);
void grid_put_us(struct grid *t, const json_t *object, const char *key);
