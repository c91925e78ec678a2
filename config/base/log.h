/* Logging: JSON lines, or text where stderr is a terminal. One write(2) a line; any thread.
 * Never give it payloads or secrets. Each line has a fixed event text and key=value pairs. */
#ifndef CONFIG_BASE_LOG_H
#define CONFIG_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

void log_setup(enum log_level level_min, enum log_format format);

/* fields: a printf format of space-separated key=value pairs, e.g. "id=%s kind=%s wait_ms=%d"; values that could hold spaces
 * come last. NULL for none. In JSON each pair becomes a member with a string value, the rest of the line the last one's. */
void log_write(enum log_level level, const char *event, const char *fields, ...) __attribute__((format(printf, 3, 4)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
