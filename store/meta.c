#include "store/meta.h"

#include "store/store.h"

#include <xxhash.h>

enum { CHECKSUM_SIZE = 8, META_SIZE_MIN = 4 + CHECKSUM_SIZE };

_Static_assert(META_SIZE ==
                   4 + 4 * 8 + 4 * TIERS + CLUSTER_ID_SIZE + CHECKSUM_SIZE,
               "docs/format.md");

void meta_put(uint8_t out[META_SIZE], const struct meta *meta)
{
    memset(out, 0, META_SIZE);
    le32_put(out, STORE_FORMAT);
    le64_put(out + 4, meta->applied_index);
    le64_put(out + 12, meta->applied_term);
    le64_put(out + 20, meta->log_time_ms);
    le64_put(out + 28, meta->generation);
    for (size_t tier = 0; tier < TIERS; tier++)
        le32_put(out + 36 + 4 * tier, meta->horizon[tier]);
    memcpy(out + 48, meta->cluster_id, CLUSTER_ID_SIZE);
    le64_put(out + META_SIZE - CHECKSUM_SIZE,
             XXH64(out, META_SIZE - CHECKSUM_SIZE, 0));
}

int meta_get(struct bytes stored, struct meta *meta, struct errmsg *e)
{
    if (stored.size < META_SIZE_MIN)
        return errmsg_set(e, ERR_CORRUPT, "meta record of %zu bytes",
                          stored.size);
    size_t covered = stored.size - CHECKSUM_SIZE;
    if (le64_get(stored.data + covered) != XXH64(stored.data, covered, 0))
        return errmsg_set(e, ERR_CORRUPT,
                          "meta record fails its checksum; remove this node's "
                          "data and let it join again");
    uint32_t format = le32_get(stored.data);
    if (format > STORE_FORMAT)
        return errmsg_set(e, ERR_NEWER,
                          "format %u was written by a newer version, this one "
                          "reads up to %u; upgrade this node",
                          format, (unsigned)STORE_FORMAT);
    if (format < STORE_FORMAT)
        return errmsg_set(e, ERR_CORRUPT,
                          "format %u was written before the first release and "
                          "is not read any more; remove the data of all nodes "
                          "that have it and start them anew",
                          format);
    if (stored.size != META_SIZE)
        return errmsg_set(e, ERR_CORRUPT, "meta record of format %u, %zu bytes",
                          format, stored.size);
    *meta = (struct meta){.applied_index = le64_get(stored.data + 4),
                          .applied_term = le64_get(stored.data + 12),
                          .log_time_ms = le64_get(stored.data + 20),
                          .generation = le64_get(stored.data + 28)};
    for (size_t tier = 0; tier < TIERS; tier++)
        meta->horizon[tier] = le32_get(stored.data + 36 + 4 * tier);
    memcpy(meta->cluster_id, stored.data + 48, CLUSTER_ID_SIZE);
    return 0;
}
