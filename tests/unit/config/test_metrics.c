#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "config/base/metrics.h"
#include "config/base/own.h"

/* Each test runs in a process of its own, so that the registry begins empty. */
static const char *rendered(void)
{
        static struct buffer out;

        buffer_fini(&out);
        buffer_init(&out, 1 << 20);
        metrics_render(&out);
        cr_assert(buffer_ok(&out));
        return out.data ? out.data : "";
}

Test(metrics, renders_counters_and_gauges_in_order_of_registration)
{
        struct metric *b = metrics_counter("millrace_b_total", "What b counts.", "kind=\"embed\"");
        struct metric *a = metrics_gauge("millrace_a", "Back\\slash\nand line.", NULL);

        metrics_counter("millrace_b_total", "What b counts.", "kind=\"llm\"");
        metrics_add(b, 1);
        metrics_add(b, 41);
        metrics_set(a, 0.1);
        cr_assert_str_eq(rendered(),
                         "# HELP millrace_b_total What b counts.\n"
                         "# TYPE millrace_b_total counter\n"
                         "millrace_b_total{kind=\"embed\"} 42\n"
                         "millrace_b_total{kind=\"llm\"} 0\n"
                         "# HELP millrace_a Back\\\\slash\\nand line.\n"
                         "# TYPE millrace_a gauge\n"
                         "millrace_a 0.1\n");
        cr_assert_eq(metrics_value(b), 42);
}

Test(metrics, same_name_and_labels_are_the_same_series)
{
        cr_assert_eq(metrics_counter("millrace_x_total", "x", ""), metrics_counter("millrace_x_total", "x", NULL));
        cr_assert_neq(metrics_counter("millrace_x_total", "x", "a=\"1\""), metrics_counter("millrace_x_total", "x", "a=\"2\""));
}

Test(metrics, histograms_cumulate_in_seconds)
{
        struct metric *h = metrics_histogram("millrace_h_seconds", "h", "kind=\"llm\"");

        metrics_observe_ms(h, 0);
        metrics_observe_ms(h, -5);
        metrics_observe_ms(h, 1);
        metrics_observe_ms(h, 2);
        metrics_observe_ms(h, 100000);
        metrics_observe_ms(h, 100001);
        rendered();
        cr_assert(strstr(rendered(),
                         "# TYPE millrace_h_seconds histogram\nmillrace_h_seconds_bucket{kind=\"llm\",le=\"0.001\"} 3\n"
                         "millrace_h_seconds_bucket{kind=\"llm\",le=\"0.002\"} 4\n"));
        cr_assert(strstr(rendered(),
                         "millrace_h_seconds_bucket{kind=\"llm\",le=\"50\"} 4\n"
                         "millrace_h_seconds_bucket{kind=\"llm\",le=\"100\"} 5\n"
                         "millrace_h_seconds_bucket{kind=\"llm\",le=\"+Inf\"} 6\n"
                         "millrace_h_seconds_sum{kind=\"llm\"} 200.004\n"
                         "millrace_h_seconds_count{kind=\"llm\"} 6\n"));
        cr_assert_eq(metrics_value(h), 6);
        metrics_observe_ms(metrics_histogram("millrace_i_seconds", "i", NULL), 5);
        cr_assert(strstr(rendered(), "millrace_i_seconds_bucket{le=\"0.005\"} 1\n"));
        cr_assert(strstr(rendered(), "millrace_i_seconds_sum 0.005\n"));
}

Test(metrics, ignores_what_makes_no_sense)
{
        struct metric *c = metrics_counter("millrace_c_total", "c", NULL);

        metrics_add(NULL, 1);
        metrics_set(NULL, 1);
        metrics_observe_ms(NULL, 1);
        cr_assert_eq(metrics_value(NULL), 0);
        metrics_add(c, (double)NAN);
        metrics_add(c, (double)INFINITY);
        metrics_set(c, 5);
        metrics_observe_ms(c, 5);
        cr_assert_eq(metrics_value(c), 0);
}

Test(metrics, registry_is_bounded)
{
        struct metric *last = NULL;
        char labels[32];

        for (int i = 0; i < 5000; i++) {
                snprintf(labels, sizeof labels, "i=\"%d\"", i);
                last = metrics_counter("millrace_many_total", "many", labels);
        }
        cr_assert_null(last);
        cr_assert_null(metrics_counter("millrace_new_total", "new", NULL));
        cr_assert(metrics_counter("millrace_many_total", "many", "i=\"5\""));
}

static void *adder(void *metrics)
{
        struct metric **m = metrics;

        for (int i = 0; i < 20000; i++) {
                metrics_add(m[0], 1);
                metrics_observe_ms(m[1], i % 50);
                metrics_set(m[2], i);
        }
        return NULL;
}

Test(metrics, no_update_of_several_threads_is_lost)
{
        struct metric *m[] = {metrics_counter("millrace_t_total", "t", NULL), metrics_histogram("millrace_t_seconds", "t", NULL),
                              metrics_gauge("millrace_t", "t", NULL)};
        pthread_t threads[4];

        for (size_t i = 0; i < COUNT_OF(threads); i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, adder, m), 0);
        for (int i = 0; i < 20; i++)
                rendered();
        for (size_t i = 0; i < COUNT_OF(threads); i++)
                pthread_join(threads[i], NULL);
        cr_assert_eq(metrics_value(m[0]), 80000);
        cr_assert_eq(metrics_value(m[1]), 80000);
        cr_assert_eq(metrics_value(m[2]), 19999);
        cr_assert(strstr(rendered(), "millrace_t_seconds_sum 1960.000\n"));
}
