/* A listening TCP socket from an "ip:port" of the configuration. */
#pragma once

#include "base/err.h"

enum { LISTEN_ADDRESS_SIZE = 64 };

/* Binds @bind ("127.0.0.1:0", "[::]:8000"; port 0 picks one) and listens; @fd
 * is the caller's, non-blocking and close-on-exec; @address is what was bound.
 * ERR_INVALID, ERR_IO; the message names the address. */
NODISCARD int listen_open(const char *bind, int *fd,
                          char address[LISTEN_ADDRESS_SIZE], struct errmsg *e);
