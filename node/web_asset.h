/* The files of the page, linked into the program by node/embed_web.cmake: a
 * sorted table, so that a path can only ever name one of its rows. */
#pragma once

#include "node/http.h"

struct web_asset {
    const char *path; /* "/app.js" */
    const char *content_type;
    const char *etag, *etag_gzip; /* quoted, of each encoding */
    const uint8_t *data;
    const uint8_t *gzip; /* NULL where it saves nothing */
    uint32_t size, gzip_size;
    bool immutable; /* its name holds a hash: under /assets/ */
};

/* Generated. */
extern const struct web_asset web_assets[];
extern const size_t web_asset_count;

/* @path as sent; "/" is the page. NULL: no such file. */
const struct web_asset *web_asset_find(struct bytes path);

/* 200 or 304, plain or gzip as the client takes it. */
void web_asset_answer(struct http_request *rq, const struct web_asset *asset);
