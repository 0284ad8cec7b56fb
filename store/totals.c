#include "store/totals.h"

_Static_assert(TOTAL_KEY_SIZE == 1 + 3 * sizeof(uint32_t), "docs/format.md");

void total_key_put(uint8_t key[TOTAL_KEY_SIZE], enum tier tier,
                   uint32_t location, uint32_t bucket, uint32_t gateway)
{
    key[0] = (uint8_t)(tier + 1);
    be32_put(key + 1, location);
    be32_put(key + 5, bucket);
    be32_put(key + 9, gateway);
}

void total_value_put(uint8_t value[TOTAL_VALUE_SIZE], const struct cell *cell)
{
    le64_put(value, cell->upload);
    le64_put(value + 8, cell->download);
}

int total_get(enum tier tier, struct bytes key, struct bytes value,
              struct cell *cell)
{
    if (key.size != TOTAL_KEY_SIZE || value.size != TOTAL_VALUE_SIZE)
        return ERR_CORRUPT;
    if (key.data[0] != tier + 1)
        return 0;
    *cell = (struct cell){.location = be32_get(key.data + 1),
                          .bucket = be32_get(key.data + 5),
                          .device = GATEWAY_TOTAL,
                          .gateway = be32_get(key.data + 9),
                          .upload = le64_get(value.data),
                          .download = le64_get(value.data + 8)};
    return 1;
}
