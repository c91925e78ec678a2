/* hiredis asks for a write whenever a command is added. While connecting that must become a watcher on the socket (its first
 * writability says connected). Afterwards it becomes an event of the lowest priority in the current turn: libev runs it after
 * everything else that is pending, including what others still feed at a higher priority, so nothing is left unwritten when the
 * loop blocks. hiredis may free the context inside its read and write handlers; on_cleanup has detached us then, so look before
 * touching it again. */
#include "queues/redis/redis_adapter.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stddef.h>

#include "config/base/own.h"

static void write_out(struct redis_adapter *adapter)
{
        adapter->writing = true;
        redisAsyncHandleWrite(adapter->context);
        adapter->writing = false;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
        struct redis_adapter *adapter = CONTAINER_OF(watcher, struct redis_adapter, readable);

        (void)loop;
        (void)events;
        redisAsyncHandleRead(adapter->context);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
        (void)loop;
        (void)events;
        write_out(CONTAINER_OF(watcher, struct redis_adapter, writable));
}

static void on_flush(struct ev_loop *loop, ev_prepare *watcher, int events)
{
        struct redis_adapter *adapter = CONTAINER_OF(watcher, struct redis_adapter, flush);

        (void)loop;
        (void)events;
        if (!adapter->context)
                return;
        adapter->preparing = true;
        adapter->before_write(adapter->user);
        adapter->preparing = false;
        if (adapter->context)
                write_out(adapter);
}

static void add_read(void *data)
{
        struct redis_adapter *adapter = data;

        ev_io_start(adapter->loop, &adapter->readable);
}

static void delete_read(void *data)
{
        struct redis_adapter *adapter = data;

        ev_io_stop(adapter->loop, &adapter->readable);
}

static void add_write(void *data)
{
        struct redis_adapter *adapter = data;

        if (adapter->preparing)
                return;
        if (adapter->writing || !(adapter->context->c.flags & REDIS_CONNECTED))
                ev_io_start(adapter->loop, &adapter->writable);
        else if (!ev_is_active(&adapter->writable) && !ev_is_pending(&adapter->flush))
                ev_feed_event(adapter->loop, &adapter->flush, EV_CUSTOM);
}

static void delete_write(void *data)
{
        struct redis_adapter *adapter = data;

        ev_io_stop(adapter->loop, &adapter->writable);
}

static void on_cleanup(void *data)
{
        struct redis_adapter *adapter = data;

        ev_io_stop(adapter->loop, &adapter->readable);
        ev_io_stop(adapter->loop, &adapter->writable);
        ev_clear_pending(adapter->loop, &adapter->flush);
        adapter->context = NULL;
}

void redis_adapter_init(struct redis_adapter *adapter, struct ev_loop *loop, void (*before_write)(void *user), void *user)
{
        *adapter = (struct redis_adapter){.loop = loop, .before_write = before_write, .user = user};
        ev_init(&adapter->readable, on_readable);
        ev_init(&adapter->writable, on_writable);
        ev_prepare_init(&adapter->flush, on_flush);
        ev_set_priority(&adapter->flush, EV_MINPRI);
}

void redis_adapter_attach(struct redis_adapter *adapter, struct redisAsyncContext *context)
{
        adapter->context = context;
        ev_io_set(&adapter->readable, context->c.fd, EV_READ);
        ev_io_set(&adapter->writable, context->c.fd, EV_WRITE);
        context->ev.data = adapter;
        context->ev.addRead = add_read;
        context->ev.delRead = delete_read;
        context->ev.addWrite = add_write;
        context->ev.delWrite = delete_write;
        context->ev.cleanup = on_cleanup;
        context->ev.scheduleTimer = NULL;
}
