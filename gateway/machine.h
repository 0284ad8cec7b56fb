/* A hash of what makes this machine this machine, for rule 1: statistics that
 * suddenly come from another machine under the same identity begin anew. */
#pragma once

#include "base/err.h"

#include <stdint.h>

enum { MACHINE_HASH_SIZE = 16 };

/* How nodes know it, and name it in their logs: its XXH3-64. */
uint64_t machine_mark(const uint8_t hash[MACHINE_HASH_SIZE]);

/* SHA-256, cut, of a label and the content of @path (/etc/machine-id), which
 * thereby stays secret; of @hostname where the file is absent or empty.
 * ERR_NOMEM: the digest could not be computed. */
NODISCARD int machine_hash(const char *path, const char *hostname,
                           uint8_t out[MACHINE_HASH_SIZE]);
