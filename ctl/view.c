#include "ctl/view.h"

#include "ctl/text.h"

void grid_put_member(struct grid *t, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value))
        grid_printf(t, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        grid_put(t, json_is_true(value) ? "yes" : "no");
    else
        grid_put(t, view_text(object, key));
}

void grid_put_bytes(struct grid *t, const json_t *object, const char *key)
{
    char text[UNIT_TEXT_SIZE] = "";
    uint64_t bytes;
    if (view_uint(object, key, &bytes))
        bytes_format(bytes, text);
    grid_put(t, text);
}

void grid_put_us(struct grid *t, const json_t *object, const char *key)
{
    char text[UNIT_TEXT_SIZE] = "";
    uint64_t us;
    if (view_uint(object, key, &us))
        duration_format((double)us / 1000, text);
    grid_put(t, text);
}
