/* Time: a monotonic clock for deadlines, the wall clock for the wire. Tests put a fake one in place.
 * Points in time are absolute; names without a unit that end in _ms are milliseconds. */
#ifndef CONFIG_BASE_CLOCK_H
#define CONFIG_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"

int64_t clock_now_ms(void);  /* monotonic; any thread */
int64_t clock_now_us(void);  /* monotonic; any thread */
int64_t clock_wall_ms(void); /* Unix time; any thread */

/* Tests: both clocks stand still at these values until set again; (-1, -1) gives back the real ones. */
void clock_fake(int64_t now_ms, int64_t wall_ms);

enum { CLOCK_RFC3339_BYTES = 25 };
/* "2026-11-20T10:00:00.123Z" and a NUL into text. */
void clock_format_rfc3339(int64_t wall_ms, char text[CLOCK_RFC3339_BYTES]);
/* RFC 3339 date-time (any offset, fraction truncated to ms), or with date_only also YYYY-MM-DD = midnight UTC. */
bool clock_parse_rfc3339(struct span text, bool date_only, int64_t *ret_wall_ms);
/* "5s" "10m" "1h" "1d" "250ms" → ms. */
bool clock_parse_duration(struct span text, int64_t *ret_ms);

#endif
