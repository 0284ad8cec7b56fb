/* What a stream told the log of each peer's endpoint and allowed IPs, as a
 * hash: they go into a record only when they changed. A cache: forgetting costs
 * some bytes, and a collision of hashes costs one late endpoint. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_CACHE_PEERS_MAX = 64 * 1024 };

struct text_cache_slot {
    uint64_t key, text; /* key 0: free */
};

/* Zero-initialise. */
struct text_cache {
    struct text_cache_slot *slots; /* owned; a power of two */
    size_t capacity, count;
};

void text_cache_deinit(struct text_cache *c);

/* True if @text is not what was noted for @key before; notes it. @key says
 * where it is kept: a hash that nobody can aim at (ingest_key_hash). */
bool text_cache_changed(struct text_cache *c, uint64_t key, uint64_t text);
