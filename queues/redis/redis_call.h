/* One command on an asynchronous connection, for the modules of this room: begin it, add its arguments, send it; a decoder turns
 * the reply into the caller's struct before the op is done. No memory is allocated: calls come from the connection's fixed store.
 *
 *      struct redis_call *call = redis_call_script(connection, op, SCRIPT_RESULT_STORE, 4);
 *
 *      if (!call)
 *              return;                         // the op has ended already, with the reason
 *      redis_call_key(call, tenant, id, "claim");
 *      redis_call_span(call, holder);          // borrowed until the op is done
 *      redis_call_int(call, fence);
 *      redis_call_send(call, decode_stored, answer, true);
 */
#ifndef QUEUES_REDIS_REDIS_CALL_H
#define QUEUES_REDIS_REDIS_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/completion.h"
#include "config/base/span.h"
#include "queues/redis/redis_connection.h"
#include "queues/redis/redis_scripts.h"

struct redisReply;
struct redis_call;

/* Reply → *out; never called with an error reply. CALL_UNCHANGED: nothing was written, so there are no replicas to wait for. */
enum call_decoded { CALL_FAILED = -1, CALL_DECODED = 0, CALL_UNCHANGED = 1 };

/* command: a literal. NULL: op is done already (down, full). In a cluster the first argument is the key that decides where it goes;
 * of a script the first key, whose hash tag all its keys must share. */
struct redis_call *redis_call_command(struct redis_connection *connection, struct op *op, const char *command);
/* keys: how many keys follow as the first arguments. */
struct redis_call *redis_call_script(struct redis_connection *connection, struct op *op, enum redis_script script, int keys);

/* Arguments. Past the bounds (28 arguments, 1,536 bytes of keys and numbers) the call fails when it is sent. */
void redis_call_span(struct redis_call *call, struct span argument); /* borrowed */
void redis_call_int(struct redis_call *call, int64_t argument);
/* <prefix>:{<tenant>:<id>}:<name> */
void redis_call_key(struct redis_call *call, struct span tenant, struct span id, const char *name);
void redis_call_document(struct redis_call *call, struct span tenant, struct span collection, struct span document);
void redis_call_channel(struct redis_call *call, struct span tenant); /* <prefix>:done:<tenant> */
/* The parts joined, as one argument; copied. */
void redis_call_text(struct redis_call *call, const struct span *parts, size_t count);

/* durable: done only when redis.wait_replicas have it (one WAIT for all such commands of a loop turn). */
void redis_call_send(struct redis_call *call, enum call_decoded (*decode)(struct redisReply *reply, void *out, struct error *err),
                     void *out, bool durable);

/* For decoders: element index of an array, or the reply itself for index −1. False where it isn't there or not of that type. */
bool reply_int(const struct redisReply *reply, int index, int64_t *ret_value); /* an integer, or a string of one */
bool reply_span(const struct redisReply *reply, int index, struct span *ret_text);
enum call_decoded reply_unexpected(struct error *err); /* sets dependency.bad_response; CALL_FAILED */

#endif
