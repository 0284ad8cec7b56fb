#include "gateway/machine.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

uint64_t machine_mark(const uint8_t hash[MACHINE_HASH_SIZE])
{
    return XXH3_64bits(hash, MACHINE_HASH_SIZE);
}

int machine_hash(const char *path, const char *hostname,
                 uint8_t out[MACHINE_HASH_SIZE])
{
    char text[256] = "", subject[512];
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        size_t size = fread(text, 1, sizeof text - 1, f);
        text[size] = '\0';
        text[strcspn(text, "\n")] = '\0';
        fclose(f);
    }
    bool known = text[0] != '\0';
    snprintf(subject, sizeof subject, "holdfast machine %s %.256s",
             known ? "id" : "host", known ? text : hostname);
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(subject, strlen(subject), digest, NULL, EVP_sha256(),
                   NULL) != 1)
        return ERR_NOMEM;
    memcpy(out, digest, MACHINE_HASH_SIZE);
    return 0;
}
