#include "config/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/base/own.h"
#include "config/faults.h"

enum { NAME_BYTES_MAX = 128, PATH_BYTES_MAX = 1024 };

static bool is_variable_name(struct span name)
{
        if (name.len == 0 || name.len > NAME_BYTES_MAX)
                return false;
        for (size_t i = 0; i < name.len; i++) {
                char c = name.data[i];
                bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';

                if (!letter && (i == 0 || c < '0' || c > '9'))
                        return false;
        }
        return true;
}

static int fill_variable(struct span name, struct buffer *out, struct error *err)
{
        char text[NAME_BYTES_MAX + 1];
        const char *value;

        if (!is_variable_name(name))
                return error_set(err, CODE_SCHEMA, "${env:…} needs a variable's name of letters, digits and _");
        memcpy(text, name.data, name.len);
        text[name.len] = '\0';
        value = getenv(text);
        if (!value)
                return error_set(err, CODE_SCHEMA, "the environment variable %s is not set", text);
        if (strlen(value) > SECRETS_BYTES_MAX)
                return error_set(err, CODE_SCHEMA, "the environment variable %s holds more than 64 KiB", text);
        buffer_string(out, value);
        return 0;
}

/* At most SECRETS_BYTES_MAX bytes of fd, -1 (errno; EFBIG: more than that) otherwise. */
static ssize_t read_all(int fd, char *into)
{
        size_t len = 0;
        ssize_t n;

        do {
                n = read(fd, into + len, SECRETS_BYTES_MAX + 1 - len);
                if (n > 0)
                        len += (size_t)n;
        } while ((n > 0 && len <= SECRETS_BYTES_MAX) || (n < 0 && errno == EINTR));
        if (n < 0)
                return -1;
        if (len > SECRETS_BYTES_MAX) {
                errno = EFBIG;
                return -1;
        }
        return (ssize_t)len;
}

static int add_content(int fd, const char *shown, struct buffer *out, struct error *err)
{
        size_t before = out->len, len;
        char *into = buffer_reserve(out, SECRETS_BYTES_MAX + 1);
        ssize_t n;

        if (!into)
                return error_set(err, CODE_SCHEMA, "the file %s does not fit any more", shown);
        n = read_all(fd, into);
        if (n < 0 && errno == EFBIG)
                return error_set(err, CODE_SCHEMA, "the file %s holds more than 64 KiB", shown);
        if (n < 0)
                return error_set(err, CODE_SCHEMA, "the file %s cannot be read: %s", shown, strerror(errno));
        len = (size_t)n;
        if (len > 0 && into[len - 1] == '\n')
                len--;
        if (len > 0 && into[len - 1] == '\r')
                len--;
        if (memchr(into, '\0', len))
                return error_set(err, CODE_SCHEMA, "the file %s holds a NUL byte", shown);
        buffer_advance(out, len);
        return out->len == before + len ? 0 : -1;
}

static int fill_file(struct span path, struct buffer *out, struct error *err)
{
        char text[PATH_BYTES_MAX + 1], shown[FAULTS_SHOWN_BYTES];
        AUTO_CLOSE int fd = -1;
        struct stat info;

        if (path.len == 0 || path.len > PATH_BYTES_MAX || memchr(path.data, '\0', path.len))
                return error_set(err, CODE_SCHEMA, "${file:…} needs a path of 1…%d bytes", PATH_BYTES_MAX);
        memcpy(text, path.data, path.len);
        text[path.len] = '\0';
        faults_show(path, shown);
        fd = open(text, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return error_set(err, CODE_SCHEMA, "the file %s cannot be opened: %s", shown, strerror(errno));
        if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
                return error_set(err, CODE_SCHEMA, "%s is not a regular file", shown);
        return add_content(fd, shown, out, err);
}

int secrets_fill(struct span text, struct buffer *out, bool *ret_filled, struct error *err)
{
        bool filled = false;

        for (size_t at = 0; at < text.len;) {
                struct span rest = {text.data + at, text.len - at}, word;
                const char *end;
                int status;

                if (rest.len >= 3 && memcmp(rest.data, "$${", 3) == 0) {
                        buffer_string(out, "${");
                        at += 3;
                        continue;
                }
                if (rest.len < 2 || memcmp(rest.data, "${", 2) != 0) {
                        buffer_char(out, *rest.data);
                        at++;
                        continue;
                }
                end = memchr(rest.data, '}', rest.len);
                if (!end)
                        return error_set(err, CODE_SCHEMA, "a \"${\" without its \"}\"");
                word = (struct span){rest.data + 2, (size_t)(end - rest.data) - 2};
                if (word.len >= 4 && memcmp(word.data, "env:", 4) == 0)
                        status = fill_variable((struct span){word.data + 4, word.len - 4}, out, err);
                else if (word.len >= 5 && memcmp(word.data, "file:", 5) == 0)
                        status = fill_file((struct span){word.data + 5, word.len - 5}, out, err);
                else
                        status = error_set(err, CODE_SCHEMA,
                                           "only ${env:NAME} and ${file:PATH} can be filled in (\"$${\" for a plain \"${\")");
                if (status < 0)
                        return -1;
                filled = true;
                at += word.len + 3;
        }
        if (!buffer_ok(out))
                return error_set(err, CODE_SCHEMA, "is too long");
        *ret_filled = filled;
        return 0;
}

void secrets_wipe(struct buffer *buffer)
{
        if (buffer->data)
                explicit_bzero(buffer->data, buffer->cap);
}
