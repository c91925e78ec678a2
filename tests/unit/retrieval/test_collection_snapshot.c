#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/retrieval/test_collection_rig.h"

static char dir[64], nested[128];
static struct rig rig;

static void setup(void)
{
        snprintf(dir, sizeof dir, "/tmp/millrace-test-XXXXXX");
        cr_assert(mkdtemp(dir));
        snprintf(nested, sizeof nested, "%s/index/docs.v3", dir);
        rig_init(&rig, nested, NULL);
}

static void remove_file(const char *format)
{
        char path[256];

        snprintf(path, sizeof path, "%s%s", dir, format);
        remove(path);
}

static void teardown(void)
{
        rig_fini(&rig);
        remove_file("/index/docs.v3/snapshot");
        remove_file("/index/docs.v3/snapshot.part");
        remove_file("/index/docs.v3");
        remove_file("/index");
        remove_file("");
}

TestSuite(collection_snapshot, .init = setup, .fini = teardown);

static const float north[] = {1, 0, 0, 0}, skew[] = {1, 2, 3, 4};

static void fill(struct rig *into)
{
        rig_chunk(into, "t", "a", 0, 1, "fox one", north, "{\"page_number\":4,\"deep\":{\"x\":[1,2]}}");
        rig_chunk(into, "t", "a", 1, 1, "fox two two", skew, NULL);
        rig_document(into, "t", "a", 1, 2);
        rig_put(into, "u", "b", 7, "other fox", NULL);
        rig_put(into, "t", "gone", 1, "fox", north);
        rig_delete(into, "t", "gone");
        rig_chunk(into, "t", "staged", 0, 1, "waiting fox", skew, NULL); /* its document record comes later */
        rig_document(into, "t", "wanted", 1, 1);                         /* its chunk comes later */
        rig_chunk(into, "t", "a", 0, 2, "fox of the next version", north, NULL);
}

static bool load(struct rig *into, const char *identity)
{
        bool loaded;

        cr_assert_eq(collection_open_snapshot(into->collection, identity, &loaded, &into->err), 0, "%s", into->err.message);
        return loaded;
}

static void check_refused(const char *identity)
{
        struct rig other;
        bool loaded;
        struct collection_position position;

        rig_init(&other, nested, NULL);
        cr_assert_eq(collection_open_snapshot(other.collection, identity, &loaded, &other.err), -1);
        cr_assert_eq(other.err.code, CODE_INDEX_NOT_READY);
        cr_assert_eq(collection_positions(other.collection, &position, 1), 0, "its positions are not trusted");
        cr_assert_str_eq(rig_find(&other, "fox"), "", "and nothing of it is kept");
        rig_put(&other, "t", "fresh", 1, "fox", north);
        cr_assert_str_eq(rig_find(&other, "fox"), "fresh#0", "the collection can be rebuilt");
        rig_fini(&other);
}

Test(collection_snapshot, there_is_none_at_first)
{
        cr_assert_not(load(&rig, "cluster/topic"));
}

Test(collection_snapshot, everything_comes_back)
{
        struct rig other;
        struct collection_position before[8], after[8];
        struct collection_stats stats;
        const struct search_request asked = {.tenant = SPAN("t"),
                                             .mode = SEARCH_DENSE,
                                             .query_vector = skew,
                                             .dimensions = 4,
                                             .fusion = {FUSION_CROSS, 0.5, 50},
                                             .top_k = 10};

        fill(&rig);
        cr_assert_eq(collection_snapshot(rig.collection, "cluster/topic", &rig.err), 0, "%s", rig.err.message);
        rig_init(&other, nested, NULL);
        cr_assert(load(&other, "cluster/topic"));
        cr_assert_str_eq(rig_find(&other, "fox"), rig_find(&rig, "fox"));
        cr_assert_str_eq(rig_find(&other, "one"), "a#0");
        cr_assert(span_is(other.result.hits[0].metadata, "{\"page_number\":4,\"deep\":{\"x\":[1,2]}}"));
        cr_assert_str_eq(rig_search(&other, &asked), "a#1 a#0");
        cr_assert_gt(other.result.hits[0].score, 0.999999);
        cr_assert_eq(collection_positions(other.collection, after, 8), collection_positions(rig.collection, before, 8));
        cr_assert_eq(before[0].partition, after[0].partition);
        cr_assert_eq(before[0].offset, after[0].offset);
        collection_stats(other.collection, &stats);
        cr_assert_eq(stats.documents, 2);
        cr_assert_eq(stats.chunks, 3);
        cr_assert_eq(stats.staged, 2);
        cr_assert_eq(stats.indexed_at_ms, 1000);
        memcpy(other.offsets, rig.offsets, sizeof rig.offsets);
        rig_document(&other, "t", "staged", 1, 1);
        cr_assert_str_eq(rig_find(&other, "waiting"), "staged#0", "what was staged goes on");
        rig_chunk(&other, "t", "wanted", 0, 1, "late fox", NULL, NULL);
        cr_assert_str_eq(rig_find(&other, "late"), "wanted#0", "what was wanted is remembered");
        rig_document(&other, "t", "a", 2, 1);
        cr_assert_str_eq(rig_find(&other, "next"), "a#0");
        rig_fini(&other);
}

Test(collection_snapshot, a_second_one_replaces_the_first)
{
        struct rig other;

        rig_put(&rig, "t", "a", 1, "fox", north);
        cr_assert_eq(collection_snapshot(rig.collection, "c", &rig.err), 0);
        rig_put(&rig, "t", "b", 1, "fox", north);
        cr_assert_eq(collection_snapshot(rig.collection, "c", &rig.err), 0);
        rig_init(&other, nested, NULL);
        cr_assert(load(&other, "c"));
        cr_assert_str_eq(rig_find(&other, "fox"), "a#0 b#0");
        rig_fini(&other);
}

Test(collection_snapshot, an_empty_collection_has_one_too)
{
        struct rig other;

        cr_assert_eq(collection_snapshot(rig.collection, "", &rig.err), 0);
        rig_init(&other, nested, NULL);
        cr_assert(load(&other, ""));
        rig_fini(&other);
}

Test(collection_snapshot, another_clusters_is_refused_but_for_reading)
{
        struct rig other;

        fill(&rig);
        cr_assert_eq(collection_snapshot(rig.collection, "cluster-1/topic", &rig.err), 0);
        check_refused("cluster-2/topic");
        rig_init(&other, nested, NULL);
        cr_assert(load(&other, NULL));
        cr_assert_str_eq(rig_find(&other, "one"), "a#0");
        rig_fini(&other);
}

/* The file with one byte changed, or cut to `len`. */
static void spoil(const char *bytes, size_t len, size_t at, int change)
{
        char path[192];
        FILE *file;

        snprintf(path, sizeof path, "%s/snapshot", nested);
        file = fopen(path, "wb");
        for (size_t i = 0; i < len; i++)
                fputc(i == at ? bytes[i] ^ change : bytes[i], file);
        fclose(file);
}

Test(collection_snapshot, a_file_that_is_spoilt_anywhere_is_refused)
{
        char path[192];
        AUTO_FREE char *bytes = NULL;
        struct stat status;
        FILE *file;
        size_t len;

        fill(&rig);
        cr_assert_eq(collection_snapshot(rig.collection, "c", &rig.err), 0);
        snprintf(path, sizeof path, "%s/snapshot", nested);
        cr_assert_eq(stat(path, &status), 0);
        len = (size_t)status.st_size;
        bytes = malloc(len + 1);
        file = fopen(path, "rb");
        cr_assert_eq(fread(bytes, 1, len, file), len);
        fclose(file);
        bytes[len] = 'x';
        for (size_t at = 0; at < len; at += 3) { /* a flipped bit */
                spoil(bytes, len, at, 1 << (at % 8));
                check_refused("c");
        }
        for (size_t cut = 0; cut < len; cut += 7) {
                spoil(bytes, cut, len, 0);
                check_refused("c");
        }
        spoil(bytes, len + 1, len + 1, 0);
        check_refused("c");
        spoil(bytes, len, len, 0);
        rig_fini(&rig);
        rig_init(&rig, nested, NULL);
        cr_assert(load(&rig, "c"), "unspoilt it is fine");
}

Test(collection_snapshot, where_it_cannot_be_written_the_reason_is_told)
{
        struct rig other;

        rig_init(&other, "/proc/no/such", NULL);
        cr_assert_eq(collection_snapshot(other.collection, "c", &other.err), -1);
        cr_assert_eq(other.err.code, CODE_INTERNAL);
        rig_fini(&other);
        rig_init(&other, NULL, NULL);
        cr_assert_eq(collection_snapshot(other.collection, "c", &other.err), -1);
        rig_fini(&other);
}
