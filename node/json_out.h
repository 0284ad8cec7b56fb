/* JSON, written once from front to back into a buffer: what an answer of ten
 * thousand points needs, without a tree in memory. Commas take care of
 * themselves; nesting is the caller's duty and asserted. */
#pragma once

#include "base/bytes.h"

struct json_out {
    struct buf *buf;   /* borrowed */
    uint64_t nonempty; /* bit d: the container at depth d has an item */
    unsigned depth;
    bool after_key;
};

enum { JSON_OUT_DEPTH_MAX = 32 };

void out_begin(struct json_out *o, struct buf *buf);

void out_object(struct json_out *o);
void out_object_end(struct json_out *o);
void out_array(struct json_out *o);
void out_array_end(struct json_out *o);

/* @name is plain ASCII of our own. */
void out_key(struct json_out *o, const char *name);

/* NULL is null. What is no UTF-8 is written with U+FFFD. */
void out_string(struct json_out *o, const char *value);
void out_text(struct json_out *o, struct bytes value);
void out_uint(struct json_out *o, uint64_t value);
void out_int(struct json_out *o, int64_t value);
void out_bool(struct json_out *o, bool value);
void out_null(struct json_out *o);

/* A key and its value. */
void out_member(struct json_out *o, const char *name, const char *value);
void out_member_uint(struct json_out *o, const char *name, uint64_t value);
void out_member_bool(struct json_out *o, const char *name, bool value);
void out_member_null(struct json_out *o, const char *name);

/* An array of the parts of a comma list; empty parts are left out. */
void out_comma_list(struct json_out *o, const char *list);
