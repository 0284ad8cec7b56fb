#include "node/export_rows.h"

#include "base/assert.h"
#include "node/http_query.h"
#include "proto/key_text.h"

#include <stdio.h>

void rows_begin(struct export_rows *r, bool csv, const char *const *columns)
{
    *r = (struct export_rows){.csv = csv, .columns = columns};
    while (columns[r->count] != NULL)
        r->count++;
    ASSERT(r->count <= EXPORT_COLUMNS_MAX);
    for (size_t i = 0; csv && i < r->count; i++)
        buf_printf(&r->buf, "%s%s", columns[i],
                   i + 1 < r->count ? "," : "\r\n");
}

void rows_deinit(struct export_rows *r)
{
    buf_deinit(&r->buf);
}

void row_begin(struct export_rows *r)
{
    r->at = 0;
    if (r->csv)
        return;
    out_begin(&r->json, &r->buf);
    out_object(&r->json);
}

void row_end(struct export_rows *r)
{
    ASSERT(r->at == r->count);
    if (!r->csv)
        out_object_end(&r->json);
    buf_put(&r->buf, "\r\n", r->csv ? 2 : 0);
    if (!r->csv)
        buf_put_u8(&r->buf, '\n');
}

/* The name, or the comma. */
static void next(struct export_rows *r)
{
    ASSERT(r->at < r->count);
    if (!r->csv)
        out_key(&r->json, r->columns[r->at]);
    else if (r->at > 0)
        buf_put_u8(&r->buf, ',');
    r->at++;
}

void row_null(struct export_rows *r)
{
    next(r);
    if (!r->csv)
        out_null(&r->json);
}

void row_uint(struct export_rows *r, uint64_t value)
{
    next(r);
    if (r->csv)
        buf_printf(&r->buf, "%llu", (unsigned long long)value);
    else
        out_uint(&r->json, value);
}

void row_bool(struct export_rows *r, bool value)
{
    next(r);
    if (r->csv)
        buf_printf(&r->buf, "%s", value ? "true" : "false");
    else
        out_bool(&r->json, value);
}

/* A field is quoted where it must be; a quote in it is doubled. */
static void put_csv(struct buf *out, struct bytes value)
{
    bool text = bytes_are_text(value), quoted = false;
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        quoted = quoted || c == '"' || c == ',' || c == '\r' || c == '\n';
    }
    if (quoted)
        buf_put_u8(out, '"');
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c == '"')
            buf_put_u8(out, '"');
        buf_put_u8(out, text || (c >= ' ' && c < 0x7f) ? c : '?');
    }
    if (quoted)
        buf_put_u8(out, '"');
}

void row_text(struct export_rows *r, struct bytes value)
{
    next(r);
    if (r->csv)
        put_csv(&r->buf, value);
    else
        out_text(&r->json, value);
}

void row_string(struct export_rows *r, const char *value)
{
    row_text(r, bytes_of_string(value));
}

void row_time(struct export_rows *r, uint64_t unix_ms)
{
    char text[TIME_TEXT_SIZE + 1];
    time_format(unix_ms, text);
    snprintf(text + strlen(text), 2, "Z");
    row_string(r, text);
}

void row_key(struct export_rows *r, const uint8_t *key)
{
    char text[KEY_TEXT_LENGTH + 1];
    key_to_text(key, text);
    row_string(r, text);
}
