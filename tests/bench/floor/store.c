/* store: the Redis part of an embed worker alone. N results by hiredis in pipelines: SET with a time to live, and PUBLISH.
 *
 *      store PORT N PIPELINE VALUE_BYTES
 *
 * Prints one line; exit 1 when a command failed. The values live ten minutes under mr:{floor:…}. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(redisContext *redis, long number, const char *value, size_t value_len)
{
        char id[24], key[48];
        size_t id_len = (size_t)snprintf(id, sizeof id, "r%07ld", number),
               key_len = (size_t)snprintf(key, sizeof key, "mr:{floor:%s}:result", id);
        const char *const set[] = {"SET", key, value, "EX", "600"}, *const publish[] = {"PUBLISH", "mr:done:floor", id};
        const size_t set_len[] = {3, key_len, value_len, 2, 3}, publish_len[] = {7, 13, id_len};

        redisAppendCommandArgv(redis, 5, (const char **)set, set_len);
        redisAppendCommandArgv(redis, 3, (const char **)publish, publish_len);
}

int main(int argc, char **argv)
{
        long numbers[4] = {0}, failed = 0, done = 0;
        redisContext *redis;
        char *value;

        for (int i = 1; i < argc && i <= 4; i++)
                numbers[i - 1] = strtol(argv[i], NULL, 10);
        if (argc != 5 || numbers[0] < 1 || numbers[1] < 1 || numbers[2] < 1 || numbers[3] < 1 || numbers[3] > 16 * 1024 * 1024) {
                fprintf(stderr, "usage: store PORT N PIPELINE VALUE_BYTES\n");
                return 2;
        }
        redis = redisConnect("127.0.0.1", (int)numbers[0]);
        value = malloc((size_t)numbers[3]);
        if (!redis || redis->err || !value) {
                fprintf(stderr, "store: %s\n", redis && redis->err ? redis->errstr : "no memory");
                return 1;
        }
        memset(value, '7', (size_t)numbers[3]);
        while (done < numbers[1]) {
                long batch = numbers[1] - done < numbers[2] ? numbers[1] - done : numbers[2];

                for (long i = 0; i < batch; i++)
                        append(redis, done + i, value, (size_t)numbers[3]);
                for (long i = 0; i < 2 * batch; i++) {
                        redisReply *reply = NULL;

                        if (redisGetReply(redis, (void **)&reply) != REDIS_OK) {
                                fprintf(stderr, "store: %s\n", redis->errstr);
                                return 1;
                        }
                        failed += reply->type == REDIS_REPLY_ERROR;
                        freeReplyObject(reply);
                }
                done += batch;
        }
        printf("store: %ld values of %ld bytes, %ld failed, hiredis %d.%d.%d\n", done, numbers[3], failed, HIREDIS_MAJOR,
               HIREDIS_MINOR, HIREDIS_PATCH);
        redisFree(redis);
        free(value);
        return failed != 0;
}
