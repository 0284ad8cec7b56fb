/* The first decoder that a stranger reaches. What decodes must encode to the
 * same bytes. */
#include "base/assert.h"
#include "raft/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = {data, size};
    struct errmsg e;
    struct hello hello;
    if (hello_decode(in, &hello, &e) == 1 && hello.version == HELLO_VERSION) {
        uint8_t again[HELLO_SIZE];
        hello_encode(&hello, again);
        ASSERT(size == HELLO_SIZE && memcmp(again, data, size) == 0);
    }
    struct hello_answer answer;
    if (hello_answer_decode(in, &answer, &e) == 1 &&
        answer.version == HELLO_VERSION) {
        uint8_t again[HELLO_ANSWER_SIZE];
        hello_answer_encode(&answer, again);
        ASSERT(size == HELLO_ANSWER_SIZE && memcmp(again, data, size) == 0);
    }
    return 0;
}
