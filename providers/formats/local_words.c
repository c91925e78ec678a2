#include "providers/formats/local_words.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/digest.h"
#include "config/base/own.h"

static pthread_key_t tools_key;
static pthread_once_t tools_once = PTHREAD_ONCE_INIT;
static bool tools_key_made;

static void tools_free(void *pointer)
{
        struct local_tools *tools = pointer;

        if (!tools)
                return;
        text_cursor_free(tools->words);
        text_cursor_free(tools->sentences);
        text_stemmer_free(tools->stemmer);
        free(tools);
}

static void make_tools_key(void)
{
        tools_key_made = pthread_key_create(&tools_key, tools_free) == 0;
}

struct local_tools *local_tools_get(struct error *err)
{
        struct local_tools *tools;

        pthread_once(&tools_once, make_tools_key);
        tools = tools_key_made ? pthread_getspecific(tools_key) : NULL;
        if (tools)
                return tools;
        tools = tools_key_made ? calloc(1, sizeof *tools) : NULL;
        if (!tools) {
                error_set(err, CODE_INTERNAL, "no memory for the local models");
                return NULL;
        }
        tools->words = text_cursor_new(TEXT_WORDS, err);
        tools->sentences = tools->words ? text_cursor_new(TEXT_SENTENCES, err) : NULL;
        tools->stemmer = tools->sentences ? text_stemmer_new("english", err) : NULL;
        if (!tools->stemmer || pthread_setspecific(tools_key, tools) != 0) {
                if (tools->stemmer)
                        error_set(err, CODE_INTERNAL, "no memory for the local models");
                tools_free(tools);
                return NULL;
        }
        return tools;
}

/* "sqlite's" is a form of "sqlite". */
static struct span without_possessive(struct span folded)
{
        if (folded.len > 2 && memcmp(folded.data + folded.len - 2, "'s", 2) == 0)
                folded.len -= 2;
        return folded;
}

bool local_word_next(struct local_tools *tools, struct span text, struct local_word *ret_word, struct span *ret_folded)
{
        static _Thread_local char folded[TEXT_WORD_BYTES_MAX + 1];
        size_t from, to;

        while (text_cursor_next(tools->words, &from, &to)) {
                size_t len = text_fold((struct span){text.data + from, to - from}, folded);

                if (!len)
                        continue;
                *ret_folded = without_possessive((struct span){folded, len});
                ret_word->stop = text_is_stop_word("english", (struct span){folded, len}) || text_is_stop_word("english", *ret_folded);
                ret_word->stem = digest_fnv1a(text_stem(tools->stemmer, *ret_folded));
                ret_word->stem += !ret_word->stem;
                return true;
        }
        return false;
}

int local_words_of(struct local_tools *tools, struct span text, struct arena *arena, struct local_words *ret, struct error *err)
{
        size_t count = 0, i = 0, from, to;
        struct local_word word;
        struct span folded;

        text_cursor_set(tools->words, text);
        while (count < LOCAL_WORDS_MAX && text_cursor_next(tools->words, &from, &to))
                count++;
        ret->count = 0;
        ret->list = arena_alloc_raw(arena, (count + 1) * sizeof *ret->list);
        if (!ret->list)
                return error_set(err, CODE_INTERNAL, "no room for the words of a text");
        text_cursor_set(tools->words, text);
        while (i < count && local_word_next(tools, text, &word, &folded))
                ret->list[i++] = word;
        ret->count = i;
        return 0;
}
