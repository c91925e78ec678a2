#include "tests/flow/flow_rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "config/load.h"
#include "queues/kafka/kafka_client.h"
#include "queues/kafka/mock_broker.h"
#include "queues/kafka/topics.h"
#include "workers/worker.h"

enum { TEXT_MAX = 4096, HEADERS_SHOWN = 300, LETTER_MAX = 1 << 20 };

static struct {
        struct mock_broker *broker;
        struct kafka_client *client;
        pid_t redis, stub;
        int redis_port, stub_port;
        redisContext *raw;
        struct settings *settings;
        char folder[64];
        pthread_t thread;
        pthread_mutex_t mutex; /* guards settled */
        pthread_cond_t change;
        bool running, settled; /* settled: the worker has started, or ended without having */
        int ended;
} rig = {.mutex = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static struct {
        size_t count;
        char names[HEADERS_SHOWN][64], values[HEADERS_SHOWN][512];
        size_t header_count, value_len;
        char value[LETTER_MAX];
} letters;

static void pause_ms(int64_t ms)
{
        struct timespec t = {ms / 1000, ms % 1000 * 1000000};

        nanosleep(&t, NULL);
}

static int64_t now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int free_port(void)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof address;
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
        return ntohs(address.sin_port);
}

static bool answers(int port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

/* A child that dies with us; waits until its port answers. */
static pid_t start(int port, char *const *argv)
{
        int64_t until = now_ms() + RIG_WAIT_MS;
        pid_t pid = fork();

        cr_assert(pid >= 0);
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR);

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(null, 0);
                dup2(null, 1);
                execvp(argv[0], argv);
                _exit(127);
        }
        while (!answers(port)) {
                cr_assert(now_ms() < until && waitpid(pid, NULL, WNOHANG) == 0, "%s does not start", argv[0]);
                pause_ms(10);
        }
        return pid;
}

static void stop(pid_t pid)
{
        if (pid <= 0)
                return;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

static void start_servers(void)
{
        char redis_port[16], stub_port[16];
        char *redis[] = {"redis-server", "--port", redis_port, "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction", "--dir", "/tmp", NULL};
        char *stub_path = getenv("MILLRACE_STUB"), *stub[] = {stub_path ? stub_path : "build/tests/fakes/provider_stub", "--port", stub_port, NULL};

        rig.redis_port = free_port();
        snprintf(redis_port, sizeof redis_port, "%d", rig.redis_port);
        rig.redis = start(rig.redis_port, redis);
        rig.stub_port = free_port();
        snprintf(stub_port, sizeof stub_port, "%d", rig.stub_port);
        rig.stub = start(rig.stub_port, stub);
        rig.raw = redisConnect("127.0.0.1", rig.redis_port);
        cr_assert(rig.raw && !rig.raw->err);
}

static void load_settings(void)
{
        static struct faults faults;
        char text[TEXT_MAX];

        snprintf(text, sizeof text,
                 "kafka: {brokers: \"%s\", partitions: 4, options: {session.timeout.ms: \"2000\", heartbeat.interval.ms: \"200\"}}\n"
                 "redis: {url: \"redis://127.0.0.1:%d/0\"}\n"
                 "admin: {listen: \"127.0.0.1:0\"}\n"
                 "data_dir: %s\n"
                 "worker: {name: flow, inflight_max: 64, drain_ms: 5000, payload_bytes_max: 65536, claim_lease_ms: 2000}\n"
                 "retry: {attempts_max: 3, base_ms: 20, cap_ms: 200, delays: [1s, 2s]}\n"
                 "providers:\n"
                 "  - {name: stub, type: openai, base_url: \"http://127.0.0.1:%d/v1\", timeout_ms: 1000}\n"
                 "  - {name: floats, type: openai, base_url: \"http://127.0.0.1:%d/v1\", timeout_ms: 1000, encoding: float}\n"
                 "models:\n"
                 "  - {name: minilm, kind: embed, provider: stub, model: all-MiniLM-L6-v2, dimensions: 384, price: {input_per_mtok: 0.02, output_per_mtok: 0}}\n"
                 "  - {name: floats, kind: embed, provider: floats, model: all-MiniLM-L6-v2, dimensions: 384}\n"
                 "  - {name: chat, kind: llm, provider: stub, model: echo, price: {input_per_mtok: 1, output_per_mtok: 2}}\n"
                 "collections:\n"
                 "  - {name: docs, model: local-embed}\n"
                 "  - {name: paid, model: minilm}\n",
                 mock_broker_address(rig.broker), rig.redis_port, rig.folder, rig.stub_port, rig.stub_port);
        rig.settings = settings_load_text(span_of(text), "flow.yaml", &faults);
        cr_assert(rig.settings, "%s", faults_total(&faults) ? faults.list[0].text : "");
}

static void make_topics(void)
{
        AUTO_FREE struct topic_wanted *wanted = NULL;
        struct error err;
        int count = topics_wanted(rig.settings, &wanted, &err);

        cr_assert_gt(count, 0);
        for (int i = 0; i < count; i++)
                cr_assert_eq(mock_broker_topic(rig.broker, wanted[i].name, wanted[i].partitions, &err), 0, "%s", err.message);
}

static void settle(void *user, const char *admin_address)
{
        (void)user;
        (void)admin_address;
        pthread_mutex_lock(&rig.mutex);
        rig.settled = true;
        pthread_cond_signal(&rig.change);
        pthread_mutex_unlock(&rig.mutex);
}

static void *run_worker(void *argument)
{
        struct worker_options options = {.settings = rig.settings, .on_started = settle};
        struct error err;

        (void)argument;
        rig.ended = worker_run(&options, &err);
        if (rig.ended < 0)
                fprintf(stderr, "worker: %s\n", err.message);
        settle(NULL, NULL);
        return NULL;
}

/* Its signal handlers are up when this returns. */
static void start_worker(void)
{
        rig.settled = false;
        cr_assert_eq(pthread_create(&rig.thread, NULL, run_worker, NULL), 0);
        rig.running = true;
        pthread_mutex_lock(&rig.mutex);
        while (!rig.settled)
                pthread_cond_wait(&rig.change, &rig.mutex);
        pthread_mutex_unlock(&rig.mutex);
}

void flow_up(void)
{
        struct error err;

        log_setup(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR, LOG_FORMAT_TEXT);
        signal(SIGPIPE, SIG_IGN);
        snprintf(rig.folder, sizeof rig.folder, "/tmp/millrace-flow-XXXXXX");
        cr_assert(mkdtemp(rig.folder));
        rig.broker = mock_broker_new(&err);
        cr_assert(rig.broker, "%s", err.message);
        start_servers();
        load_settings();
        make_topics();
        rig.client = kafka_client_new(rig.settings, &err);
        cr_assert(rig.client, "%s", err.message);
        start_worker();
}

void flow_stop(void)
{
        if (!rig.running)
                return;
        kill(getpid(), SIGTERM);
        pthread_join(rig.thread, NULL);
        rig.running = false;
        cr_assert_eq(rig.ended, 0, "the worker failed");
}

void flow_restart(void (*change)(struct settings *settings))
{
        flow_stop();
        if (change)
                change(rig.settings);
        start_worker();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

void flow_down(void)
{
        flow_stop();
        kafka_client_free(rig.client);
        mock_broker_free(rig.broker);
        redisFree(rig.raw);
        stop(rig.redis);
        stop(rig.stub);
        settings_unref(rig.settings);
        nftw(rig.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct settings *flow_settings(void)
{
        return rig.settings;
}

/* One HTTP request to the stub; the answer's body, static. */
static const char *ask_stub(const char *method, const char *target)
{
        static char reply[65536];
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)rig.stub_port)};
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM, 0);
        char text[1024];
        size_t len = 0;
        ssize_t n;
        int text_len = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: stub\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, target);
        char *body;

        cr_assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
        cr_assert_eq(write(fd, text, (size_t)text_len), text_len);
        while (len < sizeof reply - 1 && (n = read(fd, reply + len, sizeof reply - 1 - len)) > 0)
                len += (size_t)n;
        reply[len] = '\0';
        body = strstr(reply, "\r\n\r\n");
        cr_assert(body && strncmp(reply, "HTTP/1.1 200", 12) == 0, "%s", reply);
        return body + 4;
}

void flow_stub(const char *query)
{
        char target[512];

        snprintf(target, sizeof target, "/control?%s", query);
        ask_stub("POST", target);
}

int64_t flow_stub_count(const char *name)
{
        json_t *stats = json_loads(ask_stub("GET", "/stats"), 0, NULL);
        int64_t value = json_integer_value(json_object_get(stats, name));

        cr_assert(json_object_get(stats, name), "the stub counts no %s", name);
        json_decref(stats);
        return value;
}

void flow_publish(const char *kind, const char *lane, const char *key, const void *value, size_t len, const char *const *headers)
{
        struct outgoing_header list[HEADERS_SHOWN];
        struct outgoing outgoing = {.partition = -1, .key = span_of(key), .value = {value, len}, .headers = list};
        struct producer_ack ack;
        char topic[128];
        struct error err;

        snprintf(topic, sizeof topic, "enrich.%s.%s", kind, lane);
        outgoing.topic = topic;
        for (size_t i = 0; headers && headers[i]; i += 2)
                list[outgoing.header_count++] = (struct outgoing_header){headers[i], span_of(headers[i + 1])};
        cr_assert_eq(kafka_publish(rig.client, &outgoing, RIG_WAIT_MS, &ack, &err), 0, "%s", err.message);
}

void flow_submit(const char *kind, const char *json)
{
        flow_publish(kind, "interactive", NULL, json, strlen(json), NULL);
}

const char *flow_redis(const char *format, ...)
{
        static char text[1 << 20];
        redisReply *reply;
        va_list args;

        va_start(args, format);
        reply = redisvCommand(rig.raw, format, args);
        va_end(args);
        cr_assert(reply);
        if (reply->type == REDIS_REPLY_INTEGER)
                snprintf(text, sizeof text, "%lld", reply->integer);
        else
                snprintf(text, sizeof text, "%s", reply->str ? reply->str : "");
        freeReplyObject(reply);
        return text;
}

bool flow_has_result(const char *tenant, const char *id)
{
        return strcmp(flow_redis("EXISTS mr:{%s:%s}:result", tenant, id), "1") == 0;
}

json_t *flow_result(const char *tenant, const char *id)
{
        int64_t until = now_ms() + RIG_WAIT_MS;
        json_t *tree;

        while (!flow_has_result(tenant, id)) {
                cr_assert(now_ms() < until, "no result of %s", id);
                pause_ms(5);
        }
        tree = json_loads(flow_redis("GET mr:{%s:%s}:result", tenant, id), JSON_REJECT_DUPLICATES, NULL);
        cr_assert(tree, "the result of %s is not JSON", id);
        return tree;
}

const json_t *flow_at(const json_t *tree, const char *path)
{
        while (tree && *path) {
                size_t len = strcspn(path, ".");
                char name[128];

                snprintf(name, sizeof name, "%.*s", (int)len, path);
                tree = json_is_array(tree) ? json_array_get(tree, strtoul(name, NULL, 10)) : json_object_get(tree, name);
                path += len + (path[len] == '.');
        }
        return tree;
}

const char *flow_text(const json_t *tree, const char *path)
{
        const char *text = json_string_value(flow_at(tree, path));

        return text ? text : "";
}

const char *flow_ending(const char *id)
{
        static char text[256];
        json_t *tree = flow_result("default", id);

        if (json_object_get(tree, "error"))
                snprintf(text, sizeof text, "%s %s.%s", flow_text(tree, "status"), flow_text(tree, "error.class"), flow_text(tree, "error.code"));
        else
                snprintf(text, sizeof text, "%s", flow_text(tree, "status"));
        json_decref(tree);
        return text;
}

static bool see_letter(void *user, const struct record *record)
{
        struct span value;
        const char *name;

        (void)user;
        letters.count++;
        letters.header_count = 0;
        for (size_t i = 0; i < HEADERS_SHOWN && record_header_at(record, i, &name, &value); i++) {
                snprintf(letters.names[i], sizeof letters.names[i], "%s", name);
                snprintf(letters.values[i], sizeof letters.values[i], "%.*s", (int)value.len, value.data ? value.data : "");
                letters.header_count++;
        }
        letters.value_len = record->value.len < LETTER_MAX ? record->value.len : LETTER_MAX;
        if (letters.value_len)
                memcpy(letters.value, record->value.data, letters.value_len);
        return true;
}

size_t flow_letters(const char *kind, size_t count)
{
        int64_t until = now_ms() + RIG_WAIT_MS;
        char topic[128];
        struct error err;

        snprintf(topic, sizeof topic, "enrich.%s.dlq", kind);
        do {
                letters.count = 0;
                cr_assert_eq(kafka_read_topic(rig.client, topic, -1, NULL, see_letter, NULL, RIG_WAIT_MS, &err), 0, "%s", err.message);
        } while (letters.count < count && now_ms() < until);
        return letters.count;
}

const char *flow_letter_header(const char *name)
{
        for (size_t i = letters.header_count; i-- > 0;)
                if (strcmp(letters.names[i], name) == 0)
                        return letters.values[i];
        return NULL;
}

const char *flow_letter_value(size_t *ret_len)
{
        *ret_len = letters.value_len;
        return letters.value;
}
