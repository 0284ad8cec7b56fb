#include "raft/manifest.h"

static const uint8_t MAGIC[8] = {'H', 'F', 's', 'n', 'a', 'p', 0, 1};

_Static_assert(sizeof MAGIC + 2 * 4 + CLUSTER_ID_SIZE + 3 * 8 == MANIFEST_SIZE,
               "docs/format.md");

void manifest_encode(const struct manifest *m, uint8_t out[MANIFEST_SIZE])
{
    memset(out, 0, MANIFEST_SIZE);
    memcpy(out, MAGIC, sizeof MAGIC);
    le32_put(out + 8, MANIFEST_FORMAT);
    memcpy(out + 16, m->cluster_id, CLUSTER_ID_SIZE);
    le64_put(out + 32, m->index);
    le64_put(out + 40, m->term);
    le64_put(out + 48, m->store_bytes);
}

int manifest_decode(struct bytes in, struct manifest *out)
{
    if (in.size != MANIFEST_SIZE || memcmp(in.data, MAGIC, sizeof MAGIC) != 0 ||
        le32_get(in.data + 8) != MANIFEST_FORMAT)
        return ERR_CORRUPT;
    memcpy(out->cluster_id, in.data + 16, CLUSTER_ID_SIZE);
    out->index = le64_get(in.data + 32);
    out->term = le64_get(in.data + 40);
    out->store_bytes = le64_get(in.data + 48);
    return 0;
}
