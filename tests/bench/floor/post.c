/* post: the HTTP part of an embed worker alone. N requests of one 500-byte text by libcurl's multi interface on libev, C in flight;
 * what comes back is counted and dropped.
 *
 *      post URL N C float|base64 [MULTIS]
 *
 * MULTIS (default 1) spreads the C transfers over several multi handles of one loop: libcurl 7.88 walks a multi's whole connection
 * cache for each request, so that sixteen small ones cost less than one large one. Prints one line; exit 1 when a call failed. */
#include <curl/curl.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 500, MULTIS_MAX = 64, IN_FLIGHT_MAX = 4096 };

struct shard {
        CURLM *multi;
        ev_timer timer;
};

struct socket_watch {
        ev_io io;
        struct shard *shard;
};

static struct shard shards[MULTIS_MAX];
static long wanted, begun, ended, failed;
static char body[TEXT_BYTES + 200];

static size_t drop(char *data, size_t size, size_t count, void *user)
{
        (void)data;
        (void)user;
        return size * count;
}

/* Ends what has ended and begins as many anew. */
static void turn_over(struct shard *shard)
{
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(shard->multi, &left))) {
                CURL *easy = message->easy_handle;
                curl_off_t received = 0;
                long status = 0;

                curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
                curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
                failed += message->data.result != CURLE_OK || status != 200 || received == 0;
                curl_multi_remove_handle(shard->multi, easy);
                if (++ended == wanted)
                        ev_break(EV_DEFAULT_UC, EVBREAK_ALL);
                if (begun < wanted) {
                        begun++;
                        curl_multi_add_handle(shard->multi, easy);
                }
        }
}

static void on_socket(struct ev_loop *loop, ev_io *io, int events)
{
        struct shard *shard = ((struct socket_watch *)io)->shard;
        int action = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0), running;

        (void)loop;
        curl_multi_socket_action(shard->multi, io->fd, action, &running);
        turn_over(shard);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct shard *shard = timer->data;
        int running;

        (void)loop;
        (void)events;
        curl_multi_socket_action(shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        turn_over(shard);
}

static int want_timer(CURLM *multi, long ms, void *user)
{
        struct shard *shard = user;

        (void)multi;
        ev_timer_stop(EV_DEFAULT_UC, &shard->timer);
        if (ms >= 0) {
                ev_timer_set(&shard->timer, (double)ms / 1e3, 0);
                ev_timer_start(EV_DEFAULT_UC, &shard->timer);
        }
        return 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *assigned)
{
        struct socket_watch *watch = assigned;
        struct shard *shard = user;

        (void)easy;
        if (watch)
                ev_io_stop(EV_DEFAULT_UC, &watch->io);
        if (what == CURL_POLL_REMOVE) {
                free(watch);
                return 0;
        }
        if (!watch) {
                watch = calloc(1, sizeof *watch);
                if (!watch)
                        return -1;
                watch->shard = shard;
                ev_init(&watch->io, on_socket);
                curl_multi_assign(shard->multi, fd, watch);
        }
        ev_io_set(&watch->io, fd, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
        ev_io_start(EV_DEFAULT_UC, &watch->io);
        return 0;
}

static void shard_init(struct shard *shard, long in_flight)
{
        ev_timer_init(&shard->timer, on_timer, 0, 0);
        shard->timer.data = shard;
        shard->multi = curl_multi_init();
        curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
        curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard);
        curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, want_timer);
        curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard);
        curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, 2 * in_flight);
}

static CURL *transfer_new(const char *url, struct curl_slist *headers)
{
        CURL *easy = curl_easy_init();

        curl_easy_setopt(easy, CURLOPT_URL, url);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        return easy;
}

int main(int argc, char **argv)
{
        long in_flight = argc > 3 ? strtol(argv[3], NULL, 10) : 0, multis = argc > 5 ? strtol(argv[5], NULL, 10) : 1;
        struct curl_slist *headers;
        char text[TEXT_BYTES + 1];
        double from;

        wanted = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
        if (argc < 5 || wanted < 1 || in_flight < 1 || in_flight > IN_FLIGHT_MAX || multis < 1 || multis > MULTIS_MAX ||
            !ev_default_loop(0)) {
                fprintf(stderr, "usage: post URL N C float|base64 [MULTIS]\n");
                return 2;
        }
        curl_global_init(CURL_GLOBAL_ALL);
        headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), "Expect:");
        memset(text, 'a', TEXT_BYTES);
        text[TEXT_BYTES] = '\0';
        snprintf(body, sizeof body, "{\"model\":\"all-MiniLM-L6-v2\",\"encoding_format\":\"%s\",\"input\":[\"%s\"]}", argv[4],
                 text);
        for (long i = 0; i < multis; i++)
                shard_init(&shards[i], in_flight);
        from = ev_time();
        for (; begun < in_flight && begun < wanted; begun++)
                curl_multi_add_handle(shards[begun % multis].multi, transfer_new(argv[1], headers));
        ev_run(EV_DEFAULT_UC, 0);
        printf("post: %ld calls, %.0f a second, %ld failed, libcurl %s\n", wanted, (double)wanted / (ev_time() - from), failed,
               curl_version_info(CURLVERSION_NOW)->version);
        return failed != 0; /* the transfers are left to the end of the process, as in a worker */
}
