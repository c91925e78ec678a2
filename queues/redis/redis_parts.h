/* Readers of replies that this folder's files share; private to it. */
#ifndef QUEUES_REDIS_REDIS_PARTS_H
#define QUEUES_REDIS_REDIS_PARTS_H

#include "config/base/buffer.h"
#include "queues/redis/claims.h"
#include "queues/redis/redis_call.h"

/* A status by its name; index as for reply_span. */
bool reply_status(const struct redisReply *reply, int index, enum claim_status *ret_status);

/* Error replies: whether one begins with that word; what it is in the contract's codes. Only its first word gets into the message:
 * what follows may quote arguments. */
bool reply_begins(const struct redisReply *reply, const char *word);
void reply_error(const struct redisReply *reply, struct error *err);

/* A string reply appended to *into and *found set; nil: only found = false. Past into's maximum: dependency.bad_response. */
enum call_decoded reply_append(const struct redisReply *reply, struct buffer *into, bool *found, struct error *err);

#endif
