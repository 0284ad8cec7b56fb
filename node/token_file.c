#include "node/token_file.h"

#include "node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void token_file_path(const struct node *n, const char *suffix,
                     char out[TOKEN_PATH_SIZE])
{
    snprintf(out, TOKEN_PATH_SIZE, "%s/admin-token%s", n->config->data_dir,
             suffix);
}

bool token_file_read(const char *path, char token[API_TOKEN_LENGTH + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, token, API_TOKEN_LENGTH);
    close(fd);
    token[API_TOKEN_LENGTH] = '\0';
    return size == API_TOKEN_LENGTH;
}

/* A new file: one that was there may be somebody else's, or readable to them.
 */
bool token_file_write(const char *path, const char *token)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, token, API_TOKEN_LENGTH) == API_TOKEN_LENGTH &&
              write(fd, "\n", 1) == 1 && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

bool token_is_known(const struct node *n, const char *token)
{
    uint8_t hash[API_TOKEN_HASH_SIZE];
    api_token_hash(bytes_of_string(token), hash);
    struct roster *roster = store_roster(n->store);
    roster_read_lock(roster);
    bool known = roster_api_token(roster, hash);
    roster_read_unlock(roster);
    return known;
}
