/* Request targets, times and bodies as the network sends them. The first byte
 * says which parser gets the rest. */
#include "base/assert.h"
#include "node/http_query.h"
#include "node/http_route.h"
#include "node/json_body.h"

#include <stdlib.h>

struct example {
    const char *text;
    uint64_t number;
    bool truth;
};

static const struct body_field fields[] = {
    {"text", BODY_TEXT, true, 1, 20, offsetof(struct example, text), NULL},
    {"number", BODY_UINT, false, 1, 9, offsetof(struct example, number), NULL},
    {"truth", BODY_BOOL, false, 0, 0, offsetof(struct example, truth), NULL},
    {"unset", BODY_UNSET, false, 0, 0, 0, NULL},
};
static const struct body_schema schema = {fields, 4};

static void handler(struct http_request *rq)
{
    (void)rq;
}

static const struct http_route routes[] = {
    {HTTP_GET, "/a/{id}/b", 0, handler, "", NULL, NULL},
    {HTTP_GET, "/a/{username}", 0, handler, "", NULL, NULL},
};

static void fuzz_query(struct bytes input)
{
    struct query_params q;
    if (query_parse(input, &q, NULL) != 0)
        return;
    ASSERT(q.count <= QUERY_PARAMS_MAX);
    for (size_t i = 0; i < q.count; i++) {
        ASSERT(bytes_are_text(bytes_of_string(q.params[i].name)));
        ASSERT(bytes_are_text(bytes_of_string(q.params[i].value)));
        ASSERT(query_find(&q, q.params[i].name) == q.params[i].value);
    }
}

/* A time that is read and written again is the same. */
static void fuzz_time(struct bytes input)
{
    char *text = calloc(1, input.size + 1);
    uint64_t ms, again;
    if (text == NULL)
        return;
    if (input.size > 0)
        memcpy(text, input.data, input.size);
    if (time_parse(text, &ms) == 0 && ms < 253402300800000) {
        char written[TIME_TEXT_SIZE + 1];
        time_format(ms, written);
        strcat(written, "Z");
        ASSERT(rfc3339_parse(written, &again) == 0 && again == ms);
    }
    free(text);
}

static void fuzz_body(struct bytes input)
{
    struct body b = {0};
    struct example x = {0};
    if (body_read(&b, input, &schema, &x, NULL) == 0) {
        ASSERT(x.text != NULL && strlen(x.text) >= 1 && strlen(x.text) <= 20);
        ASSERT(bytes_are_text(bytes_of_string(x.text)) && x.number <= 9);
    }
    body_close(&b);
}

static void fuzz_route(struct bytes input)
{
    struct route_match match;
    route_find(routes, 2, HTTP_GET, input, &match);
    if (match.route == &routes[0])
        ASSERT(match.id != 0);
    if (match.route == &routes[1])
        ASSERT(match.name[0] != '\0' &&
               bytes_are_text(bytes_of_string(match.name)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes rest = {data + 1, size - 1};
    switch (data[0] % 4) {
    case 0:
        fuzz_query(rest);
        break;
    case 1:
        fuzz_time(rest);
        break;
    case 2:
        fuzz_body(rest);
        break;
    default:
        fuzz_route(rest);
    }
    return 0;
}
