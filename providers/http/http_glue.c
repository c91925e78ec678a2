/* What is kept away from the hot path, because it was measured there:
 *
 *   the walk      libcurl 7.88 walks a multi's whole connection cache for each request: SHARDS multis, each with a small cache
 *   epoll_ctl     a watcher stays armed for reading while its connection lies idle: the next request on it finds it armed. Should an
 *                 event come meanwhile (the server closes), the watcher is stopped; curl notices at the next use. Only sockets that we
 *                 opened, and whose closing we are told of, are treated so
 *   the kick      a request is added to a multi by asking for a time-out of 0 ms; shards so marked act together when the turn's other
 *                 callbacks have run (a fed event of the lowest priority), before the loop sleeps. A provider may answer within the
 *                 kick, behind the loop's prepare watchers: then the loop is kept from sleeping, so that whoever waits runs at once
 *
 * All shards share TLS sessions, and with them names; plain connections have nothing to gain, and would pay for the look-ups. */
#include "providers/http/http_glue.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config/base/own.h"

enum { SHARDS = 16, SOCKETS_MAX = 65536, SPARE_CONNECTIONS = 2 };

struct http_shard {
        struct http_glue *glue;
        CURLM *multi; /* made when first used */
        ev_timer timer;
        bool marked;
        struct http_shard *next_marked;
};

/* One of curl's sockets. */
struct link {
        ev_io io;
        struct http_shard *shard;
        int wanted; /* what curl waits for now; 0: idle */
        int armed;  /* what the watcher waits for; 0: stopped */
        bool ours;  /* we opened it and shall be told of its closing */
};

struct http_glue {
        struct ev_loop *loop;
        void (*on_end)(CURL *easy, CURLcode result);
        CURLSH *share;
        struct http_shard shards[SHARDS];
        size_t next_shard, handles;
        struct link **links; /* by file descriptor */
        size_t link_count;
        struct http_shard *marked;
        ev_timer kick; /* never started, only fed */
        bool kicking;
        ev_idle awake; /* a transfer ended within the kick: the loop must turn once more before it sleeps */
};

/* ---- sockets ---- */

static struct link *link_of(struct http_glue *glue, curl_socket_t fd)
{
        return fd >= 0 && (size_t)fd < glue->link_count ? glue->links[fd] : NULL;
}

static void link_arm(struct http_glue *glue, struct link *link, int events)
{
        if (link->armed == events)
                return;
        ev_io_stop(glue->loop, &link->io);
        link->armed = events;
        if (!events)
                return;
        ev_io_modify(&link->io, events);
        ev_io_start(glue->loop, &link->io);
}

static void link_drop(struct http_glue *glue, curl_socket_t fd)
{
        struct link *link = link_of(glue, fd);

        if (!link)
                return;
        link_arm(glue, link, 0);
        glue->links[fd] = NULL;
        free(link);
}

static void reap(struct http_shard *shard)
{
        const CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(shard->multi, &left))) {
                if (message->msg != CURLMSG_DONE)
                        continue;
                if (shard->glue->kicking)
                        ev_idle_start(shard->glue->loop, &shard->glue->awake);
                shard->glue->on_end(message->easy_handle, message->data.result);
        }
}

static void on_socket_event(struct ev_loop *loop, ev_io *io, int events)
{
        struct link *link = CONTAINER_OF(io, struct link, io);
        struct http_shard *shard = link->shard;
        int running;

        (void)loop;
        if (!link->wanted) {
                link_arm(shard->glue, link, 0);
                return;
        }
        curl_multi_socket_action(shard->multi, io->fd,
                                 (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0), &running);
        reap(shard);
}

static struct link *link_make(struct http_glue *glue, curl_socket_t fd)
{
        struct link *link = link_of(glue, fd);

        if (link || fd < 0 || fd >= SOCKETS_MAX)
                return link;
        if ((size_t)fd >= glue->link_count) {
                size_t count = (size_t)fd * 2 + 64;
                struct link **links = realloc(glue->links, count * sizeof *links);

                if (!links)
                        return NULL;
                memset(links + glue->link_count, 0, (count - glue->link_count) * sizeof *links);
                glue->links = links;
                glue->link_count = count;
        }
        link = calloc(1, sizeof *link);
        if (link)
                ev_io_init(&link->io, on_socket_event, fd, EV_READ);
        glue->links[fd] = link;
        return link;
}

static void socket_unwanted(struct http_glue *glue, curl_socket_t fd)
{
        struct link *link = link_of(glue, fd);

        if (!link)
                return;
        link->wanted = 0;
        if (!link->ours)
                link_drop(glue, fd);
        else if (link->armed)
                link_arm(glue, link, EV_READ);
}

static int on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
        struct http_shard *shard = user;
        struct link *link;

        (void)easy;
        (void)socket_user;
        if (what == CURL_POLL_REMOVE) {
                socket_unwanted(shard->glue, fd);
                return 0;
        }
        link = link_make(shard->glue, fd);
        if (!link)
                return -1;
        link->shard = shard;
        link->wanted = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
        link_arm(shard->glue, link, link->wanted);
        return 0;
}

static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
        struct link *link;
        int fd;

        (void)purpose;
        fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
        if (fd < 0)
                return CURL_SOCKET_BAD;
        link = link_make(user, fd);
        if (!link) {
                close(fd);
                return CURL_SOCKET_BAD;
        }
        link->ours = true;
        return fd;
}

static int close_socket(void *user, curl_socket_t fd)
{
        link_drop(user, fd);
        return close(fd);
}

/* ---- the kick, and curl's own timers ---- */

static void shard_act(struct http_shard *shard)
{
        int running;

        curl_multi_socket_action(shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        reap(shard);
}

static void on_kick(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct http_glue *glue = timer->data;
        struct http_shard *shard = glue->marked;

        (void)loop;
        (void)events;
        glue->marked = NULL;
        glue->kicking = true;
        while (shard) {
                struct http_shard *next = shard->next_marked;

                shard->marked = false;
                shard_act(shard);
                shard = next;
        }
        glue->kicking = false;
}

static void on_awake(struct ev_loop *loop, ev_idle *idle, int events)
{
        (void)events;
        ev_idle_stop(loop, idle);
}

static void on_shard_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)loop;
        (void)events;
        shard_act(timer->data);
}

static int on_timer_wanted(CURLM *multi, long ms, void *user)
{
        struct http_shard *shard = user;
        struct http_glue *glue = shard->glue;

        (void)multi;
        if (ms == 0 && !glue->kicking) {
                if (shard->marked)
                        return 0;
                shard->marked = true;
                shard->next_marked = glue->marked;
                glue->marked = shard;
                ev_feed_event(glue->loop, &glue->kick, EV_CUSTOM);
                return 0;
        }
        ev_timer_stop(glue->loop, &shard->timer);
        if (ms >= 0) { /* 0 from within the kick: not before the next turn, lest curl keep us here */
                ev_timer_set(&shard->timer, (double)ms / 1000.0, 0);
                ev_timer_start(glue->loop, &shard->timer);
        }
        return 0;
}

/* ---- life ---- */

struct http_glue *http_glue_new(struct ev_loop *loop, void (*on_end)(CURL *easy, CURLcode result))
{
        struct http_glue *glue = calloc(1, sizeof *glue);

        if (!glue || !(glue->share = curl_share_init())) {
                free(glue);
                return NULL;
        }
        curl_share_setopt(glue->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
        curl_share_setopt(glue->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
        glue->loop = loop;
        glue->on_end = on_end;
        ev_timer_init(&glue->kick, on_kick, 0, 0);
        ev_set_priority(&glue->kick, EV_MINPRI);
        glue->kick.data = glue;
        ev_idle_init(&glue->awake, on_awake);
        for (size_t i = 0; i < SHARDS; i++) {
                glue->shards[i].glue = glue;
                ev_timer_init(&glue->shards[i].timer, on_shard_timer, 0, 0);
                glue->shards[i].timer.data = &glue->shards[i];
        }
        return glue;
}

void http_glue_free(struct http_glue *glue)
{
        if (!glue)
                return;
        for (size_t i = 0; i < SHARDS; i++) {
                if (glue->shards[i].multi)
                        curl_multi_cleanup(glue->shards[i].multi); /* closes the connections, by close_socket */
                ev_timer_stop(glue->loop, &glue->shards[i].timer);
        }
        ev_clear_pending(glue->loop, &glue->kick);
        ev_idle_stop(glue->loop, &glue->awake);
        for (size_t fd = 0; fd < glue->link_count; fd++)
                link_drop(glue, (curl_socket_t)fd);
        free(glue->links);
        curl_share_cleanup(glue->share);
        free(glue);
}

struct ev_loop *http_glue_loop(const struct http_glue *glue)
{
        return glue->loop;
}

static void limit_connections(struct http_shard *shard)
{
        curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, (long)(shard->glue->handles / SHARDS + SPARE_CONNECTIONS));
}

void http_glue_expect(struct http_glue *glue, size_t handles)
{
        glue->handles = handles;
        for (size_t i = 0; i < SHARDS; i++)
                if (glue->shards[i].multi)
                        limit_connections(&glue->shards[i]);
}

struct http_shard *http_glue_shard(struct http_glue *glue)
{
        struct http_shard *shard = &glue->shards[glue->next_shard++ % SHARDS];

        if (shard->multi)
                return shard;
        shard->multi = curl_multi_init();
        if (!shard->multi)
                return NULL;
        curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
        curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard);
        curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
        curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard);
        limit_connections(shard);
        return shard;
}

bool http_glue_set_up(struct http_glue *glue, CURL *easy, bool tls)
{
        bool ok = !tls || curl_easy_setopt(easy, CURLOPT_SHARE, glue->share) == CURLE_OK;

        ok &= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, glue) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, glue) == CURLE_OK;
        return ok;
}

int http_shard_add(struct http_shard *shard, CURL *easy)
{
        return curl_multi_add_handle(shard->multi, easy) == CURLM_OK ? 0 : -1;
}

void http_shard_remove(struct http_shard *shard, CURL *easy)
{
        curl_multi_remove_handle(shard->multi, easy);
}
