#include "retrieval/chunking/blocks.h"

#include <stdlib.h>

void block_list_fini(struct block_list *list)
{
        free(list->blocks);
        *list = (struct block_list){0};
}

bool block_is_space(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

void block_trim(struct span text, size_t *from, size_t *to)
{
        while (*from < *to && block_is_space(text.data[*from]))
                (*from)++;
        while (*from < *to && block_is_space(text.data[*to - 1]))
                (*to)--;
}

struct block *block_list_add(struct block_list *list, struct span text, size_t from, size_t to)
{
        block_trim(text, &from, &to);
        if (from >= to || list->failed)
                return NULL;
        if (list->count == list->cap) {
                size_t cap = list->cap ? list->cap * 2 : 64;
                struct block *blocks = reallocarray(list->blocks, cap, sizeof *blocks);

                if (!blocks) {
                        list->failed = true;
                        return NULL;
                }
                list->blocks = blocks;
                list->cap = cap;
        }
        list->blocks[list->count] = (struct block){.from = from, .to = to};
        return &list->blocks[list->count++];
}

void blocks_of_text(struct span text, struct block_list *list)
{
        size_t from = 0, line = 0;
        bool blank = true;

        for (size_t i = 0; i < text.len; i++) {
                if (text.data[i] != '\n') {
                        blank &= block_is_space(text.data[i]);
                        continue;
                }
                if (blank) {
                        block_list_add(list, text, from, line);
                        from = i + 1;
                }
                line = i + 1;
                blank = true;
        }
        block_list_add(list, text, from, text.len);
}
