/* SHA-256 of a stream, as hexadecimal text. */
#pragma once

#include "base/err.h"

#include <stddef.h>

enum { SHA256_TEXT_SIZE = 65 };

struct sha256;

/* NULL: out of memory. */
struct sha256 *sha256_create(void);
void sha256_destroy(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
/* Once, at the end. */
void sha256_text(struct sha256 *s, char out[SHA256_TEXT_SIZE]);

/* Of a whole file. ERR_NOTFOUND, ERR_IO, ERR_NOMEM. */
NODISCARD int sha256_of_file(const char *path, char out[SHA256_TEXT_SIZE],
                             struct errmsg *e);
