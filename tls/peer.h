/* What the rest of tls/ shares about names in certificates. Pure, no thread. */
#pragma once

#include <stdbool.h>

/* Of X509_check_host: a wildcard stands for one whole label, and the common
 * name does not count (RFC 6125, 6.4). */
#define HOST_CHECK_FLAGS                                                       \
    (X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)

/* An IP address, which a certificate names in another way than a DNS name. */
bool host_is_address(const char *host);
