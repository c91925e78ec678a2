/* hiredis on libev. Unlike hiredis's own adapter it writes once at the end of a loop turn's callbacks: all commands of the turn
 * leave in one write, without waiting for another turn and without registering the socket for writing, which is done only when it
 * is full. */
#ifndef QUEUES_REDIS_REDIS_ADAPTER_H
#define QUEUES_REDIS_REDIS_ADAPTER_H

#include <ev.h>
#include <stdbool.h>

struct redisAsyncContext;

/* Embedded; must outlive the context it is attached to, and stay where it is. */
struct redis_adapter {
        struct ev_loop *loop;
        struct redisAsyncContext *context; /* NULL: detached */
        ev_io readable, writable;
        ev_prepare flush; /* never started: fed as the turn's last event */
        void (*before_write)(void *user);
        void *user;
        bool writing, preparing;
};

/* before_write(user) may issue further commands; called before each write at a turn's end. */
void redis_adapter_init(struct redis_adapter *adapter, struct ev_loop *loop, void (*before_write)(void *user), void *user);
/* The context (just made, not yet connected) detaches itself when hiredis frees it. */
void redis_adapter_attach(struct redis_adapter *adapter, struct redisAsyncContext *context);

#endif
