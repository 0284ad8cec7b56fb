#include "ctl/lookup.h"

#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

static int find_id(const json_t *rows, const char *text, json_t **out)
{
    uint64_t wanted, id;
    size_t i;
    json_t *row;
    if (!number_parse(text, UINT32_MAX, &wanted))
        return ERR_NOTFOUND;
    json_array_foreach(rows, i, row)
    {
        if (view_uint(row, "id", &id) && id == wanted) {
            *out = row;
            return 0;
        }
    }
    return ERR_NOTFOUND;
}

static int find_name(const json_t *rows, const char *text, const char *key,
                     const char *what, json_t **out, struct errmsg *e)
{
    size_t i, found = 0;
    uint64_t ids[2] = {0, 0};
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (strcmp(view_text(row, "name"), text) != 0 &&
            (key == NULL || strcmp(view_text(row, key), text) != 0))
            continue;
        if (found < 2)
            (void)view_uint(row, "id", &ids[found]);
        *out = row;
        found++;
    }
    if (found == 0)
        return errmsg_set(e, ERR_NOTFOUND, "%s %s: there is none; see %s list",
                          what, text, what);
    if (found > 1)
        return errmsg_set(e, ERR_INVALID,
                          "%s %s: %zu have this name (ids %llu, %llu%s): give "
                          "the id",
                          what, text, found, (unsigned long long)ids[0],
                          (unsigned long long)ids[1], found > 2 ? ", ..." : "");
    return 0;
}

/* The rows of all members of an object, in place of it. */
static void flatten(json_t **rows)
{
    const char *member;
    json_t *part, *all = json_array();
    json_object_foreach(*rows, member, part)
    {
        (void)json_array_extend(all, part);
    }
    json_decref(*rows);
    *rows = all;
}

int lookup(struct ctl *c, const char *path, const char *text, const char *key,
           const char *what, json_t **out, struct errmsg *e)
{
    char fresh[ROW_PATH_SIZE];
    json_t *rows = NULL, *row = NULL;
    snprintf(fresh, sizeof fresh, "%s?consistency=linearizable", path);
    int rv = client_get(&c->client, fresh, &rows, NULL, e);
    if (rv != 0)
        return rv;
    if (json_is_object(rows))
        flatten(&rows);
    rv = find_id(rows, text, &row);
    if (rv != 0)
        rv = find_name(rows, text, key, what, &row, e);
    if (rv == 0)
        *out = json_incref(row);
    json_decref(rows);
    return rv;
}

void row_path(const char *prefix, const json_t *row, const char *rest,
              char out[ROW_PATH_SIZE])
{
    uint64_t id = 0;
    (void)view_uint(row, "id", &id);
    snprintf(out, ROW_PATH_SIZE, "%s/%llu%s", prefix, (unsigned long long)id,
             rest);
}

int delete_row(struct ctl *c, const char *prefix, const char *list,
               const char *key, const char *what, struct errmsg *e)
{
    char path[ROW_PATH_SIZE];
    json_t *row = NULL;
    int rv = lookup(c, list, c->arguments[0], key, what, &row, e);
    if (rv != 0)
        return rv;
    uint64_t id = 0;
    (void)view_uint(row, "id", &id);
    row_path(prefix, row, "", path);
    const char *name = view_text(row, "name");
    if (name[0] == '\0' && key != NULL)
        name = view_text(row, key);
    rv = ctl_confirm(c, e, "Delete %s %s (id %llu)?", what, name,
                     (unsigned long long)id);
    if (rv == 0)
        rv = client_change(&c->client, "DELETE", path, NULL, NULL, e);
    if (rv == 0 && c->output == OUTPUT_JSON) {
        rv = ctl_print_json(json_pack("{s:I,s:O}", "id", (json_int_t)id, "name",
                                      json_object_get(row, "name")),
                            e);
    } else if (rv == 0) {
        printf("%s ", what);
        text_put(stdout, name);
        printf(" (id %llu) is gone\n", (unsigned long long)id);
    }
    json_decref(row);
    return rv;
}
