/* The raw reports as rows: a row for each peer of each batch, with what the log
 * says and the names that the roster has for it now. See export.h. */
#include "node/export.h"

#include "store/raw.h"

const char *const export_raw_columns[] = {
    "taken_at", "index",        "location",  "location_name", "gateway",
    "hostname", "kind",         "session",   "sequence",      "sampled_at",
    "device",   "key",          "name",      "user",          "upload",
    "download", "handshake_at", "from_zero", "endpoint",      "allowed_ips",
    NULL,
};

/* A batch that is being written. */
struct batch_rows {
    struct export *export;
    struct roster *roster;
    uint64_t index, log_time_ms;
    struct batch_reader reader;
    struct batch_head head;
    bool native;
};

static void put_source(struct batch_rows *b)
{
    struct export_rows *rows = &b->export->rows;
    const struct batch_head *head = &b->head;
    const struct location *l = roster_location(b->roster, head->location);
    uint32_t id = head->gateway;
    if (id == 0)
        id = roster_gateway_by_identity(b->roster, head->location,
                                        b->native ? GATEWAY_NATIVE
                                                  : GATEWAY_LEGACY,
                                        head->identity, head->name);
    const struct gateway *g = roster_gateway(b->roster, id);
    struct bytes told =
        head->hostname.size > 0 ? head->hostname : head->identity;
    row_time(rows, b->log_time_ms);
    row_uint(rows, b->index);
    row_uint(rows, head->location);
    row_string(rows, l != NULL ? l->name : "");
    row_uint(rows, id);
    row_text(rows, g != NULL ? bytes_of_string(g->hostname) : told);
    row_string(rows, b->native ? "native" : "legacy");
}

static void put_when(struct batch_rows *b, const struct batch_peer *p)
{
    struct export_rows *rows = &b->export->rows;
    if (b->native) {
        row_uint(rows, b->head.session);
        row_uint(rows, b->head.sequence);
    } else {
        row_null(rows);
        row_null(rows);
    }
    row_time(rows, b->native ? b->head.sampled_at_ms : p->rec_ms);
}

static void put_device(struct batch_rows *b, const struct batch_peer *p)
{
    struct export_rows *rows = &b->export->rows;
    uint32_t id =
        p->device != 0 ? p->device : roster_device_by_key(b->roster, p->key);
    const struct device *d = id != 0 ? roster_device(b->roster, id) : NULL;
    const uint8_t *key = p->device == 0 ? p->key
                         : d != NULL    ? d->public_key
                                        : NULL;
    row_uint(rows, id);
    if (key != NULL)
        row_key(rows, key);
    else
        row_null(rows); /* it was deleted */
    row_string(rows, d != NULL ? d->name : "");
    row_string(rows, d != NULL ? d->user : "");
}

static void put_row(struct batch_rows *b, const struct batch_peer *p)
{
    struct export_rows *rows = &b->export->rows;
    row_begin(rows);
    put_source(b);
    put_when(b, p);
    put_device(b, p);
    row_uint(rows, p->upload);
    row_uint(rows, p->download);
    if (p->handshake != 0)
        row_time(rows, p->handshake * 1000);
    else
        row_null(rows);
    row_bool(rows, p->from_zero);
    if (p->has_endpoint) {
        row_text(rows, p->endpoint);
        row_text(rows, p->allowed_ips);
    } else {
        row_null(rows); /* as told before */
        row_null(rows);
    }
    row_end(rows);
}

/* 1: there is more, 0: the batch is done, or ERR_CORRUPT. */
static int put_some(struct batch_rows *b)
{
    struct batch_peer peer;
    int rv = 1;
    roster_read_lock(b->roster);
    for (unsigned i = 0; i < EXPORT_ROWS_LOCKED && rv > 0; i++) {
        rv = batch_next(&b->reader, &peer);
        if (rv > 0)
            put_row(b, &peer);
    }
    roster_read_unlock(b->roster);
    return rv;
}

static int put_batch(struct batch_rows *b)
{
    int rv;
    do {
        rv = put_some(b);
        int sent = rv >= 0 ? export_send(b->export, false) : rv;
        if (sent < 0)
            return sent;
    } while (rv > 0);
    return rv;
}

static int put_entry(struct export *x, uint64_t index, struct bytes entry,
                     struct errmsg *e)
{
    struct entry_header header;
    struct reader records;
    struct record record;
    int rv = entry_open(entry, &header, &records, e);
    if (rv != 0)
        return rv;
    if (header.log_time_ms < x->from_ms || header.log_time_ms >= x->to_ms)
        return 0;
    struct batch_rows b = {.export = x,
                           .roster = store_roster(x->node->store),
                           .index = index,
                           .log_time_ms = header.log_time_ms};
    while ((rv = record_next(&records, &record)) > 0) {
        b.native = record.kind == RECORD_NATIVE_BATCH;
        if (!b.native && record.kind != RECORD_LEGACY_BATCH)
            continue;
        rv = batch_open(&b.reader, &record, &b.head);
        if (rv == 0 && (x->location == 0 || x->location == b.head.location))
            rv = put_batch(&b);
        if (rv == ERR_CLOSED || rv == ERR_NOMEM)
            return rv;
        /* A batch that cannot be read was no report for the store either. */
    }
    return rv;
}

static int put_chunk(struct export *x, const struct raw_chunk *c,
                     struct errmsg *e)
{
    struct raw_reader r = raw_reader_of(c);
    uint64_t index;
    struct bytes entry;
    int rv;
    while ((rv = raw_reader_next(&r, &index, &entry)) > 0) {
        rv = put_entry(x, index, entry, e);
        if (rv != 0)
            return rv;
    }
    return rv == 0 ? 0 : errmsg_set(e, rv, "raw reports: a damaged chunk");
}

int export_raw(struct export *x, struct errmsg *e)
{
    const struct raw_file *file = raw_log_file(store_raw(x->node->store));
    struct raw_coverage cover;
    int rv = raw_file_cover(file, x->from_ms, &cover, e);
    if (rv != 0)
        return rv;
    for (uint64_t index = cover.since_index;;) {
        struct raw_chunk chunk;
        rv = raw_file_next(file, index, &chunk, e);
        bool wanted = rv == 1 && chunk.key.first_ms < x->to_ms;
        if (wanted)
            rv = put_chunk(x, &chunk, e);
        index = chunk.last + 1;
        raw_chunk_deinit(&chunk);
        if (rv < 0 || !wanted)
            return rv < 0 ? rv : 0;
        if (http_stream_is_closed(&x->stream))
            return ERR_CLOSED;
    }
}
