/* Forms of addresses in the configuration. Pure: nothing is looked up. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include <stdbool.h>

#include "config/base/span.h"

/* "host:port", "[::1]:port"; the port 0…65535 may be missing if port_needed is false. */
bool address_is_host_port(struct span s, bool port_needed);
/* "host:port,host:port"; each may have a "PROTOCOL://" before it and go without a port. */
bool address_is_broker_list(struct span s);
/* http:// or https://, a host, perhaps a port and a path; no user, query or fragment. */
bool address_is_http_url(struct span s);
/* redis:// or rediss://[user[:password]@]host[:port][/database]; what of the log-in it holds. */
bool address_is_redis_url(struct span s, bool *ret_user, bool *ret_password);

#endif
