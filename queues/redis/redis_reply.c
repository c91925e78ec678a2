/* Replies read: for the decoders of the room's modules, and error replies in the contract's codes. */
#include <hiredis/hiredis.h>
#include <stdlib.h>

#include "config/base/own.h"
#include "queues/redis/redis_parts.h"

bool reply_begins(const struct redisReply *reply, const char *word)
{
        size_t len = strlen(word);

        return reply->len >= len && memcmp(reply->str, word, len) == 0 && (reply->len == len || reply->str[len] == ' ');
}

/* The error's own word, or that of the command inside a script which failed (Redis before 7 wraps it: "ERR Error running script …
 * -OOM command …"). What a script of ours quotes there is Redis's text, not a caller's. */
static bool refuses(const struct redisReply *reply, const char *word)
{
        static const char wrapped[] = "ERR Error running script ";
        size_t len = strlen(word);
        const char *at = reply->str;

        if (reply_begins(reply, word))
                return true;
        if (reply->len < sizeof wrapped || memcmp(at, wrapped, sizeof wrapped - 1) != 0)
                return false;
        while ((at = strstr(at, ": -"))) {
                at += 3;
                if (strncmp(at, word, len) == 0 && at[len] == ' ')
                        return true;
        }
        return false;
}

void reply_error(const struct redisReply *reply, struct error *err)
{
        static const struct {
                const char *word;
                enum error_code code;
                const char *says;
        } words[] = {
                {"LOADING", CODE_UNAVAILABLE, "redis is loading its data"},
                {"READONLY", CODE_UNAVAILABLE, "redis is a read-only replica"},
                {"OOM", CODE_UNAVAILABLE, "redis is at its maxmemory"},
                {"BUSY", CODE_UNAVAILABLE, "redis is busy running a script"},
                {"MISCONF", CODE_UNAVAILABLE, "redis can't persist and refuses writes"},
                {"NOREPLICAS", CODE_UNAVAILABLE, "redis has too few replicas"},
                {"MASTERDOWN", CODE_UNAVAILABLE, "redis is a replica without its primary"},
                {"CLUSTERDOWN", CODE_UNAVAILABLE, "the redis cluster is down"},
                {"TRYAGAIN", CODE_UNAVAILABLE, "the redis cluster is moving slots"},
                {"MOVED", CODE_UNAVAILABLE, "this redis is a node of a cluster and not the key's"},
                {"ASK", CODE_UNAVAILABLE, "the redis cluster is moving slots"},
                {"NOSCRIPT", CODE_UNAVAILABLE, "redis forgot a script twice"},
                {"NOAUTH", CODE_AUTH, "redis wants a password"},
                {"WRONGPASS", CODE_AUTH, "redis refuses user or password"},
                {"NOPERM", CODE_AUTH, "redis's ACL forbids a command or key"},
        };

        for (size_t i = 0; i < COUNT_OF(words); i++) {
                if (refuses(reply, words[i].word)) {
                        error_set(err, words[i].code, "%s", words[i].says);
                        return;
                }
        }
        error_set(err, CODE_BAD_RESPONSE, "redis answered with the error %.*s", (int)(strcspn(reply->str, " ") % 32), reply->str);
}

static const redisReply *element(const redisReply *reply, int index)
{
        if (index < 0)
                return reply;
        return reply->type == REDIS_REPLY_ARRAY && (size_t)index < reply->elements ? reply->element[index] : NULL;
}

bool reply_span(const struct redisReply *reply, int index, struct span *ret_text)
{
        const redisReply *at = element(reply, index);

        if (!at || (at->type != REDIS_REPLY_STRING && at->type != REDIS_REPLY_STATUS))
                return false;
        *ret_text = (struct span){at->str, at->len};
        return true;
}

bool reply_int(const struct redisReply *reply, int index, int64_t *ret_value)
{
        const redisReply *at = element(reply, index);
        struct span text;
        char *end;

        if (at && at->type == REDIS_REPLY_INTEGER) {
                *ret_value = at->integer;
                return true;
        }
        if (!reply_span(reply, index, &text) || text.len == 0 || text.len > 20)
                return false;
        *ret_value = strtoll(text.data, &end, 10); /* hiredis ends strings with a NUL */
        return end == text.data + text.len;
}

enum call_decoded reply_unexpected(struct error *err)
{
        error_set(err, CODE_BAD_RESPONSE, "unexpected reply from redis");
        return CALL_FAILED;
}
