#include "config/base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t fake_now_ms = -1, fake_wall_ms = -1;

static int64_t read_us(clockid_t clock)
{
        struct timespec t;

        clock_gettime(clock, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
        int64_t fake = atomic_load_explicit(&fake_now_ms, memory_order_relaxed);

        return fake >= 0 ? fake * 1000 : read_us(CLOCK_MONOTONIC);
}

int64_t clock_now_ms(void)
{
        return clock_now_us() / 1000;
}

int64_t clock_wall_ms(void)
{
        int64_t fake = atomic_load_explicit(&fake_wall_ms, memory_order_relaxed);

        return fake >= 0 ? fake : read_us(CLOCK_REALTIME) / 1000;
}

void clock_fake(int64_t now_ms, int64_t wall_ms)
{
        atomic_store(&fake_now_ms, now_ms);
        atomic_store(&fake_wall_ms, wall_ms);
}

/* Days since 1970-01-01 of a proleptic Gregorian date, and back (Howard Hinnant, "chrono-compatible low-level date algorithms"). */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
        int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
        int64_t of_era = y - era * 400, shifted = month > 2 ? month - 3 : month + 9;
        int64_t of_year = (153 * shifted + 2) / 5 + day - 1;

        return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
        int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
        int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        int64_t mp = (5 * doy + 2) / 153;

        *day = (int)(doy - (153 * mp + 2) / 5 + 1);
        *month = (int)(mp < 10 ? mp + 3 : mp - 9);
        *year = (int)(yoe + era * 400 + (*month <= 2));
}

/* On the way of every result: printf would cost more than all that is printed. */
static char *put(char *at, int64_t value, int digits, char after)
{
        for (int i = digits - 1; i >= 0; i--, value /= 10)
                at[i] = (char)('0' + value % 10);
        at[digits] = after;
        return at + digits + 1;
}

void clock_format_rfc3339(int64_t wall_ms, char text[CLOCK_RFC3339_BYTES])
{
        int64_t max = 253402300799999; /* 9999-12-31T23:59:59.999Z */
        int64_t ms = wall_ms < 0 ? 0 : wall_ms > max ? max : wall_ms, seconds = ms / 1000, of_day = seconds % 86400;
        int year, month, day;
        char *at = text;

        date_of(seconds / 86400, &year, &month, &day);
        at = put(at, year, 4, '-');
        at = put(at, month, 2, '-');
        at = put(at, day, 2, 'T');
        at = put(at, of_day / 3600, 2, ':');
        at = put(at, of_day / 60 % 60, 2, ':');
        at = put(at, of_day % 60, 2, '.');
        at = put(at, ms % 1000, 3, 'Z');
        *at = '\0';
}

static bool digits(const char **at, const char *end, int count, unsigned *ret)
{
        unsigned value = 0;

        for (int i = 0; i < count; i++, (*at)++) {
                if (*at == end || **at < '0' || **at > '9')
                        return false;
                value = value * 10 + (unsigned)(**at - '0');
        }
        *ret = value;
        return true;
}

static bool one_of(const char **at, const char *end, const char *set)
{
        if (*at == end || !memchr(set, **at, strlen(set)))
                return false;
        (*at)++;
        return true;
}

static bool valid_date(unsigned year, unsigned month, unsigned day)
{
        static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        return month >= 1 && month <= 12 && day >= 1 && day <= lengths[month - 1] + (unsigned)(month == 2 && leap);
}

/* "Z" or "+01:30", up to the end of the text → minutes east of UTC. */
static bool parse_offset(const char *at, const char *end, int *ret_minutes)
{
        unsigned hours, minutes;
        int sign;

        if (one_of(&at, end, "Zz")) {
                *ret_minutes = 0;
                return at == end;
        }
        sign = at < end && *at == '-' ? -1 : 1;
        if (!one_of(&at, end, "+-") || !digits(&at, end, 2, &hours) || !one_of(&at, end, ":") || !digits(&at, end, 2, &minutes) ||
            hours > 23 || minutes > 59 || at != end)
                return false;
        *ret_minutes = sign * (int)(hours * 60 + minutes);
        return true;
}

bool clock_parse_rfc3339(struct span text, bool date_only, int64_t *ret_wall_ms)
{
        const char *at, *end;
        unsigned year, month, day, hour, minute, second, ms = 0, weight = 100;
        int offset;

        if (text.len == 0)
                return false;
        at = text.data;
        end = text.data + text.len;
        if (!digits(&at, end, 4, &year) || !one_of(&at, end, "-") || !digits(&at, end, 2, &month) || !one_of(&at, end, "-") ||
            !digits(&at, end, 2, &day) || !valid_date(year, month, day))
                return false;
        if (at == end && date_only) {
                *ret_wall_ms = days_of(year, month, day) * 86400000;
                return true;
        }
        if (!one_of(&at, end, "Tt ") || !digits(&at, end, 2, &hour) || !one_of(&at, end, ":") || !digits(&at, end, 2, &minute) ||
            !one_of(&at, end, ":") || !digits(&at, end, 2, &second) || hour > 23 || minute > 59 || second > 60)
                return false;
        if (one_of(&at, end, ".")) {
                const char *first = at;

                for (; at < end && *at >= '0' && *at <= '9'; at++, weight /= 10)
                        ms += (unsigned)(*at - '0') * weight;
                if (at == first)
                        return false;
        }
        if (!parse_offset(at, end, &offset))
                return false;
        *ret_wall_ms = ((days_of(year, month, day) * 24 + hour) * 60 + minute - offset) * 60000 + second * 1000 + ms;
        return true;
}

bool clock_parse_duration(struct span text, int64_t *ret_ms)
{
        static const struct {
                const char *unit;
                int64_t ms;
        } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
        int64_t value = 0;
        size_t i = 0;

        for (; i < text.len && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
                if (i >= 9)
                        return false;
                value = value * 10 + (text.data[i] - '0');
        }
        if (i == 0)
                return false;
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
                if (span_is((struct span){text.data + i, text.len - i}, units[u].unit)) {
                        *ret_ms = value * units[u].ms;
                        return true;
                }
        }
        return false;
}
