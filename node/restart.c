#define _GNU_SOURCE /* close_range */
#include "node/restart.h"

#include <linux/close_range.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static char **arguments;
static char program[4096];

void restart_remember(char **argv)
{
    arguments = argv;
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length < 0 ? 0 : length] = '\0';
}

void restart_process(void)
{
    /* No socket, lock or database of this process outlives it; where the call
     * is unknown they were opened with O_CLOEXEC all the same. */
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    /* The mask goes over to the new program: as main sets it, so that a stop
     * that comes meanwhile waits for it. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    /* By its path, which gives the process its name; the other way if the file
     * was removed meanwhile. */
    execv(program, arguments);
    execv("/proc/self/exe", arguments);
}
