/* See web_asset.h. */
#include "node/web_asset.h"

const struct web_asset *web_asset_find(struct bytes path)
{
    if (bytes_equal(path, bytes_of_string("/")))
        path = bytes_of_string("/index.html");
    for (size_t i = 0; i < web_asset_count; i++)
        if (bytes_equal(path, bytes_of_string(web_assets[i].path)))
            return &web_assets[i];
    return NULL;
}

void web_asset_answer(struct http_request *rq, const struct web_asset *asset)
{
    bool gzip = rq->accepts_gzip && asset->gzip != NULL;
    const char *etag = gzip ? asset->etag_gzip : asset->etag;
    http_header(rq, "ETag", "%s", etag);
    http_header(rq, "Vary", "Accept-Encoding");
    http_header(rq, "Cache-Control", "%s",
                asset->immutable ? "public, max-age=31536000, immutable"
                                 : "no-cache");
    if (strstr(rq->if_none_match, etag) != NULL) {
        rq->status = 304;
        return;
    }
    if (gzip)
        http_header(rq, "Content-Encoding", "gzip");
    rq->content_type = asset->content_type;
    rq->fixed = gzip ? (struct bytes){asset->gzip, asset->gzip_size}
                     : (struct bytes){asset->data, asset->size};
    rq->status = 200;
}
