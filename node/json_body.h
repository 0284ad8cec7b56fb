/* A request's JSON body against a table of its fields: each is checked for
 * type, length or range and UTF-8, and a field that the table does not know is
 * refused by name. jansson parses; the table also feeds /openapi.json. */
#pragma once

#include "base/bytes.h"

enum body_kind {
    BODY_TEXT,     /* const char *; NULL when absent or null */
    BODY_UINT,     /* uint64_t */
    BODY_BOOL,     /* bool */
    BODY_DURATION, /* uint64_t of seconds: "168h", or their number */
    BODY_UNSET,    /* known to defguard, not to us: null, false, 0, "", [] and
                      "disabled" pass, anything else is refused */
};

struct body_field {
    const char *name;
    enum body_kind kind;
    bool required;
    uint64_t min, max; /* of the number, or of the text's bytes */
    size_t offset;     /* of the member in the caller's structure */
    const char *about; /* one line for people */
};

struct body_schema {
    const struct body_field *fields; /* static */
    size_t count;
};

enum { BODY_SIZE_MAX = 64 * 1024 };

struct body {
    void *root; /* owned: the parsed tree, which texts borrow from */
};

/* Fills the members of @out that the body names; the others keep what the
 * caller put there. ERR_INVALID: the message names the field. The body must be
 * closed in any case. */
NODISCARD int body_read(struct body *b, struct bytes text,
                        const struct body_schema *schema, void *out,
                        struct errmsg *e);
void body_close(struct body *b);
