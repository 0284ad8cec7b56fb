/* Rows of `tot`: the total of a (tier, location, bucket, gateway). Location
 * before bucket, so that a chart of one location is one range. docs/format.md,
 * "Totals". Pure codec. */
#pragma once

#include "store/cell.h"

enum { TOTAL_KEY_SIZE = 13, TOTAL_VALUE_SIZE = 16 };

void total_key_put(uint8_t key[TOTAL_KEY_SIZE], enum tier tier,
                   uint32_t location, uint32_t bucket, uint32_t gateway);
void total_value_put(uint8_t value[TOTAL_VALUE_SIZE], const struct cell *cell);

/* Into a cell of GATEWAY_TOTAL. 1, or 0 if the key is of another tier,
 * ERR_CORRUPT. */
NODISCARD int total_get(enum tier tier, struct bytes key, struct bytes value,
                        struct cell *cell);
