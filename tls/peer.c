/* Whom a certificate names: its subject alternative names, nothing else. Any
 * thread: OpenSSL counts and caches under its own locks. */
#include "tls/peer.h"

#include "tls/tls.h"

#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* OpenSSL reads a certificate through a pointer that is not const, because it
 * keeps what it has parsed inside. */
static X509 *x509_of(const void *peer)
{
    return (X509 *)(uintptr_t)peer;
}

bool host_is_address(const char *host)
{
    uint8_t address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 ||
           inet_pton(AF_INET6, host, address) == 1;
}

bool tls_peer_is_named(const void *peer, const char *host)
{
    X509 *x = x509_of(peer);
    size_t length = strlen(host);
    if (x == NULL || length == 0 || length > TLS_HOST_LENGTH_MAX)
        return false;
    if (host_is_address(host))
        return X509_check_ip_asc(x, host, 0) == 1;
    if (host[length - 1] == '.') /* the root of a fully qualified name */
        length--;
    return length > 0 &&
           X509_check_host(x, host, length, HOST_CHECK_FLAGS, NULL) == 1;
}

void tls_peer_free(void *peer)
{
    X509_free(peer);
}

/* --- names for people ----------------------------------------------------- */

struct text {
    char *out;
    size_t room, length;
};

/* A stranger chose these bytes: only harmless ones get into a log. */
static void text_add(struct text *t, const uint8_t *data, size_t size)
{
    if (t->length > 0 && t->length + 2 < t->room) {
        t->out[t->length++] = ',';
        t->out[t->length++] = ' ';
    }
    for (size_t i = 0; i < size && t->length + 1 < t->room; i++) {
        bool plain = data[i] > 0x20 && data[i] < 0x7f;
        t->out[t->length++] = plain ? (char)data[i] : '?';
    }
    t->out[t->length] = '\0';
}

static void add_name(struct text *t, const GENERAL_NAME *name)
{
    const ASN1_STRING *value = NULL;
    char address[INET6_ADDRSTRLEN];
    if (name->type == GEN_DNS)
        value = name->d.dNSName;
    else if (name->type == GEN_IPADD)
        value = name->d.iPAddress;
    if (value == NULL)
        return;
    const uint8_t *data = ASN1_STRING_get0_data(value);
    size_t size = (size_t)ASN1_STRING_length(value);
    if (name->type == GEN_IPADD) {
        int family = size == 4 ? AF_INET : AF_INET6;
        if ((size != 4 && size != 16) ||
            inet_ntop(family, data, address, sizeof address) == NULL)
            return;
        data = (const uint8_t *)address;
        size = strlen(address);
    }
    text_add(t, data, size);
}

void tls_peer_names(const void *peer, char *out, size_t room)
{
    struct text t = {out, room, 0};
    X509 *x = x509_of(peer);
    out[0] = '\0';
    GENERAL_NAMES *names =
        x == NULL ? NULL
                  : X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        add_name(&t, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    if (t.length == 0)
        snprintf(out, room, "nobody");
}
