/* The admin token in the data directory: <data-dir>/admin-token, readable by
 * this process's user and root only, and admin-token.new beside it while it is
 * not known yet whether the cluster took it, so that a crash in between does
 * not lose it. Main thread. */
#pragma once

#include "node/token.h"

#include <stdbool.h>

struct node;

enum { TOKEN_PATH_SIZE = 4096 };

/* <data-dir>/admin-token@suffix */
void token_file_path(const struct node *n, const char *suffix,
                     char out[TOKEN_PATH_SIZE]);

bool token_file_read(const char *path, char token[API_TOKEN_LENGTH + 1]);

/* In place of what was there, durably; false: errno. */
bool token_file_write(const char *path, const char *token);

/* Whether the cluster knows it, as far as this replica has applied. */
bool token_is_known(const struct node *n, const char *token);
