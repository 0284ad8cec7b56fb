/* /api/v1/token: the API's own tokens, all of them with the admin role. The
 * cluster keeps the SHA-256 only, so a token is shown once. See api.h. */
#include "node/api.h"

#include "node/http_route.h"
#include "node/token.h"

struct token_body {
    const char *name;
};

static const struct body_field token_fields[] = {
    {"name", BODY_TEXT, true, 1, 100, offsetof(struct token_body, name),
     "what the token is for"},
};
const struct body_schema token_schema = {token_fields, 1};

void api_token_list(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    struct json_out *o = &rq->json;
    roster_read_lock(r);
    out_array(o);
    for (const struct api_token *t = roster_next_api_token(r, 0); t != NULL;
         t = roster_next_api_token(r, t->id)) {
        out_object(o);
        out_member_uint(o, "id", t->id);
        out_member(o, "name", t->name);
        out_object_end(o);
    }
    out_array_end(o);
    roster_read_unlock(r);
    http_answer(rq, 200);
}

static void created(struct http_request *rq, int status)
{
    /* Also where this replica is behind: nobody could ask for it again. */
    if (!http_write_is_done(rq) && http_write_failed(rq, status, "token"))
        return;
    out_object(&rq->json);
    out_member_uint(&rq->json, "id", rq->outcome.value);
    out_key(&rq->json, "token");
    out_text(&rq->json, buf_bytes(&rq->body));
    out_object_end(&rq->json);
    http_answer(rq, 201);
}

void api_token_create(struct http_request *rq)
{
    struct body body = {0};
    struct token_body b = {0};
    if (http_read_body(rq, &body, &b) == 0) {
        char token[API_TOKEN_LENGTH + 1];
        uint8_t hash[API_TOKEN_HASH_SIZE];
        struct buf record = {0};
        api_token_make(token);
        api_token_hash(bytes_of_string(token), hash);
        record_put_token_create(&record, b.name, hash);
        /* The question was read: its memory keeps the token for the answer. */
        buf_clear(&rq->body);
        buf_put(&rq->body, token, API_TOKEN_LENGTH);
        http_submit(rq, &record, created);
    }
    body_close(&body);
}

static void refuse_last(struct http_request *rq)
{
    http_error(rq, 409, "last_token",
               "token: this is the last one; make another first");
}

static void revoked(struct http_request *rq, int status)
{
    if (status == 0 && rq->outcome.code == OUTCOME_LIMIT) {
        refuse_last(rq);
        return;
    }
    if (http_write_failed(rq, status, "token"))
        return;
    out_null(&rq->json);
    http_answer(rq, 200);
}

/* Below feature level 4 apply revokes the last one too: then this look at the
 * replica is all there is. */
void api_token_revoke(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct api_token *first = roster_next_api_token(r, 0);
    bool last = first != NULL && first->id == rq->id &&
                roster_next_api_token(r, first->id) == NULL;
    roster_read_unlock(r);
    if (last) {
        refuse_last(rq);
        return;
    }
    struct buf record = {0};
    record_put_token_revoke(&record, rq->id);
    http_submit(rq, &record, revoked);
}
