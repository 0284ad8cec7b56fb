/* Anything as a node's /metrics: names are terminated, times positive. */
#include "base/assert.h"
#include "ctl/certificates.h"

#include <stdint.h>
#include <string.h>

static void take(void *arg, const char *name, double not_after_s)
{
    size_t *names = arg;
    *names += strlen(name);
    ASSERT(not_after_s > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t names = 0;
    char *text = malloc(size + 1);
    ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    certificates_read(text, take, &names);
    ASSERT(names <= size);
    free(text);
    return 0;
}
