/* Markdown, line by line. A line either begins a block of its own (ATX heading, list item, table, code fence) or goes on with
 * the paragraph before it; a setext underline turns that paragraph into a heading. Block quotes and HTML within are left as they
 * are. */
#include "retrieval/chunking/blocks.h"

struct scan {
        struct span text;
        struct block_list *list;
        size_t from;      /* of the open block */
        bool open, lines; /* a block is open; it is one of lines */
        char fence;       /* '`' or '~' inside a code fence, else 0 */
        size_t fence_len;
};

static void close_block(struct scan *scan, size_t to)
{
        struct block *block = scan->open ? block_list_add(scan->list, scan->text, scan->from, to) : NULL;

        if (block)
                block->lines = scan->lines;
        scan->open = false;
        scan->lines = false;
}

static void open_block(struct scan *scan, size_t from, bool lines)
{
        close_block(scan, from);
        scan->from = from;
        scan->open = true;
        scan->lines = lines;
}

static size_t run_of(struct span line, size_t at, char c)
{
        size_t end = at;

        while (end < line.len && line.data[end] == c)
                end++;
        return end - at;
}

static bool only_spaces(struct span line, size_t at)
{
        while (at < line.len && block_is_space(line.data[at]))
                at++;
        return at == line.len;
}

/* "## Title ##" */
static bool atx_heading(struct scan *scan, struct span line, size_t begin, size_t indent)
{
        size_t level = run_of(line, indent, '#'), from = indent + level, to = line.len, end;
        struct block *block;

        if (level < 1 || level > 6 || (from < line.len && !block_is_space(line.data[from])))
                return false;
        block_trim(line, &from, &to);
        for (end = to; end > from && line.data[end - 1] == '#';)
                end--;
        if (end == from || block_is_space(line.data[end - 1]))
                to = end;
        block_trim(line, &from, &to);
        close_block(scan, begin);
        block = block_list_add(scan->list, scan->text, begin, begin + line.len);
        if (block && from < to) {
                block->heading = true;
                block->title_from = begin + from;
                block->title_to = begin + to;
        }
        return true;
}

/* A paragraph's line of === or --- under it */
static bool setext_heading(struct scan *scan, struct span line, size_t begin, size_t indent)
{
        char c = indent < line.len ? line.data[indent] : 0;
        struct block *block;
        size_t from = scan->from, to = begin;

        if ((c != '=' && c != '-') || !scan->open || scan->lines || !only_spaces(line, indent + run_of(line, indent, c)))
                return false;
        block_trim(scan->text, &from, &to);
        block = block_list_add(scan->list, scan->text, scan->from, begin + line.len);
        if (block) {
                block->heading = true;
                block->title_from = from;
                block->title_to = to;
        }
        scan->open = false;
        return true;
}

/* Opens or closes a code fence; inside one every line belongs to it. */
static bool code_fence(struct scan *scan, struct span line, size_t begin, size_t indent)
{
        char c = indent < line.len ? line.data[indent] : 0;
        size_t len = c == '`' || c == '~' ? run_of(line, indent, c) : 0;

        if (scan->fence) {
                if (c == scan->fence && len >= scan->fence_len && only_spaces(line, indent + len)) {
                        scan->fence = 0;
                        close_block(scan, begin + line.len);
                }
                return true;
        }
        if (len < 3 || (c == '`' && memchr(line.data + indent + len, '`', line.len - indent - len)))
                return false;
        open_block(scan, begin, true);
        scan->fence = c;
        scan->fence_len = len;
        return true;
}

/* "- item" "* item" "+ item" "12. item" "12) item" */
static bool list_item(struct span line)
{
        size_t at = 0, digits = 0;

        while (at < line.len && (line.data[at] == ' ' || line.data[at] == '\t'))
                at++;
        while (at + digits < line.len && line.data[at + digits] >= '0' && line.data[at + digits] <= '9')
                digits++;
        if (digits > 0 && digits <= 9)
                at += digits;
        else if (at == line.len || !strchr("-*+", line.data[at]) || line.data[at] == '\0')
                return false;
        if (digits > 0 && (at == line.len || !strchr(".)", line.data[at]) || line.data[at] == '\0'))
                return false;
        return at + 1 < line.len && (line.data[at + 1] == ' ' || line.data[at + 1] == '\t');
}

static void scan_line(struct scan *scan, struct span line, size_t begin)
{
        size_t indent = run_of(line, 0, ' ');

        if (indent > 3 && scan->fence == 0)
                indent = line.len; /* indented code, or a nested item's text: no mark counts */
        if (code_fence(scan, line, begin, indent))
                return;
        if (only_spaces(line, 0)) {
                close_block(scan, begin);
                return;
        }
        if (atx_heading(scan, line, begin, indent) || setext_heading(scan, line, begin, indent))
                return;
        if (list_item(line))
                open_block(scan, begin, false);
        else if (indent < line.len && line.data[indent] == '|') {
                if (!scan->open || !scan->lines)
                        open_block(scan, begin, true);
        } else if (!scan->open || scan->lines)
                open_block(scan, begin, false);
}

void blocks_of_markdown(struct span text, struct block_list *list)
{
        struct scan scan = {.text = text, .list = list};
        size_t begin = 0;

        while (begin < text.len) {
                const char *end = memchr(text.data + begin, '\n', text.len - begin);
                size_t len = end ? (size_t)(end - text.data) - begin : text.len - begin;

                scan_line(&scan, (struct span){text.data + begin, len}, begin);
                begin += len + 1;
        }
        close_block(&scan, text.len);
}
