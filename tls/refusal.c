#include "tls/refusal.h"

#include "tls/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

void refusal_of_certificate(X509_STORE_CTX *check, const char *host, char *out,
                            size_t room)
{
    int error = X509_STORE_CTX_get_error(check);
    char names[64];
    tls_peer_names(X509_STORE_CTX_get0_cert(check), names, sizeof names);
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        snprintf(out, room, "its certificate (for %s) has expired", names);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        snprintf(out, room,
                 "its certificate (for %s) is not valid yet: compare the "
                 "clocks",
                 names);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(out, room, "its certificate names %s, not %.64s", names, host);
        break;
    case X509_V_ERR_INVALID_PURPOSE:
        snprintf(out, room,
                 "its certificate (for %s) is not made for this: it needs both "
                 "serverAuth and clientAuth",
                 names);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        snprintf(out, room,
                 "its certificate (for %s) is of no CA that is trusted here",
                 names);
        break;
    default:
        snprintf(out, room, "its certificate (for %s): %s", names,
                 X509_verify_cert_error_string(error));
    }
}

/* What the other side told us before it hung up. */
static const char *alert_text(int reason)
{
    switch (reason) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "it refused our certificate: of no CA that it trusts";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "it refused our certificate: expired";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        return "it refused our certificate: does its name fit the address?";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        return "it refused our certificate";
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "it wants a certificate of us";
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "it speaks another version of TLS (here: 1.2 or later)";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "it found no cipher in common";
    default:
        return NULL;
    }
}

static const char *protocol_text(int reason)
{
    switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "it showed no certificate";
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_LENGTH_MISMATCH:
        return "it does not speak TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
        return "it speaks only versions of TLS before 1.2";
    case SSL_R_NO_SHARED_CIPHER:
        return "it has no cipher in common with us";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return "it hung up in the TLS handshake";
    default:
        return alert_text(reason);
    }
}

void refusal_of_handshake(int error, char *out, size_t room)
{
    unsigned long code = ERR_peek_error();
    const char *text = NULL;
    if (ERR_GET_LIB(code) == ERR_LIB_SSL)
        text = protocol_text(ERR_GET_REASON(code));
    if (text != NULL)
        snprintf(out, room, "%s", text);
    else if (code != 0 && ERR_reason_error_string(code) != NULL)
        snprintf(out, room, "TLS handshake: %s", ERR_reason_error_string(code));
    else if (error == SSL_ERROR_SYSCALL && errno != 0)
        snprintf(out, room, "TLS handshake: %s", strerror(errno));
    else
        snprintf(out, room, "it hung up in the TLS handshake");
}
