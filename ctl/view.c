#include "ctl/view.h"

#include "ctl/text.h"

void table_put_member(struct table *t, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value))
        table_printf(t, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        table_put(t, json_is_true(value) ? "yes" : "no");
    else
        table_put(t, view_text(object, key));
}

void table_put_bytes(struct table *t, const json_t *object, const char *key)
{
    char text[UNIT_TEXT_SIZE] = "";
    uint64_t bytes;
    if (view_uint(object, key, &bytes))
        bytes_format(bytes, text);
    table_put(t, text);
}

void table_put_us(struct table *t, const json_t *object, const char *key)
{
    char text[UNIT_TEXT_SIZE] = "";
    uint64_t us;
    if (view_uint(object, key, &us))
        duration_format((double)us / 1000, text);
    table_put(t, text);
}
