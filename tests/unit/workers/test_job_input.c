#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "workers/jobs/job_input.h"

static char folder[64];

static void up(void)
{
        snprintf(folder, sizeof folder, "/tmp/millrace-job-XXXXXX");
        cr_assert(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void down(void)
{
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(job_input, .init = up, .fini = down);

/* A path below the folder, static. */
static const char *below(const char *name)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/%s", folder, name);
        return path;
}

static void put(const char *name, const char *text)
{
        FILE *file = fopen(below(name), "w");

        cr_assert(file && fputs(text, file) >= 0);
        fclose(file);
}

static void make(const char *name)
{
        cr_assert_eq(mkdir(below(name), 0755), 0);
}

static struct job_input *open_input(const char *path, bool is_folder, size_t bytes_max)
{
        struct error err;
        struct job_input *input = job_input_open(path, is_folder, bytes_max, &err);

        cr_assert(input, "%s", err.message);
        return input;
}

static bool next_is(struct job_input *input, int64_t number, const char *name, const char *content)
{
        struct job_item item;
        struct error err;

        cr_assert_eq(job_input_next(input, &item, &err), 1, "no item");
        cr_expect_eq(item.number, number);
        cr_expect(span_is(item.content, content), "%.*s", (int)item.content.len, item.content.data);
        return name ? item.name && strcmp(item.name, name) == 0 : !item.name;
}

static bool at_end(struct job_input *input)
{
        struct job_item item;
        struct error err;

        return job_input_next(input, &item, &err) == 0;
}

Test(job_input, gives_lines_with_their_numbers_and_passes_over_blank_ones)
{
        struct job_input *input;
        struct error err;
        int64_t count;

        put("f", "one\n\n  \t\r\nfour\r\nfive");
        input = open_input(below("f"), false, 100);
        cr_assert_eq(job_input_count(input, &count, &err), 0);
        cr_assert_eq(count, 3);
        cr_assert(next_is(input, 1, NULL, "one"));
        cr_assert(next_is(input, 4, NULL, "four\r"));
        cr_assert(next_is(input, 5, NULL, "five"));
        cr_assert(at_end(input) && at_end(input));
        cr_assert_eq(job_input_bytes(input), 20);
        job_input_close(input);
}

Test(job_input, the_digest_tells_texts_apart_and_the_same_ones_not)
{
        struct job_input *input;
        char first[SHA256_HEX_BYTES], second[SHA256_HEX_BYTES];

        put("f", "one\ntwo\n");
        input = open_input(below("f"), false, 100);
        cr_assert(next_is(input, 1, NULL, "one"));
        memcpy(first, job_input_digest(input), sizeof first);
        cr_assert(next_is(input, 2, NULL, "two"));
        memcpy(second, job_input_digest(input), sizeof second);
        cr_assert_str_neq(first, second);
        cr_assert(at_end(input));
        cr_assert_str_eq(second, job_input_digest(input), "the end is no item");
        job_input_close(input);
        put("f", "one\nTwo\n");
        input = open_input(below("f"), false, 100);
        cr_assert(next_is(input, 1, NULL, "one"));
        cr_assert_str_eq(first, job_input_digest(input));
        cr_assert(next_is(input, 2, NULL, "Two"));
        cr_assert_str_neq(second, job_input_digest(input));
        job_input_close(input);
}

Test(job_input, a_line_too_large_is_cut_and_the_next_one_whole)
{
        struct job_input *input;
        struct job_item item;
        struct error err;

        put("f", "0123456789\nab\n");
        input = open_input(below("f"), false, 4);
        cr_assert_eq(job_input_next(input, &item, &err), 1);
        cr_assert(item.too_large && span_is(item.content, "0123"));
        cr_assert_eq(job_input_next(input, &item, &err), 1);
        cr_assert(!item.too_large && span_is(item.content, "ab"));
        job_input_close(input);
}

Test(job_input, walks_a_folder_by_name_and_passes_over_what_is_hidden_or_a_link)
{
        struct job_input *input;
        struct job_item item;
        struct error err;
        int64_t count;

        make("b");
        make("b/inner");
        make(".git");
        make("empty");
        put("c.txt", "C");
        put("a.md", "A");
        put("b/inner/x.html", "X");
        put("b/9", "nine");
        put(".hidden", "no");
        put(".git/config", "no");
        put("z", "too large");
        cr_assert_eq(symlink("a.md", below("link.md")), 0);
        input = open_input(below(""), true, 5);
        cr_assert_eq(job_input_count(input, &count, &err), 0);
        cr_assert_eq(count, 5);
        cr_assert(next_is(input, 1, "a.md", "A"));
        cr_assert(next_is(input, 2, "b/9", "nine"));
        cr_assert(next_is(input, 3, "b/inner/x.html", "X"));
        cr_assert(next_is(input, 4, "c.txt", "C"));
        cr_assert_eq(job_input_next(input, &item, &err), 1);
        cr_assert(item.too_large && item.content.len == 5);
        cr_assert(at_end(input));
        job_input_close(input);
}

Test(job_input, refuses_what_can_not_be_read_again)
{
        struct error err;

        cr_assert_null(job_input_open(below("none"), false, 100, &err));
        cr_assert_null(job_input_open(below("none"), true, 100, &err));
        cr_assert_null(job_input_open(folder, false, 100, &err));
        cr_assert_null(job_input_open("/dev/null", false, 100, &err));
}

Test(job_input, document_ids_are_of_the_alphabet_and_no_two_paths_share_one)
{
        char id[JOB_DOCUMENT_ID_BYTES], other[JOB_DOCUMENT_ID_BYTES], path[600];

        job_document_id("guide/intro_1.md", id);
        cr_assert_str_eq(id, "guide:intro_1.md");
        job_document_id("guide:intro_1.md", other);
        cr_assert_str_neq(id, other);
        job_document_id("a b", id);
        job_document_id("a_b", other);
        cr_assert_str_neq(id, other);
        memset(path, 'x', sizeof path);
        path[599] = '\0';
        job_document_id(path, id);
        cr_assert_eq(strlen(id), JOB_DOCUMENT_ID_BYTES - 1);
        path[500] = 'y';
        job_document_id(path, other);
        cr_assert_str_neq(id, other);
        path[256] = '\0';
        job_document_id(path, id);
        cr_assert_str_eq(id, path, "256 are allowed");
}

Test(job_input, a_file_becomes_a_document)
{
        struct job_item item = {.number = 1, .name = "guide/in\"tro.HTML", .content = SPAN("<p>\"quoted\"</p>")};
        AUTO_BUFFER out = {0};

        buffer_init(&out, 4096);
        job_document(&out, &item);
        cr_assert(strstr(out.data,
                         "\"title\":\"in\\\"tro\",\"format\":\"html\",\"metadata\":{\"source_document\":\"guide/in\\\"tro.HTML\"},"
                         "\"text\":\"<p>\\\"quoted\\\"</p>\"}"),
                  "%s", out.data);
}
