/* The expiry of certificates out of a node's /metrics. */
#pragma once

typedef void certificate_fn(void *arg, const char *name, double not_after_s);

/* Calls @take for each holdfast_tls_cert_not_after_seconds{cert="..."} line of
 * @metrics; other and malformed lines are read over. */
void certificates_read(const char *metrics, certificate_fn *take, void *arg);
