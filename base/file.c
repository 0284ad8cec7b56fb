#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_mark file_mark_take(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct file_mark){0};
    return (struct file_mark){
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .size = (uint64_t)st.st_size,
        .changed_ns = (int64_t)st.st_mtim.tv_sec * 1000 * 1000 * 1000 +
                      st.st_mtim.tv_nsec,
    };
}

bool file_mark_equal(const struct file_mark *a, const struct file_mark *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->changed_ns == b->changed_ns;
}

static int refuse_errno(const char *path, struct errmsg *e)
{
    int rv = errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND
             : errno == EACCES || errno == EPERM ? ERR_DENIED
                                                 : ERR_IO;
    return errmsg_set(e, rv, "%.160s: %s", path, strerror(errno));
}

/* Reads until the end; it may have grown since it was measured. */
static int read_all(int fd, const char *path, char *text, size_t *length,
                    struct errmsg *e)
{
    *length = 0;
    for (;;) {
        ssize_t n = read(fd, text + *length, FILE_TEXT_SIZE_MAX + 1 - *length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return refuse_errno(path, e);
        *length += (size_t)n;
        if (*length > FILE_TEXT_SIZE_MAX)
            return errmsg_set(e, ERR_INVALID,
                              "%.160s: larger than %d bytes: is it the right "
                              "file?",
                              path, FILE_TEXT_SIZE_MAX);
        if (n == 0)
            return 0;
    }
}

int file_read_text(const char *path, char **out, struct errmsg *e)
{
    size_t length = 0;
    /* A pipe or a device in its place must not hold us up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse_errno(path, e);
    char *text = malloc(FILE_TEXT_SIZE_MAX + 2);
    int rv = text == NULL ? errmsg_set(e, ERR_NOMEM, "out of memory")
                          : read_all(fd, path, text, &length, e);
    close(fd);
    if (rv == 0 && (length == 0 || memchr(text, '\0', length) != NULL))
        rv = errmsg_set(e, ERR_INVALID, "%.160s: %s", path,
                        length == 0 ? "is empty" : "is no text");
    if (rv != 0) {
        free(text);
        return rv;
    }
    text[length] = '\0';
    char *fitted = realloc(text, length + 1);
    if (fitted != NULL)
        text = fitted;
    *out = text;
    return 0;
}
