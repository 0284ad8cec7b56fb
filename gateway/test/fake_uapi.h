/* A userspace WireGuard for tests: a socket that answers `get=1` from a thread
 * of its own, as told. */
#pragma once

#include <stddef.h>

struct fake_uapi;

/* Listens at @path and answers each connection with @answer, @chunk bytes at a
 * time (0: all at once); @silent never answers. NULL on failure. */
struct fake_uapi *fake_uapi_start(const char *path, const char *answer,
                                  size_t chunk, int silent);

/* Closes; the socket's file is left behind, as by a killed process, unless
 * @unlink_path. */
void fake_uapi_stop(struct fake_uapi *f, int unlink_path);
