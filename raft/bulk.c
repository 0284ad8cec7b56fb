#include "raft/bulk.h"

#include <xxhash.h>

enum { CHECKSUM_SIZE = 8, ROLE_MAX = 2 };

_Static_assert(
    PEERS_MAX *(8 + 1 + 2 + sizeof((struct seed_member *)0)->address) + 256 <=
        BULK_ANSWER_SIZE_MAX,
    "an answer with the most members fits");

/* --- request -------------------------------------------------------------- */

void bulk_request_encode(const struct bulk_request *request,
                         uint8_t out[BULK_REQUEST_SIZE])
{
    le32_put(out, BULK_FORMAT);
    le32_put(out + 4, 0);
    le64_put(out + 8, request->copy_id);
    le64_put(out + 16, request->offset);
    le64_put(out + 24, request->index);
}

int bulk_request_decode(const uint8_t in[BULK_REQUEST_SIZE],
                        struct bulk_request *out)
{
    if (le32_get(in) > BULK_FORMAT)
        return ERR_NEWER;
    if (le32_get(in) != BULK_FORMAT || le32_get(in + 4) != 0)
        return ERR_CORRUPT;
    *out = (struct bulk_request){.copy_id = le64_get(in + 8),
                                 .offset = le64_get(in + 16),
                                 .index = le64_get(in + 24)};
    return 0;
}

/* --- answer --------------------------------------------------------------- */

static void put_text(struct buf *out, const char *text)
{
    buf_put_u32(out, (uint32_t)strlen(text));
    buf_put(out, text, strlen(text));
}

static void put_copy(struct buf *out, const struct bulk_answer *a)
{
    const struct seed *s = &a->seed;
    buf_put_u64(out, a->copy_id);
    buf_put_u64(out, a->bytes);
    buf_put_u64(out, a->offset);
    buf_put(out, a->hash, sizeof a->hash);
    buf_put(out, s->cluster_id, CLUSTER_ID_SIZE);
    buf_put_u64(out, s->index);
    buf_put_u64(out, s->term);
    buf_put_u64(out, s->current_term);
    buf_put_u64(out, s->configuration_index);
    buf_put_u8(out, (uint8_t)s->member_count);
    for (size_t i = 0; i < s->member_count; i++) {
        buf_put_u64(out, s->members[i].id);
        buf_put_u8(out, (uint8_t)s->members[i].role);
        put_text(out, s->members[i].address);
    }
}

void bulk_answer_encode(const struct bulk_answer *answer, struct buf *out)
{
    size_t start = out->size;
    buf_put_u32(out, 0); /* the size, filled in below */
    buf_put_u32(out, BULK_FORMAT);
    buf_put_u32(out, (uint32_t)answer->kind);
    put_text(out, answer->text);
    if (answer->kind == BULK_COPY)
        put_copy(out, answer);
    if (buf_failed(out))
        return;
    buf_put_u64(out, XXH3_64bits(out->data + start + 4, out->size - start - 4));
    if (!buf_failed(out))
        le32_put(out->data + start, (uint32_t)(out->size - start - 4));
}

/* A text without NUL, terminated in @out, which takes @size bytes. */
static void take_text(struct reader *in, char *out, size_t size)
{
    struct bytes text = reader_take(in, reader_u32(in));
    if (text.size >= size || !bytes_are_text(text)) {
        in->failed = true;
        return;
    }
    if (text.size > 0)
        memcpy(out, text.data, text.size);
    out[text.size] = '\0';
}

static void take_raw(struct reader *in, uint8_t *out, size_t size)
{
    struct bytes raw = reader_take(in, size);
    if (!in->failed)
        memcpy(out, raw.data, size);
}

static void take_members(struct reader *in, struct seed *s)
{
    s->member_count = reader_u8(in);
    if (s->member_count == 0 || s->member_count > PEERS_MAX)
        in->failed = true;
    for (size_t i = 0; i < s->member_count && !in->failed; i++) {
        struct seed_member *m = &s->members[i];
        m->id = reader_u64(in);
        m->role = reader_u8(in);
        take_text(in, m->address, sizeof m->address);
        if (m->id == 0 || m->role > ROLE_MAX || m->address[0] == '\0')
            in->failed = true;
    }
}

static void take_copy(struct reader *in, struct bulk_answer *a)
{
    struct seed *s = &a->seed;
    a->copy_id = reader_u64(in);
    a->bytes = reader_u64(in);
    a->offset = reader_u64(in);
    take_raw(in, a->hash, sizeof a->hash);
    take_raw(in, s->cluster_id, CLUSTER_ID_SIZE);
    s->index = reader_u64(in);
    s->term = reader_u64(in);
    s->current_term = reader_u64(in);
    s->configuration_index = reader_u64(in);
    if (a->copy_id == 0 || a->offset > a->bytes || a->bytes > INT64_MAX ||
        s->index == 0 || s->term == 0 || s->term > s->current_term ||
        s->configuration_index == 0 || s->configuration_index > s->index)
        in->failed = true;
    take_members(in, s);
}

int bulk_answer_decode(struct bytes in, struct bulk_answer *out)
{
    *out = (struct bulk_answer){0};
    if (in.size < 8 + CHECKSUM_SIZE || in.size > BULK_ANSWER_SIZE_MAX)
        return ERR_CORRUPT;
    size_t covered = in.size - CHECKSUM_SIZE;
    if (le64_get(in.data + covered) != XXH3_64bits(in.data, covered))
        return ERR_CORRUPT;
    struct reader r = reader_of((struct bytes){in.data, covered});
    uint32_t format = reader_u32(&r);
    if (format > BULK_FORMAT)
        return ERR_NEWER;
    uint32_t kind = reader_u32(&r);
    if (format != BULK_FORMAT || kind < BULK_COPY || kind > BULK_REFUSED)
        return ERR_CORRUPT;
    out->kind = (enum bulk_answer_kind)kind;
    take_text(&r, out->text, sizeof out->text);
    if (out->kind == BULK_COPY)
        take_copy(&r, out);
    return r.failed || r.size > 0 ? ERR_CORRUPT : 0;
}

/* --- chunks --------------------------------------------------------------- */

void bulk_chunk_encode(struct bytes data, uint8_t out[BULK_CHUNK_HEADER_SIZE])
{
    le32_put(out, (uint32_t)data.size);
    le64_put(out + 4, XXH3_64bits(data.data, data.size));
}

int bulk_chunk_size(const uint8_t header[BULK_CHUNK_HEADER_SIZE])
{
    uint32_t size = le32_get(header);
    return size == 0 || size > BULK_CHUNK_SIZE_MAX ? ERR_CORRUPT : (int)size;
}

bool bulk_chunk_is_good(const uint8_t header[BULK_CHUNK_HEADER_SIZE],
                        struct bytes data)
{
    return le32_get(header) == data.size &&
           le64_get(header + 4) == XXH3_64bits(data.data, data.size);
}
