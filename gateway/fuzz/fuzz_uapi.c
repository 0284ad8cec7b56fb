/* Any bytes as the answer of a WireGuard interface: no crash, and what is
 * accepted keeps its bounds. */
#include "base/assert.h"
#include "gateway/uapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wg_interface seen = {0};
    struct errmsg e;
    int rv = uapi_parse((struct bytes){data, size}, &seen, &e);
    for (size_t i = 0; rv == 0 && i < seen.peer_count; i++) {
        const struct wg_peer *p = &seen.peers[i];
        ASSERT(strlen(p->endpoint) <= REPORT_ENDPOINT_LENGTH_MAX);
        ASSERT(strlen(p->allowed_ips) <= REPORT_ALLOWED_IPS_LENGTH_MAX);
        ASSERT(p->handshake_ns < 1000000000);
        ASSERT(p->keepalive_interval_s <= UINT16_MAX);
    }
    (void)uapi_answer_complete((struct bytes){data, size});
    wg_interface_deinit(&seen);
    return 0;
}
