/* What comes over the bulk channel. What decodes must encode to the same bytes;
 * an answer also when its checksum is put right, or no fuzzer gets behind it.
 */
#include "base/assert.h"
#include "raft/bulk.h"

#include <stdlib.h>
#include <xxhash.h>

static void try_answer(const uint8_t *data, size_t size)
{
    struct bulk_answer answer;
    if (bulk_answer_decode((struct bytes){data, size}, &answer) != 0)
        return;
    struct buf again = {0};
    bulk_answer_encode(&answer, &again);
    ASSERT(!buf_failed(&again) && again.size == size + 4);
    ASSERT(memcmp(again.data + 4, data, size) == 0);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == BULK_REQUEST_SIZE) {
        struct bulk_request request;
        uint8_t again[BULK_REQUEST_SIZE];
        if (bulk_request_decode(data, &request) == 0) {
            bulk_request_encode(&request, again);
            ASSERT(memcmp(again, data, size) == 0);
        }
    }
    if (size >= BULK_CHUNK_HEADER_SIZE) {
        int chunk = bulk_chunk_size(data);
        ASSERT(chunk < 0 || chunk <= BULK_CHUNK_SIZE_MAX);
        (void)bulk_chunk_is_good(data,
                                 (struct bytes){data + BULK_CHUNK_HEADER_SIZE,
                                                size - BULK_CHUNK_HEADER_SIZE});
    }
    try_answer(data, size);
    if (size >= 8) {
        uint8_t *whole = malloc(size);
        ASSERT(whole != NULL);
        memcpy(whole, data, size);
        le64_put(whole + size - 8, XXH3_64bits(whole, size - 8));
        try_answer(whole, size);
        free(whole);
    }
    return 0;
}
