/* Failure modes: an item too large (handed out as such, its tail skipped); a folder too deep or too full, a file that can't be read (a
 * fault: an order with holes would not be the same the next time). */
#include "workers/jobs/job_input.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "config/base/own.h"

enum { PATH_BYTES = 4096, READ_BYTES = 65536, ID_HASH_CHARACTERS = 12 };

/* One folder on the way: what is in it, and how far we are. */
struct level {
        struct dirent **entries;
        int count, at;
        size_t path_len; /* of the folder's own path, without a slash at its end */
};

struct job_input {
        char path[PATH_BYTES]; /* a folder: grows and shrinks with the walk */
        size_t root_len;
        bool folder;
        size_t bytes_max;
        FILE *file;
        int64_t bytes, number;
        struct level levels[JOB_FOLDER_DEPTH_MAX];
        int depth;
        struct buffer content;
        char digest[SHA256_HEX_BYTES];
};

static int io_fault(struct error *err, const char *path)
{
        return error_set(err, CODE_SCHEMA, "%.160s: %s", path, strerror(errno));
}

/* ---- a folder */

static int is_shown(const struct dirent *entry)
{
        return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int enter(struct job_input *input, struct error *err)
{
        struct level *level = &input->levels[input->depth];

        if (input->depth == JOB_FOLDER_DEPTH_MAX)
                return error_set(err, CODE_SCHEMA, "%.160s: folders more than %d deep", input->path, JOB_FOLDER_DEPTH_MAX);
        *level = (struct level){.path_len = strlen(input->path)};
        level->count = scandir(input->path, &level->entries, is_shown, by_name);
        if (level->count < 0)
                return io_fault(err, input->path);
        input->depth++;
        if (level->count > JOB_FOLDER_ENTRIES_MAX)
                return error_set(err, CODE_SCHEMA, "%.160s: more than %d entries in one folder", input->path,
                                 JOB_FOLDER_ENTRIES_MAX);
        return 0;
}

static void leave(struct job_input *input)
{
        struct level *level = &input->levels[--input->depth];

        for (int i = 0; i < level->count; i++)
                free(level->entries[i]);
        free(level->entries);
        level->entries = NULL;
}

/* The next file's path into input->path: 1, 0 at the end, -1. */
static int next_file(struct job_input *input, struct error *err)
{
        struct stat st;

        while (input->depth > 0) {
                struct level *level = &input->levels[input->depth - 1];
                int len;

                input->path[level->path_len] = '\0';
                if (level->at == level->count) {
                        leave(input);
                        continue;
                }
                len = snprintf(input->path + level->path_len, sizeof input->path - level->path_len, "/%s",
                               level->entries[level->at++]->d_name);
                if (len < 0 || (size_t)len >= sizeof input->path - level->path_len)
                        return error_set(err, CODE_SCHEMA, "a path has more than %d bytes", PATH_BYTES - 1);
                if (lstat(input->path, &st) != 0)
                        return io_fault(err, input->path);
                if (S_ISREG(st.st_mode))
                        return 1;
                if (S_ISDIR(st.st_mode) && enter(input, err) < 0)
                        return -1;
        }
        return 0;
}

static int read_file(struct job_input *input, struct job_item *item, struct error *err)
{
        FILE *file = fopen(input->path, "r");
        size_t n = 1, room;
        int fault = 0;

        if (!file)
                return io_fault(err, input->path);
        while (n > 0 && !item->too_large) {
                char *at = buffer_reserve(&input->content, READ_BYTES);

                if (!at) {
                        fault = error_set(err, CODE_INTERNAL, "out of memory");
                        break;
                }
                n = fread(at, 1, READ_BYTES, file);
                room = input->bytes_max - input->content.len;
                item->too_large = n > room;
                buffer_advance(&input->content, n > room ? room : n);
        }
        if (ferror(file))
                fault = io_fault(err, input->path);
        fclose(file);
        return fault;
}

/* ---- a file of lines */

/* 1: a line that is not blank; 0: the end. */
static int next_line(FILE *file, struct buffer *content, size_t bytes_max, int64_t *number, bool *ret_too_large)
{
        int c = 0;

        while (c != EOF) {
                bool blank = true;

                buffer_reset(content);
                *ret_too_large = false;
                ++*number;
                while ((c = getc_unlocked(file)) != EOF && c != '\n') {
                        blank = blank && (c == ' ' || c == '\t' || c == '\r');
                        if (content->len < bytes_max)
                                buffer_char(content, (char)c);
                        else
                                *ret_too_large = true;
                }
                if (!blank)
                        return 1;
        }
        return 0;
}

/* ---- both */

struct job_input *job_input_open(const char *path, bool folder, size_t bytes_max, struct error *err)
{
        struct job_input *input = calloc(1, sizeof *input);
        struct stat st;

        if (!input) {
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        input->folder = folder;
        input->bytes_max = bytes_max;
        buffer_init(&input->content, bytes_max + 2 * READ_BYTES);
        digest_sha256_hex(SPAN(""), input->digest);
        input->root_len = strlen(path);
        while (folder && input->root_len > 1 && path[input->root_len - 1] == '/')
                input->root_len--;
        snprintf(input->path, sizeof input->path, "%.*s", (int)input->root_len, path);
        if (input->root_len >= sizeof input->path)
                error_set(err, CODE_SCHEMA, "the path has more than %d bytes", PATH_BYTES - 1);
        else if (folder && enter(input, err) == 0)
                return input;
        else if (!folder && ((input->file = fopen(path, "r")) == NULL || fstat(fileno(input->file), &st) != 0))
                io_fault(err, path);
        else if (!folder && !S_ISREG(st.st_mode))
                error_set(err, CODE_SCHEMA, "%.160s is not a regular file: a job must be able to read it again", path);
        else if (!folder) {
                input->bytes = st.st_size;
                return input;
        }
        job_input_close(input);
        return NULL;
}

void job_input_close(struct job_input *input)
{
        if (!input)
                return;
        while (input->depth > 0)
                leave(input);
        if (input->file)
                fclose(input->file);
        buffer_fini(&input->content);
        free(input);
}

/* digest ← SHA-256 of the digest before, the name, whether it was cut, and the content's digest. */
static int take_digest(struct job_input *input, const struct job_item *item, struct error *err)
{
        char hex[SHA256_HEX_BYTES];
        AUTO_BUFFER text = {0};

        buffer_init(&text, PATH_BYTES + 4 * SHA256_HEX_BYTES);
        digest_sha256_hex(item->content, hex);
        buffer_string(&text, input->digest);
        buffer_string(&text, hex);
        buffer_char(&text, item->too_large ? '+' : ' ');
        buffer_string(&text, item->name ? item->name : "");
        digest_sha256_hex(buffer_view(&text), input->digest);
        return buffer_ok(&text) ? 0 : error_set(err, CODE_INTERNAL, "out of memory");
}

int job_input_next(struct job_input *input, struct job_item *ret_item, struct error *err)
{
        struct job_item item = {0};
        int found;

        buffer_reset(&input->content);
        if (input->folder) {
                found = next_file(input, err);
                if (found > 0 && read_file(input, &item, err) < 0)
                        found = -1;
                item.name = input->path + input->root_len + 1;
                item.number = ++input->number;
        } else {
                found = next_line(input->file, &input->content, input->bytes_max, &input->number, &item.too_large);
                item.number = input->number;
                if (ferror(input->file))
                        found = io_fault(err, input->path);
        }
        if (found <= 0)
                return found;
        if (!buffer_ok(&input->content))
                return error_set(err, CODE_INTERNAL, "out of memory");
        item.content = buffer_view(&input->content);
        if (take_digest(input, &item, err) < 0)
                return -1;
        *ret_item = item;
        return 1;
}

int job_input_count(const struct job_input *input, int64_t *ret_count, struct error *err)
{
        char path[PATH_BYTES];
        struct job_input *other;
        struct buffer none;
        int64_t count = 0, number = 0;
        bool too_large;
        int found = 1;

        snprintf(path, sizeof path, "%.*s", (int)input->root_len, input->path);
        other = job_input_open(path, input->folder, 0, err);
        if (!other)
                return -1;
        buffer_init(&none, 1);
        while (found > 0) {
                found = input->folder ? next_file(other, err) : next_line(other->file, &none, 0, &number, &too_large);
                count += found > 0;
        }
        if (!input->folder && ferror(other->file))
                found = io_fault(err, path);
        buffer_fini(&none);
        job_input_close(other);
        if (found < 0)
                return -1;
        *ret_count = count;
        return 0;
}

int64_t job_input_bytes(const struct job_input *input)
{
        return input->bytes;
}

const char *job_input_digest(const struct job_input *input)
{
        return input->digest;
}

/* ---- a file as a document */

static const char *format_of(const char *name)
{
        static const struct {
                const char *ending, *format;
        } endings[] = {{".md", "markdown"}, {".markdown", "markdown"}, {".html", "html"}, {".htm", "html"}, {".xhtml", "html"}};
        const char *dot = strrchr(name, '.');

        for (size_t i = 0; dot && i < COUNT_OF(endings); i++)
                if (strcasecmp(dot, endings[i].ending) == 0)
                        return endings[i].format;
        return "text";
}

void job_document_id(const char *path, char ret_id[JOB_DOCUMENT_ID_BYTES])
{
        const size_t len = strlen(path), hash_room = ID_HASH_CHARACTERS + 1;
        bool changed = len >= JOB_DOCUMENT_ID_BYTES;
        size_t n = changed ? JOB_DOCUMENT_ID_BYTES - 1 - hash_room : len;
        char hex[SHA256_HEX_BYTES];

        for (size_t i = 0; i < n; i++) {
                const char c = path[i];
                const bool same = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                                  c == '_' || c == '-';

                ret_id[i] = same ? c : c == '/' ? ':' : '_';
                changed |= !same && c != '/';
        }
        ret_id[n] = '\0';
        if (!changed)
                return;
        if (n > JOB_DOCUMENT_ID_BYTES - 1 - hash_room)
                n = JOB_DOCUMENT_ID_BYTES - 1 - hash_room;
        digest_sha256_hex(span_of(path), hex);
        ret_id[n] = '-';
        memcpy(ret_id + n + 1, hex, ID_HASH_CHARACTERS);
        ret_id[n + hash_room] = '\0';
}

void job_document(struct buffer *out, const struct job_item *item)
{
        const char *slash = strrchr(item->name, '/'), *base = slash ? slash + 1 : item->name, *dot = strrchr(base, '.');
        char id[JOB_DOCUMENT_ID_BYTES];

        job_document_id(item->name, id);
        buffer_string(out, "{\"id\":");
        buffer_json_string(out, span_of(id));
        buffer_string(out, ",\"title\":");
        buffer_json_string(out, (struct span){base, dot && dot > base ? (size_t)(dot - base) : strlen(base)});
        buffer_printf(out, ",\"format\":\"%s\",\"metadata\":{\"source_document\":", format_of(item->name));
        buffer_json_string(out, span_of(item->name));
        buffer_string(out, "},\"text\":");
        buffer_json_string(out, item->content);
        buffer_char(out, '}');
}
