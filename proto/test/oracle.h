/* Decodes one message with the hand walk and with protobuf-c and aborts unless
 * verdict and values are the same. Where we are stricter by rule (lengths,
 * text, numbers from 1) the oracle applies the rule to what protobuf-c read;
 * where protobuf-c is lax about the wire (proto/wire.h) our refusal is checked
 * against the raw bytes. For tests and fuzzers. */
#pragma once

#include "base/bytes.h"

/* The verdict: 0 or ERR_INVALID. */
int oracle_report_batch(struct bytes message);
int oracle_stats_update(struct bytes message);
int oracle_report_ack(struct bytes message);
int oracle_configuration_request(struct bytes message);
