/* Thread roles as clang capabilities. A function that may run on one thread
 * only says REQUIRES(applier_thread); -Wthread-safety then refuses callers that
 * do not hold the role, and thread_role_assert checks it at run time too. */
#pragma once

#include <pthread.h>

#if defined(__clang__)
#define THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define THREAD_ATTRIBUTE(x)
#endif

#define CAPABILITY(name) THREAD_ATTRIBUTE(capability(name))
#define GUARDED_BY(x) THREAD_ATTRIBUTE(guarded_by(x))
#define REQUIRES(...) THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...)                                                   \
    THREAD_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ASSERTS_CAPABILITY(x) THREAD_ATTRIBUTE(assert_capability(x))
#define NO_THREAD_SAFETY THREAD_ATTRIBUTE(no_thread_safety_analysis)

/* A role that one thread holds for its whole life. */
struct CAPABILITY("thread role") thread_role {
    const char *name;
};

/* The roles of a node (DESIGN, "Threads of a node"). */
extern struct thread_role loop_thread;
extern struct thread_role applier_thread;
extern struct thread_role flusher_thread;
extern struct thread_role grpc_thread;

/* Called once at the start of the thread: names it for the operating system
 * (top, gdb) and takes the role. */
void thread_role_take(struct thread_role *role) ASSERTS_CAPABILITY(role);

/* Aborts if the running thread took another role. A thread that took none (a
 * unit test) passes. */
void thread_role_assert(const struct thread_role *role)
    ASSERTS_CAPABILITY(role);
