#include "config/options.h"

#include <string.h>

/* The path's last word, if what stands before it is the scope. */
bool options_below(const struct option *option, const char *scope, struct span *ret_key)
{
        size_t len = strlen(scope);
        const char *key = option->path;

        if (len > 0) {
                if (strncmp(key, scope, len) != 0 || key[len] != '.')
                        return false;
                key += len + 1;
        }
        if (strchr(key, '.'))
                return false;
        *ret_key = span_of(key);
        return true;
}

const struct option *options_find(const char *scope, struct span key)
{
        for (size_t i = 0; i < option_count; i++) {
                struct span own;

                if (options_below(&options[i], scope, &own) && span_equal(own, key))
                        return &options[i];
        }
        return NULL;
}

enum { WORD_BYTES_MAX = 64, FAR = 255 };

static unsigned least(unsigned a, unsigned b)
{
        return a < b ? a : b;
}

unsigned options_distance(struct span a, struct span b)
{
        unsigned rows[3][WORD_BYTES_MAX + 1];

        if (a.len > WORD_BYTES_MAX || b.len > WORD_BYTES_MAX)
                return FAR;
        for (size_t j = 0; j <= b.len; j++)
                rows[0][j] = (unsigned)j;
        for (size_t i = 1; i <= a.len; i++) {
                unsigned *now = rows[i % 3], *before = rows[(i - 1) % 3], *earlier = rows[(i + 1) % 3];

                now[0] = (unsigned)i;
                for (size_t j = 1; j <= b.len; j++) {
                        unsigned best = before[j - 1] + (a.data[i - 1] != b.data[j - 1]);

                        best = least(best, least(before[j], now[j - 1]) + 1);
                        if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1])
                                best = least(best, earlier[j - 2] + 1);
                        now[j] = best;
                }
        }
        return rows[a.len % 3][b.len];
}

/* Near enough to be a slip rather than another word. */
static bool is_near(unsigned distance, size_t len)
{
        return distance <= 3 && distance * 3 <= len + 1;
}

struct span options_suggest(const char *scope, struct span key)
{
        struct span best = {NULL, 0};
        unsigned least_distance = FAR;

        for (size_t i = 0; i < option_count; i++) {
                unsigned distance;
                struct span own;

                if (!options_below(&options[i], scope, &own))
                        continue;
                distance = options_distance(own, key);
                if (distance < least_distance && is_near(distance, key.len > own.len ? key.len : own.len)) {
                        least_distance = distance;
                        best = own;
                }
        }
        return best;
}

const char *options_suggest_choice(const struct option_choice *choices, struct span given)
{
        unsigned least_distance = FAR;
        const char *best = NULL;

        for (; choices->name; choices++) {
                unsigned distance = options_distance(span_of(choices->name), given);

                if (distance < least_distance && is_near(distance, given.len)) {
                        least_distance = distance;
                        best = choices->name;
                }
        }
        return best;
}

bool options_spelt(const char *alphabet, struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                bool found = false;

                for (const char *at = alphabet; *at && !found;) {
                        char last = at[1] == '-' && at[2] != '\0' && at[2] != ' ' ? at[2] : at[0];

                        found = s.data[i] >= at[0] && s.data[i] <= last;
                        at += last == at[0] ? 1 : 3;
                        at += strspn(at, " ");
                }
                if (!found)
                        return false;
        }
        return true;
}
