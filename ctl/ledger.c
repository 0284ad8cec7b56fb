#include "ctl/ledger.h"

#include "ctl/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_SIZE = 72 };

static int no_memory(struct errmsg *e)
{
    return errmsg_set(e, ERR_NOMEM, "out of memory");
}

int ledger_init(struct ledger *l, struct errmsg *e)
{
    l->rows = json_object();
    return l->rows != NULL ? 0 : no_memory(e);
}

void ledger_deinit(struct ledger *l)
{
    json_decref(l->rows);
    l->rows = NULL;
}

static uint64_t number(const json_t *row, const char *key)
{
    uint64_t value = 0;
    (void)view_uint(row, key, &value);
    return value;
}

static struct ledger_key key_of(const json_t *row)
{
    return (struct ledger_key){number(row, "location_id"),
                               number(row, "gateway_id"),
                               number(row, "device_id")};
}

static const char *name_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

int ledger_add(struct ledger *l, struct ledger_key key, const char *location,
               const char *gateway, const char *device, uint64_t upload,
               uint64_t download, struct errmsg *e)
{
    char text[KEY_SIZE];
    snprintf(text, sizeof text, "%" PRIu64 "/%" PRIu64 "/%" PRIu64,
             key.location, key.gateway, key.device);
    json_t *row = json_object_get(l->rows, text);
    if (row == NULL) {
        row = json_pack("{s:I,s:I,s:I,s:s?,s:s?,s:s?,s:I,s:I}", "location_id",
                        (json_int_t)key.location, "gateway_id",
                        (json_int_t)key.gateway, "device_id",
                        (json_int_t)key.device, "location", location, "gateway",
                        gateway, "device", device, "upload", (json_int_t)upload,
                        "download", (json_int_t)download);
        return json_object_set_new(l->rows, text, row) == 0 ? 0 : no_memory(e);
    }
    upload += number(row, "upload");
    download += number(row, "download");
    if (json_object_set_new(row, "upload", json_integer((json_int_t)upload)) !=
            0 ||
        json_object_set_new(row, "download",
                            json_integer((json_int_t)download)) != 0)
        return no_memory(e);
    return 0;
}

/* --- comparing ------------------------------------------------------------ */

static int add_finding(const json_t *have, const json_t *want,
                       const char *check, const char *node, json_t *findings,
                       struct errmsg *e)
{
    const json_t *names = have != NULL ? have : want;
    json_t *finding =
        json_pack("{s:s,s:s,s:O?,s:O?,s:O?,s:I,s:I,s:I,s:I}", "check", check,
                  "node", node, "location", json_object_get(names, "location"),
                  "gateway", json_object_get(names, "gateway"), "device",
                  json_object_get(names, "device"), "upload",
                  (json_int_t)number(have, "upload"), "wanted_upload",
                  (json_int_t)number(want, "upload"), "download",
                  (json_int_t)number(have, "download"), "wanted_download",
                  (json_int_t)number(want, "download"));
    return json_array_append_new(findings, finding) == 0 ? 0 : no_memory(e);
}

static bool is_equal(const json_t *a, const json_t *b)
{
    return number(a, "upload") == number(b, "upload") &&
           number(a, "download") == number(b, "download");
}

int ledger_compare(const struct ledger *have, const struct ledger *want,
                   const char *check, const char *node, json_t *findings,
                   struct errmsg *e)
{
    const char *key;
    json_t *row;
    int rv = 0;
    json_object_foreach(have->rows, key, row)
    {
        const json_t *other = json_object_get(want->rows, key);
        if (rv == 0 && !is_equal(row, other))
            rv = add_finding(row, other, check, node, findings, e);
    }
    json_object_foreach(want->rows, key, row)
    {
        if (rv == 0 && json_object_get(have->rows, key) == NULL &&
            !is_equal(row, NULL))
            rv = add_finding(NULL, row, check, node, findings, e);
    }
    return rv;
}

int ledger_sum_up(const struct ledger *l, struct ledger *out, struct errmsg *e)
{
    const char *text;
    json_t *row;
    int rv = ledger_init(out, e);
    json_object_foreach(l->rows, text, row)
    {
        struct ledger_key key = key_of(row);
        bool of_gateway = key.device != 0;
        if (rv != 0 || key.gateway == 0)
            continue;
        if (!of_gateway)
            key.gateway = 0;
        key.device = 0;
        rv = ledger_add(out, key, name_of(row, "location"),
                        of_gateway ? name_of(row, "gateway") : NULL, NULL,
                        number(row, "upload"), number(row, "download"), e);
    }
    return rv;
}

int ledger_totals(const struct ledger *l, struct ledger *out, struct errmsg *e)
{
    const char *text;
    json_t *row;
    int rv = ledger_init(out, e);
    json_object_foreach(l->rows, text, row)
    {
        if (number(row, "device_id") == 0 &&
            json_object_set(out->rows, text, row) != 0)
            rv = no_memory(e);
    }
    return rv;
}

/* --- files ---------------------------------------------------------------- */

/* An id, or a name. */
static bool is_meant(const json_t *row, const char *id, const char *name,
                     const char *text)
{
    char number_text[24];
    snprintf(number_text, sizeof number_text, "%" PRIu64, number(row, id));
    return strcmp(number_text, text) == 0 ||
           strcmp(view_text(row, name), text) == 0;
}

/* The row that a line is about, NULL if there is none. */
static const json_t *find(const struct ledger *known, const char *location,
                          const char *gateway, const char *device)
{
    const char *key;
    json_t *row;
    json_object_foreach(known->rows, key, row)
    {
        if (number(row, "device_id") != 0 &&
            is_meant(row, "location_id", "location", location) &&
            is_meant(row, "gateway_id", "gateway", gateway) &&
            is_meant(row, "device_id", "device", device))
            return row;
    }
    return NULL;
}

/* What the cluster does not know gets keys that no row has. */
static int add_line(struct ledger *out, const struct ledger *known,
                    const char *location, const char *gateway,
                    const char *device, uint64_t upload, uint64_t download,
                    struct errmsg *e)
{
    const json_t *row = find(known, location, gateway, device);
    struct ledger_key key = {UINT32_MAX, UINT32_MAX,
                             (uint64_t)UINT32_MAX +
                                 json_object_size(out->rows)};
    if (row == NULL)
        return ledger_add(out, key, location, gateway, device, upload, download,
                          e);
    return ledger_add(out, key_of(row), name_of(row, "location"),
                      name_of(row, "gateway"), name_of(row, "device"), upload,
                      download, e);
}

static bool bytes_parse(const char *text, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0';
}

static int read_csv(FILE *file, const char *path, const struct ledger *known,
                    struct ledger *out, struct errmsg *e)
{
    char line[1024];
    int rv = 0;
    for (unsigned n = 1; rv == 0 && fgets(line, sizeof line, file) != NULL;
         n++) {
        char *rest = line, *parts[5];
        uint64_t upload, download;
        size_t count = 0;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0' || (n == 1 && strncmp(line, "location,", 9) == 0))
            continue;
        while (count < 5 && (parts[count] = strtok_r(rest, ",", &rest)) != NULL)
            count++;
        if (count != 5 || rest[0] != '\0' || !bytes_parse(parts[3], &upload) ||
            !bytes_parse(parts[4], &download))
            return errmsg_set(e, ERR_INVALID,
                              "%s: line %u: location,gateway,device,upload,"
                              "download is wanted",
                              path, n);
        rv = add_line(out, known, parts[0], parts[1], parts[2], upload,
                      download, e);
    }
    return rv;
}

/* "3" and 3 are the same name. */
static const char *text_member(const json_t *row, const char *key, char out[24])
{
    const json_t *value = json_object_get(row, key);
    if (!json_is_integer(value))
        return json_string_value(value);
    snprintf(out, 24, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return out;
}

static int read_json(FILE *file, const char *path, const struct ledger *known,
                     struct ledger *out, struct errmsg *e)
{
    json_error_t error;
    json_t *rows = json_loadf(file, 0, &error), *row;
    int rv =
        json_is_array(rows)
            ? 0
            : errmsg_set(e, ERR_INVALID, "%s: a JSON array is wanted", path);
    size_t i;
    json_array_foreach(rows, i, row)
    {
        char ids[3][24];
        const char *location = text_member(row, "location", ids[0]);
        const char *gateway = text_member(row, "gateway", ids[1]);
        const char *device = text_member(row, "device", ids[2]);
        uint64_t upload, download;
        if (rv != 0)
            break;
        if (location == NULL || gateway == NULL || device == NULL ||
            !view_uint(row, "upload", &upload) ||
            !view_uint(row, "download", &download))
            rv = errmsg_set(e, ERR_INVALID,
                            "%s: row %zu: location, gateway, device, upload "
                            "and download are wanted",
                            path, i + 1);
        else
            rv = add_line(out, known, location, gateway, device, upload,
                          download, e);
    }
    json_decref(rows);
    return rv;
}

int ledger_read(const char *path, const struct ledger *known,
                struct ledger *out, struct errmsg *e)
{
    int rv = ledger_init(out, e);
    FILE *file = rv == 0 ? fopen(path, "re") : NULL;
    if (rv == 0 && file == NULL)
        return errmsg_set(e, ERR_INVALID, "--expect %s: %s", path,
                          strerror(errno));
    if (rv != 0)
        return rv;
    int first = fgetc(file);
    ungetc(first, file);
    rv = first == '[' ? read_json(file, path, known, out, e)
                      : read_csv(file, path, known, out, e);
    fclose(file);
    return rv;
}
