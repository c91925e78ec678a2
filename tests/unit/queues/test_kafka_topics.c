#include "queues/kafka/topics.h"

#include "tests/unit/queues/test_kafka_rig.h"

Test(topics, names_are_those_of_the_contract)
{
        char name[TOPIC_NAME_BYTES], group[GROUP_NAME_BYTES], longest[300];

        cr_assert_eq(topic_request(name, "enrich", KIND_EMBED, LANE_INTERACTIVE), 0);
        cr_assert_str_eq(name, "enrich.embed.interactive");
        cr_assert_eq(topic_retry(name, "enrich", KIND_LLM, "10m"), 0);
        cr_assert_str_eq(name, "enrich.llm.retry.10m");
        cr_assert_eq(topic_dlq(name, "enrich", KIND_RERANK), 0);
        cr_assert_str_eq(name, "enrich.rerank.dlq");
        cr_assert_eq(topic_dlq_state(name, "enrich"), 0);
        cr_assert_str_eq(name, "enrich.dlq.state");
        cr_assert_eq(topic_index(name, "enrich", "docs", 12), 0);
        cr_assert_str_eq(name, "enrich.index.docs.v12");
        cr_assert_eq(topic_control(name, "enrich"), 0);
        cr_assert_str_eq(name, "enrich.control");
        group_request(group, KIND_INGEST, LANE_BULK);
        cr_assert_str_eq(group, "millrace.ingest.bulk");
        group_retry(group, KIND_RETRIEVE);
        cr_assert_str_eq(group, "millrace.retrieve.retry");
        memset(longest, 'a', sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        cr_assert_lt(topic_index(name, "enrich", longest, 1), 0);
        cr_assert_str_eq(name, "enrich.control", "untouched");
}

Test(topics, a_name_is_read_back)
{
        struct topic_meaning m;

        cr_assert(topic_parse("enrich.embed.bulk", "enrich", &m));
        cr_assert(m.role == TOPIC_REQUEST && m.kind == KIND_EMBED && m.lane == LANE_BULK);
        cr_assert(topic_parse("a.b.llm.retry.5s", "a.b", &m), "a prefix may hold dots");
        cr_assert(m.role == TOPIC_RETRY && m.kind == KIND_LLM && span_is(m.delay, "5s"));
        cr_assert(topic_parse("enrich.ingest.dlq", "enrich", &m));
        cr_assert(m.role == TOPIC_DLQ && m.kind == KIND_INGEST);
        cr_assert(topic_parse("enrich.dlq.state", "enrich", &m) && m.role == TOPIC_DLQ_STATE);
        cr_assert(topic_parse("enrich.control", "enrich", &m) && m.role == TOPIC_CONTROL);
        cr_assert(topic_parse("enrich.index.my.docs.v3", "enrich", &m));
        cr_assert(m.role == TOPIC_INDEX && span_is(m.collection, "my.docs") && m.version == 3);
}

Test(topics, a_foreign_name_means_nothing)
{
        static const char *const names[] = {
                "",
                "enrich",
                "enrich.",
                "enrich.embed",
                "enrich.embed.",
                "enrich.embed.fast",
                "enrich.dance.bulk",
                "enriched.embed.bulk",
                "enrich.embed.retry.",
                "enrich.embed.retry",
                "enrich.index.docs",
                "enrich.index.docs.v",
                "enrich.index.docs.v01",
                "enrich.index.v1",
                "enrich.index..v1",
                "enrich.index.docs.v99999999999",
                "enrich.dlq",
                "other.embed.bulk",
        };
        struct topic_meaning m;

        for (size_t i = 0; i < COUNT_OF(names); i++)
                cr_assert_not(topic_parse(names[i], "enrich", &m), "%s", names[i]);
}

static bool wants(const struct topic_wanted *wanted, int count, const char *name)
{
        int found = 0;

        for (int i = 0; i < count; i++)
                found += strcmp(wanted[i].name, name) == 0;
        cr_assert_leq(found, 1, "%s twice", name);
        return found == 1;
}

static void two_tiers(struct settings *settings)
{
        static char *delays[] = {(char *)(uintptr_t) "5s", (char *)(uintptr_t) "1m"};

        settings->retry.delays = delays;
        settings->retry.delay_count = 2;
        settings->worker.kinds[KIND_EMBED] = true;
}

Test(topics, a_worker_wants_the_topics_of_its_kinds_under_every_prefix)
{
        struct settings settings = {.kafka = {.prefix = (char *)(uintptr_t) "enrich", .partitions = 8}};
        struct tenant_settings tenants[3] = {{.name = (char *)(uintptr_t) "a"},
                                             {.name = (char *)(uintptr_t) "b", .prefix = (char *)(uintptr_t) "own"},
                                             {.name = (char *)(uintptr_t) "c", .prefix = (char *)(uintptr_t) "own"}};
        struct topic_wanted *wanted = NULL;
        struct error err = {0};
        int count;

        two_tiers(&settings);
        settings.tenants = tenants;
        settings.tenant_count = 3;
        count = topics_wanted(&settings, &wanted, &err);
        cr_assert_eq(count, 12);
        cr_assert(wants(wanted, count, "enrich.embed.bulk"));
        cr_assert(wants(wanted, count, "enrich.embed.interactive"));
        cr_assert(wants(wanted, count, "enrich.embed.retry.1m"));
        cr_assert(wants(wanted, count, "enrich.embed.dlq"));
        cr_assert(wants(wanted, count, "own.embed.retry.5s"));
        cr_assert(wants(wanted, count, "enrich.dlq.state"));
        cr_assert(wants(wanted, count, "enrich.control"));
        cr_assert_not(wants(wanted, count, "enrich.llm.bulk"));
        free(wanted);
}

Test(topics, on_the_mock_broker_they_are_made_on_first_use)
{
        struct rig rig;
        struct topic_wanted *wanted = NULL;
        struct error err = {0};
        bool mock = false;
        int count;

        rig_up(&rig);
        two_tiers(&rig.settings);
        count = topics_wanted(&rig.settings, &wanted, &err);
        cr_assert_eq(topics_ensure(&rig.settings, wanted, (size_t)count, 20000, &mock, &err), 0, "%s", err.message);
        cr_assert(mock);
        cr_assert_gt(kafka_partition_count(rig.client, "enrich.embed.bulk", 10000, &err), 0, "%s", err.message);
        cr_assert_gt(kafka_partition_count(rig.client, "enrich.control", 10000, &err), 0, "%s", err.message);
        free(wanted);
        rig_down(&rig);
}

Test(topics, an_unreachable_broker_is_a_retriable_fault)
{
        struct rig rig;
        struct topic_wanted wanted = {.name = "enrich.embed.bulk", .role = TOPIC_REQUEST, .partitions = 8};
        struct error err = {0};

        rig_up(&rig);
        mock_broker_down(rig.broker);
        cr_assert_lt(topics_ensure(&rig.settings, &wanted, 1, 300, NULL, &err), 0);
        cr_assert_eq(err.class, ERR_DEPENDENCY);
        cr_assert(err.retriable);
        rig_down(&rig);
}

struct watching {
        struct topics_watch *watch;
        int changes;
};

static void on_change(void *user)
{
        ((struct watching *)user)->changes++;
}

static bool has_changed(void *user)
{
        return ((struct watching *)user)->changes > 0;
}

Test(topics, the_watch_tells_its_verdict_on_the_loop)
{
        struct rig rig;
        struct topic_wanted wanted = {.name = "enrich.embed.bulk", .role = TOPIC_REQUEST, .partitions = 2};
        struct watching watching = {0};
        struct error err = {0};

        rig_up(&rig);
        rig.settings.references = 1;
        rig_topic(&rig, "enrich.embed.bulk", 2);
        watching.watch = topics_watch_new(rig.loop, &rig.settings, &wanted, 1, on_change, &watching, &err);
        cr_assert(watching.watch, "%s", err.message);
        cr_assert(rig_until(&rig, has_changed, &watching));
        cr_assert_eq(topics_watch_verdict(watching.watch, &err), 0, "%s", err.message);
        topics_watch_free(watching.watch);
        rig_down(&rig);
}
