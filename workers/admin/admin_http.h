/* The admin port: GET /health, /ready and /metrics, by libmicrohttpd within the loop. */
#ifndef WORKERS_ADMIN_ADMIN_HTTP_H
#define WORKERS_ADMIN_ADMIN_HTTP_H

#include <ev.h>

#include "config/base/buffer.h"
#include "config/base/error.h"

struct admin_http;

/* Answers one GET: writes the body, sets the content type (static), returns the HTTP status. */
typedef int admin_answer(void *user, const char *path, struct buffer *body, const char **ret_content_type);

/* listen: "127.0.0.1:9464", "[::1]:0"; port 0 takes a free one. At most 64 connections, 10 s each. token (borrowed; NULL: none): all but
 * /health and /ready wants `Authorization: Bearer <token>`. */
struct admin_http *admin_http_new(struct ev_loop *loop, const char *listen, const char *token, admin_answer *answer, void *user, struct error *err);
void admin_http_free(struct admin_http *admin); /* NULL is fine */
const char *admin_http_address(const struct admin_http *admin);

#endif
