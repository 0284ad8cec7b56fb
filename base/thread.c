#define _GNU_SOURCE /* pthread_setname_np */
#include "base/thread.h"

#include "base/assert.h"

struct thread_role loop_thread = {"raft loop"};
struct thread_role applier_thread = {"applier"};
struct thread_role flusher_thread = {"flusher"};
struct thread_role grpc_thread = {"grpc"};

static _Thread_local const struct thread_role *held;

void thread_role_take(struct thread_role *role)
{
    held = role;
    pthread_setname_np(pthread_self(), role->name);
}

void thread_role_assert(const struct thread_role *role)
{
    ASSERT(held == NULL || held == role);
}
