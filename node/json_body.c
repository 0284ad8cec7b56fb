/* See json_body.h. */
#include "node/json_body.h"

#include "node/config_value.h"

#include <jansson.h>

static const struct body_field *find(const struct body_schema *schema,
                                     const char *name)
{
    for (size_t i = 0; i < schema->count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return &schema->fields[i];
    return NULL;
}

static int read_text(const struct body_field *f, const json_t *value,
                     void *member, struct errmsg *e)
{
    if (!json_is_string(value))
        return errmsg_set(e, ERR_INVALID, "%s: must be a string", f->name);
    size_t length = json_string_length(value);
    if (length < f->min || length > f->max)
        return errmsg_set(e, ERR_INVALID, "%s: must have %llu to %llu bytes",
                          f->name, (unsigned long long)f->min,
                          (unsigned long long)f->max);
    const char *text = json_string_value(value);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return errmsg_set(e, ERR_INVALID,
                              "%s: must not have control characters", f->name);
    *(const char **)member = text;
    return 0;
}

static int read_uint(const struct body_field *f, const json_t *value,
                     void *member, struct errmsg *e)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < f->min ||
        (uint64_t)number > f->max)
        return errmsg_set(
            e, ERR_INVALID, "%s: must be a whole number from %llu to %llu",
            f->name, (unsigned long long)f->min, (unsigned long long)f->max);
    *(uint64_t *)member = (uint64_t)number;
    return 0;
}

static int read_duration(const struct body_field *f, const json_t *value,
                         void *member, struct errmsg *e)
{
    uint64_t ms;
    if (!json_is_string(value))
        return read_uint(f, value, member, e);
    int rv = duration_parse(json_string_value(value), &ms, e);
    if (rv != 0)
        return errmsg_wrap(e, rv, "%s", f->name);
    if (ms % 1000 != 0 || ms / 1000 < f->min || ms / 1000 > f->max)
        return errmsg_set(
            e, ERR_INVALID, "%s: must be whole seconds, from %llu to %llu",
            f->name, (unsigned long long)f->min, (unsigned long long)f->max);
    *(uint64_t *)member = ms / 1000;
    return 0;
}

/* What asks for nothing. A wish that we would not fulfil must not look as if
 * it had been: access rules and MFA above all. */
static bool is_unset(const json_t *value)
{
    if (json_is_array(value))
        return json_array_size(value) == 0;
    if (json_is_string(value))
        return json_string_length(value) == 0 ||
               strcmp(json_string_value(value), "disabled") == 0;
    if (json_is_integer(value))
        return json_integer_value(value) == 0;
    return json_is_null(value) || json_is_false(value);
}

static int read_field(const struct body_field *f, const json_t *value,
                      void *out, struct errmsg *e)
{
    void *member = (char *)out + f->offset;
    /* null is "not given", as in defguard's optional fields. */
    if (json_is_null(value) && !f->required)
        return 0;
    switch (f->kind) {
    case BODY_TEXT:
        return read_text(f, value, member, e);
    case BODY_UINT:
        return read_uint(f, value, member, e);
    case BODY_DURATION:
        return read_duration(f, value, member, e);
    case BODY_BOOL:
        if (!json_is_boolean(value))
            return errmsg_set(e, ERR_INVALID, "%s: must be true or false",
                              f->name);
        *(bool *)member = json_is_true(value);
        return 0;
    case BODY_UNSET:
        if (!is_unset(value))
            return errmsg_set(e, ERR_INVALID, "%s: is not supported", f->name);
        return 0;
    }
    return ERR_INVALID;
}

int body_read(struct body *b, struct bytes text,
              const struct body_schema *schema, void *out, struct errmsg *e)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)text.data, text.size,
                              JSON_REJECT_DUPLICATES, &error);
    b->root = root;
    if (root == NULL)
        return errmsg_set(e, ERR_INVALID, "body: line %d, column %d: %s",
                          error.line, error.column, error.text);
    if (!json_is_object(root))
        return errmsg_set(e, ERR_INVALID, "body: must be a JSON object");
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        const struct body_field *f = find(schema, name);
        if (f == NULL)
            return errmsg_set(e, ERR_INVALID, "%.60s: unknown field", name);
        int rv = read_field(f, value, out, e);
        if (rv != 0)
            return rv;
    }
    for (size_t i = 0; i < schema->count; i++)
        if (schema->fields[i].required &&
            json_object_get(root, schema->fields[i].name) == NULL)
            return errmsg_set(e, ERR_INVALID, "%s: is missing",
                              schema->fields[i].name);
    return 0;
}

void body_close(struct body *b)
{
    json_decref(b->root);
    b->root = NULL;
}
