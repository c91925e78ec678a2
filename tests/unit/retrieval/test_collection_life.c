#include "tests/unit/retrieval/test_collection_rig.h"

static struct rig rig;

static void setup(void)
{
        rig_init(&rig, NULL, NULL);
}

static void teardown(void)
{
        rig_fini(&rig);
}

TestSuite(collection_life, .init = setup, .fini = teardown);

static struct collection_stats stats(void)
{
        struct collection_stats result;

        collection_stats(rig.collection, &result);
        return result;
}

Test(collection_life, chunks_show_once_their_document_record_is_there)
{
        rig_chunk(&rig, "t", "d", 0, 1, "fox one", NULL, NULL);
        rig_chunk(&rig, "t", "d", 1, 1, "fox two two", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "fox"), "", "orphans are invisible");
        cr_assert_eq(stats().staged, 2);
        rig_document(&rig, "t", "d", 1, 2);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0 d#1");
        cr_assert_eq(stats().staged, 0);
        cr_assert_eq(stats().documents, 1);
        cr_assert_eq(stats().chunks, 2);
}

Test(collection_life, a_document_record_waits_for_its_chunks)
{
        rig_document(&rig, "t", "d", 1, 2);
        rig_chunk(&rig, "t", "d", 1, 1, "fox two two", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "fox"), "");
        rig_chunk(&rig, "t", "d", 0, 1, "fox one", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0 d#1");
}

Test(collection_life, a_new_version_replaces_the_old_at_once)
{
        rig_put(&rig, "t", "d", 1, "old fox", NULL);
        rig_chunk(&rig, "t", "d", 0, 2, "new fox", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "old"), "d#0", "until its record comes");
        cr_assert_str_eq(rig_find(&rig, "new"), "");
        rig_document(&rig, "t", "d", 2, 1);
        cr_assert_str_eq(rig_find(&rig, "old"), "");
        cr_assert_str_eq(rig_find(&rig, "new"), "d#0");
        cr_assert_eq(stats().chunks, 1);
}

Test(collection_life, a_document_can_shrink_and_be_empty)
{
        for (int n = 0; n < 3; n++)
                rig_chunk(&rig, "t", "d", n, 1, "fox", NULL, NULL);
        rig_document(&rig, "t", "d", 1, 3);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0 d#1 d#2");
        rig_chunk(&rig, "t", "d", 0, 2, "fox", NULL, NULL);
        rig_document(&rig, "t", "d", 2, 1);
        rig_record(&rig, "t", "d", "t/d#1", NULL);
        rig_record(&rig, "t", "d", "t/d#2", NULL);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0");
        rig_document(&rig, "t", "d", 3, 0);
        cr_assert_str_eq(rig_find(&rig, "fox"), "");
        cr_assert_eq(stats().documents, 1);
}

Test(collection_life, null_deletes)
{
        rig_put(&rig, "t", "d", 5, "fox", NULL);
        rig_chunk(&rig, "t", "d", 0, 6, "fox", NULL, NULL);
        rig_delete(&rig, "t", "d");
        cr_assert_str_eq(rig_find(&rig, "fox"), "");
        cr_assert_eq(stats().documents, 0);
        cr_assert_eq(stats().staged, 0);
        rig_delete(&rig, "t", "d");
        rig_delete(&rig, "t", "never-there");
        rig_put(&rig, "t", "d", 1, "fox again", NULL);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0", "after a deletion every version is welcome");
}

Test(collection_life, late_older_versions_are_ignored)
{
        rig_put(&rig, "t", "d", 5, "new fox", NULL);
        rig_chunk(&rig, "t", "d", 0, 4, "old fox", NULL, NULL);
        rig_document(&rig, "t", "d", 4, 1);
        cr_assert_str_eq(rig_find(&rig, "old"), "");
        cr_assert_str_eq(rig_find(&rig, "new"), "d#0");
        cr_assert_eq(stats().staged, 0);
        cr_assert_eq(stats().skipped, 0);
}

Test(collection_life, interleaved_versions_do_not_mix)
{
        rig_chunk(&rig, "t", "d", 0, 2, "two a", NULL, NULL);
        rig_chunk(&rig, "t", "d", 0, 3, "three a", NULL, NULL);
        rig_chunk(&rig, "t", "d", 1, 2, "two b", NULL, NULL);
        rig_document(&rig, "t", "d", 2, 2);
        cr_assert_str_eq(rig_find(&rig, "two"), "d#0 d#1");
        rig_chunk(&rig, "t", "d", 1, 3, "three b", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "three"), "");
        rig_document(&rig, "t", "d", 3, 2);
        cr_assert_str_eq(rig_find(&rig, "three"), "d#0 d#1");
        cr_assert_str_eq(rig_find(&rig, "two"), "");
}

Test(collection_life, of_the_same_version_the_later_offset_holds)
{
        rig_put(&rig, "t", "d", 1, "first", NULL);
        rig_put(&rig, "t", "d", 1, "second", NULL);
        cr_assert_str_eq(rig_find(&rig, "second"), "d#0");
        cr_assert_str_eq(rig_find(&rig, "first"), "");
        rig_chunk(&rig, "t", "d", 0, 1, "third", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "second"), "d#0", "not without its record");
        rig_document(&rig, "t", "d", 1, 1);
        cr_assert_str_eq(rig_find(&rig, "third"), "d#0");
        rig_document(&rig, "t", "d", 1, 1);
        cr_assert_str_eq(rig_find(&rig, "third"), "d#0", "the record alone again changes nothing");
}

Test(collection_life, a_chunk_tombstone_takes_back_a_staged_chunk)
{
        rig_chunk(&rig, "t", "d", 0, 1, "fox", NULL, NULL);
        rig_record(&rig, "t", "d", "t/d#0", NULL);
        rig_document(&rig, "t", "d", 1, 1);
        cr_assert_str_eq(rig_find(&rig, "fox"), "");
        rig_chunk(&rig, "t", "d", 0, 1, "fox", NULL, NULL);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0");
}

Test(collection_life, staged_versions_are_bounded)
{
        for (int version = 1; version <= 100; version++)
                rig_chunk(&rig, "t", "d", 0, version, "fox", NULL, NULL);
        cr_assert_eq(stats().staged, 8);
        rig_document(&rig, "t", "d", 100, 1);
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0");
        cr_assert_eq(stats().staged, 0);
}

Test(collection_life, hostile_records_are_skipped_and_counted)
{
        static const char *const records[][2] = {
                {"", "{}"},
                {"nokey", "{}"},
                {"t/", "{}"},
                {"T/d", "{}"},
                {"t/d d", "{}"},
                {"t/d#", "{}"},
                {"t/d#01", "{}"},
                {"t/d#-1", "{}"},
                {"t/d#99999999", "{}"},
                {"t/d#1#2", "{}"},
                {"t/d", "no json"},
                {"t/d", "[]"},
                {"t/d", "{\"v\":1,\"tenant\":\"t\",\"document\":\"e\",\"version\":1,\"chunks\":0}"},
                {"t/d", "{\"v\":2,\"tenant\":\"t\",\"document\":\"d\",\"version\":1,\"chunks\":0}"},
                {"t/d", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"version\":1.5,\"chunks\":0}"},
                {"t/d", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"version\":1,\"chunks\":-1}"},
                {"t/d", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"version\":1,\"chunks\":99999999}"},
                {"t/d#0", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":1,\"version\":1,\"text\":\"x\"}"},
                {"t/d#0", "{\"v\":1,\"tenant\":\"u\",\"document\":\"d\",\"n\":0,\"version\":1,\"text\":\"x\"}"},
                {"t/d#0", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":0,\"version\":1,\"text\":7}"},
                {"t/d#0", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":0,\"version\":1}"},
                {"t/d#0", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":0,\"version\":1,\"text\":\"x\",\"metadata\":[]}"},
                {"t/d#0", "{\"v\":1,\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":0,\"version\":1,\"text\":\"x\"}"},
        };

        for (size_t i = 0; i < COUNT_OF(records); i++) {
                rig_record(&rig, "t", "d", records[i][0], records[i][1]);
                cr_assert_eq(stats().skipped, i + 1, "record %zu", i);
        }
        cr_assert_eq(stats().documents, 0);
        cr_assert_eq(stats().staged, 0);
        rig_put(&rig, "t", "d", 1, "good neighbour", NULL);
        cr_assert_str_eq(rig_find(&rig, "neighbour"), "d#0");
}

Test(collection_life, unknown_members_are_let_pass)
{
        rig_record(&rig, "t", "d", "t/d#0",
                   "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":0,\"version\":1,\"text\":\"fox\",\"new\":{},\"metadata\":"
                   "null}");
        rig_record(&rig, "t", "d", "t/d", "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"version\":1,\"chunks\":1,\"new\":1}");
        cr_assert_str_eq(rig_find(&rig, "fox"), "d#0");
        cr_assert(span_is(rig.result.hits[0].metadata, "{}"));
}

Test(collection_life, vectors_that_do_not_belong_leave_the_words)
{
        static const char *const members[] = {
                "\"vector\":\"AACAPwAAAAAAAAAAAAAAAA==\",\"embedder\":\"other/model\"",   /* 1 0 0 0 */
                "\"vector\":\"AACAPwAAAAA=\",\"embedder\":\"test/four\"",                 /* too short */
                "\"vector\":\"AACAPwAAAAAAAAAAAAAAAAAAgD8=\",\"embedder\":\"test/four\"", /* too long */
                "\"vector\":\"AADAfwAAAAAAAAAAAAAAAA==\",\"embedder\":\"test/four\"",     /* NaN */
                "\"vector\":\"AAAAAAAAAAAAAAAAAAAAAA==\",\"embedder\":\"test/four\"",     /* zeros */
                "\"vector\":\"not base64!\",\"embedder\":\"test/four\"",
                "\"vector\":[1,0,0,0],\"embedder\":\"test/four\"",
        };
        char value[512];

        for (size_t i = 0; i < COUNT_OF(members); i++) {
                snprintf(value, sizeof value,
                         "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":0,\"version\":%zu,\"text\":\"fox\",%s}", i + 1,
                         members[i]);
                rig_record(&rig, "t", "d", "t/d#0", value);
                rig_document(&rig, "t", "d", (int)i + 1, 1);
                cr_assert_str_eq(rig_find(&rig, "fox"), "d#0");
                cr_assert_eq(stats().foreign_vectors, i + 1);
                cr_assert_eq(stats().vectors, 0);
        }
        rig_put(&rig, "t", "d", 100, "fox", (const float[]){1, 0, 0, 0});
        cr_assert_eq(stats().vectors, 1);
}

Test(collection_life, positions_advance_and_repeats_are_ignored)
{
        struct collection_position positions[4];
        const char *value = "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"version\":1,\"chunks\":0}";

        cr_assert_eq(collection_positions(rig.collection, positions, 4), 0);
        cr_assert_eq(collection_apply(rig.collection, 2, 10, 77, SPAN("t/d"), span_of(value), &rig.err), 0);
        cr_assert_eq(collection_apply(rig.collection, 1, 0, 55, SPAN("junk"), SPAN("junk"), &rig.err), 0);
        cr_assert_eq(collection_positions(rig.collection, positions, 4), 2);
        cr_assert_eq(positions[0].partition, 1);
        cr_assert_eq(positions[0].offset, 1);
        cr_assert_eq(positions[1].partition, 2);
        cr_assert_eq(positions[1].offset, 11);
        cr_assert_eq(stats().indexed_at_ms, 77);
        cr_assert_eq(collection_apply(rig.collection, 2, 10, 99, SPAN("t/d"), (struct span){NULL, 0}, &rig.err), 0);
        cr_assert_eq(stats().documents, 1, "a repeated offset changes nothing");
        cr_assert_eq(collection_advance(rig.collection, 2, 15, &rig.err), 0);
        cr_assert_eq(collection_advance(rig.collection, 2, 3, &rig.err), 0);
        cr_assert(collection_covers(rig.collection, (const struct collection_position[]){{1, 1}, {2, 15}}, 2));
        cr_assert_not(collection_covers(rig.collection, (const struct collection_position[]){{1, 1}, {2, 16}}, 2));
        cr_assert_not(collection_covers(rig.collection, (const struct collection_position[]){{3, 1}}, 1));
        cr_assert(collection_covers(rig.collection, NULL, 0));
        cr_assert_eq(collection_apply(rig.collection, -1, 0, 0, SPAN("t/d"), SPAN("x"), &rig.err), -1);
        cr_assert_eq(collection_apply(rig.collection, COLLECTION_PARTITIONS_MAX, 0, 0, SPAN("t/d"), SPAN("x"), &rig.err), -1);
}

Test(collection_life, many_updates_are_compacted_away)
{
        const float vector[] = {1, 2, 3, 4};

        for (int version = 1; version <= 1500; version++)
                rig_put(&rig, "t", "busy", version, version % 2 ? "odd fox" : "even fox", vector);
        rig_put(&rig, "t", "calm", 1, "calm fox", vector);
        cr_assert_str_eq(rig_find(&rig, "odd"), "");
        cr_assert_str_eq(rig_find(&rig, "even"), "busy#0");
        cr_assert_str_eq(rig_find(&rig, "fox"), "busy#0 calm#0");
        cr_assert_lt(stats().bytes_vectors, 1100 * sizeof vector, "dead rows went");
        cr_assert_eq(stats().chunks, 2);
}

Test(collection_life, keys_and_partitions_are_the_contracts)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, 100);
        collection_chunk_key(&out, SPAN("t"), SPAN("a:b"), 12);
        cr_assert_str_eq(out.data, "t/a:b#12");
        cr_assert_eq(collection_partition(SPAN("t"), SPAN("d"), 1), 0);
        for (int i = 0; i < 50; i++)
                cr_assert_lt(collection_partition(SPAN("t"), (struct span){"abcdefgh", (size_t)i % 8 + 1}, 7), 7);
        buffer_reset(&out);
        collection_indexed_text(&out, SPAN("Title"), SPAN("text"));
        buffer_char(&out, '|');
        collection_indexed_text(&out, SPAN(""), SPAN("text"));
        cr_assert_str_eq(out.data, "Title text|text");
}

Test(collection_life, chunk_records_carry_section_and_page)
{
        AUTO(json_decrefp) json_t *metadata = json_pack("{s:s,s:i}", "source_document", "a.pdf", "page_number", 1);
        const struct chunk_record record = {.tenant = SPAN("t"),
                                            .document = SPAN("d"),
                                            .n = 2,
                                            .version = 9,
                                            .title = SPAN("T \"q\""),
                                            .text = SPAN("x"),
                                            .span_from = 5,
                                            .span_to = 6,
                                            .metadata = metadata,
                                            .section_heading = SPAN("S"),
                                            .page_number = 4};
        AUTO_BUFFER out, small;

        buffer_init(&out, 4096);
        cr_assert_eq(collection_encode_chunk(&out, &record, &rig.err), 0);
        cr_assert_str_eq(
                out.data,
                "{\"v\":1,\"tenant\":\"t\",\"document\":\"d\",\"n\":2,\"version\":9,\"title\":\"T \\\"q\\\"\",\"text\":\"x\","
                "\"span\":[5,6],\"metadata\":{\"source_document\":\"a.pdf\",\"page_number\":4,\"section_heading\":\"S\"}}");
        cr_assert_eq(json_integer_value(json_object_get(metadata, "page_number")), 1, "the caller's is left alone");
        buffer_init(&small, 64);
        cr_assert_eq(collection_encode_chunk(&small, &record, &rig.err), -1);
        cr_assert_eq(rig.err.code, CODE_TOO_LARGE);
}

Test(collection_life, vectors_that_are_not_finite_are_not_written)
{
        const float vector[] = {1, __builtin_nanf(""), 0, 0};
        const struct chunk_record record = {.tenant = SPAN("t"),
                                            .document = SPAN("d"),
                                            .text = SPAN("x"),
                                            .vector = vector,
                                            .dimensions = 4,
                                            .embedder = SPAN("e")};
        AUTO_BUFFER out = {0};

        buffer_init(&out, 4096);
        cr_assert_eq(collection_encode_chunk(&out, &record, &rig.err), -1);
        cr_assert_eq(rig.err.code, CODE_NOT_FINITE);
}
