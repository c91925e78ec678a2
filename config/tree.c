/* libyaml's events → nodes. libyaml's own document loader is not used: it resolves aliases without a bound and forgets where they
 * stood. Failure modes: a syntax fault ends the reading (libyaml cannot go on), all others are noted and passed over. */
#include "config/tree.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct tree_memory {
        struct tree_memory *next;
        size_t bytes;
        _Alignas(16) char data[];
};

struct level {
        struct node *node; /* map or list */
        struct node *last; /* child */
        struct node *key;  /* a map's key that waits for its value */
};

struct reader {
        struct tree *tree;
        struct faults *faults;
        struct level levels[TREE_DEPTH_MAX];
        size_t depth;
        size_t nodes;
        int documents;
        bool failed;
};

static void *tree_alloc(struct tree *tree, size_t bytes)
{
        struct tree_memory *memory = calloc(1, sizeof *memory + bytes);

        if (!memory)
                return NULL;
        memory->bytes = bytes;
        memory->next = tree->memory;
        tree->memory = memory;
        return memory->data;
}

void tree_fini(struct tree *tree)
{
        struct tree_memory *next;

        for (struct tree_memory *memory = tree->memory; memory; memory = next) {
                next = memory->next;
                explicit_bzero(memory->data, memory->bytes);
                free(memory);
        }
        *tree = (struct tree){0};
}

static void stop(struct reader *reader, unsigned line, const char *what)
{
        if (!reader->failed)
                faults_add(reader->faults, line, "", "%s", what);
        reader->failed = true;
}

static struct node *new_node(struct reader *reader, enum node_type type, unsigned line, struct span text)
{
        struct node *node;
        char *copy;

        if (reader->nodes++ >= TREE_NODES_MAX) {
                stop(reader, line, "there is too much in this file");
                return NULL;
        }
        node = tree_alloc(reader->tree, sizeof *node + text.len + 1);
        if (!node) {
                stop(reader, line, "memory is out");
                return NULL;
        }
        copy = (char *)(node + 1);
        if (text.len)
                memcpy(copy, text.data, text.len);
        node->type = type;
        node->line = line;
        node->text = (struct span){copy, text.len};
        return node;
}

/* Hangs a node where it belongs: as the root, a list's element, a map's key or that key's value. */
static void attach(struct reader *reader, struct node *node)
{
        struct level *level = reader->depth ? &reader->levels[reader->depth - 1] : NULL;

        if (!level) {
                reader->tree->root = node;
                return;
        }
        if (level->key) {
                level->key->value = node;
                level->key = NULL;
                return;
        }
        if (level->node->count >= TREE_CHILDREN_MAX) {
                stop(reader, node->line, "there are too many entries here");
                return;
        }
        if (level->node->type == NODE_MAP) {
                if (node->type == NODE_MAP || node->type == NODE_LIST)
                        faults_add(reader->faults, node->line, "", "a key must be a plain word");
                level->key = node;
        }
        level->node->count++;
        if (level->last)
                level->last->next = node;
        else
                level->node->first = node;
        level->last = node;
}

static unsigned line_of(const yaml_event_t *event)
{
        return event->start_mark.line < UINT_MAX ? (unsigned)event->start_mark.line + 1 : UINT_MAX;
}

static void take_scalar(struct reader *reader, const yaml_event_t *event)
{
        struct span text = {(const char *)event->data.scalar.value, event->data.scalar.length};
        struct node *node = new_node(reader, NODE_SCALAR, line_of(event), text);

        if (!node)
                return;
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        if (event->data.scalar.tag) {
                faults_add(reader->faults, node->line, "", "tags (\"!…\") have no meaning here");
                node->type = NODE_BAD;
        }
        attach(reader, node);
}

static void take_alias(struct reader *reader, const yaml_event_t *event)
{
        struct node *node = new_node(reader, NODE_BAD, line_of(event), SPAN(""));

        if (!node)
                return;
        faults_add(reader->faults, node->line, "", "aliases (\"*…\") are not read here: write it out");
        attach(reader, node);
}

static void take_start(struct reader *reader, const yaml_event_t *event, enum node_type type, const yaml_char_t *tag)
{
        unsigned line = line_of(event);
        struct node *node;

        if (reader->depth >= TREE_DEPTH_MAX) {
                stop(reader, line, "nested too deeply");
                return;
        }
        node = new_node(reader, type, line, SPAN(""));
        if (!node)
                return;
        if (tag)
                faults_add(reader->faults, line, "", "tags (\"!…\") have no meaning here");
        attach(reader, node);
        reader->levels[reader->depth++] = (struct level){.node = node};
}

static void take(struct reader *reader, const yaml_event_t *event)
{
        switch (event->type) {
        case YAML_DOCUMENT_START_EVENT:
                if (reader->documents++)
                        stop(reader, line_of(event), "only one document (\"---\") may stand in this file");
                break;
        case YAML_SCALAR_EVENT:
                take_scalar(reader, event);
                break;
        case YAML_ALIAS_EVENT:
                take_alias(reader, event);
                break;
        case YAML_MAPPING_START_EVENT:
                take_start(reader, event, NODE_MAP, event->data.mapping_start.tag);
                break;
        case YAML_SEQUENCE_START_EVENT:
                take_start(reader, event, NODE_LIST, event->data.sequence_start.tag);
                break;
        case YAML_MAPPING_END_EVENT:
        case YAML_SEQUENCE_END_EVENT:
                reader->depth--;
                break;
        default:
                break;
        }
}

/* An encoding fault has no mark, but an offset. */
static void note_syntax_fault(struct reader *reader, const yaml_parser_t *parser, struct span text)
{
        size_t line = parser->problem_mark.line + 1;
        const char *problem = parser->problem ? parser->problem : "memory is out";

        if (parser->error == YAML_READER_ERROR) {
                line = 1;
                for (size_t i = 0; i < parser->problem_offset && i < text.len; i++)
                        line += text.data[i] == '\n';
        }
        faults_add(reader->faults, line < UINT_MAX ? (unsigned)line : UINT_MAX, "", "not YAML: %s", problem);
        reader->failed = true;
}

static void wipe_event(yaml_event_t *event)
{
        if (event->type == YAML_SCALAR_EVENT && event->data.scalar.value)
                explicit_bzero(event->data.scalar.value, event->data.scalar.length);
        yaml_event_delete(event);
}

int tree_parse(struct tree *tree, struct span text, struct faults *faults)
{
        struct reader reader = {.tree = tree, .faults = faults};
        yaml_parser_t parser;
        bool more = true;

        *tree = (struct tree){0};
        if (text.len > TREE_TEXT_BYTES_MAX) {
                faults_add(faults, 0, "", "larger than 1 MiB");
                return -1;
        }
        if (!yaml_parser_initialize(&parser)) {
                faults_add(faults, 0, "", "memory is out");
                return -1;
        }
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&parser, (const unsigned char *)(text.len ? text.data : ""), text.len);
        while (more && !reader.failed) { /* bounded: each event takes text away, or ends the stream */
                yaml_event_t event;

                if (!yaml_parser_parse(&parser, &event)) {
                        note_syntax_fault(&reader, &parser, text);
                        break;
                }
                more = event.type != YAML_STREAM_END_EVENT;
                take(&reader, &event);
                wipe_event(&event);
        }
        yaml_parser_delete(&parser);
        return reader.failed ? -1 : 0;
}

bool node_is_null(const struct node *node)
{
        return node->type == NODE_SCALAR && node->plain &&
                (node->text.len == 0 || span_is(node->text, "~") || span_is(node->text, "null"));
}

bool node_is_bool(const struct node *node, bool *ret_value)
{
        bool yes = span_is(node->text, "true");

        if (node->type != NODE_SCALAR || !node->plain || (!yes && !span_is(node->text, "false")))
                return false;
        *ret_value = yes;
        return true;
}

static size_t digits(const char *s)
{
        return strspn(s, "0123456789");
}

/* [+-]? (0 | [1-9][0-9]*), then with fraction set (. [0-9]*)? ([eE] [+-]? [0-9]+)? and nothing behind it. */
static bool is_decimal(const char *s, size_t len, bool fraction)
{
        const char *end = s + len;
        size_t whole;

        if (*s == '+' || *s == '-')
                s++;
        whole = digits(s);
        if (whole == 0 || (whole > 1 && *s == '0'))
                return false;
        s += whole;
        if (fraction && *s == '.') {
                s++;
                s += digits(s);
        }
        if (fraction && (*s == 'e' || *s == 'E')) {
                s++;
                if (*s == '+' || *s == '-')
                        s++;
                if (digits(s) == 0)
                        return false;
                s += digits(s);
        }
        return s == end;
}

bool node_is_integer(const struct node *node, int64_t *ret_value)
{
        long long value;

        if (node->type != NODE_SCALAR || !node->plain || node->text.len > 32 || !is_decimal(node->text.data, node->text.len, false))
                return false;
        errno = 0;
        value = strtoll(node->text.data, NULL, 10);
        if (errno)
                return false;
        *ret_value = value;
        return true;
}

bool node_is_number(const struct node *node, double *ret_value)
{
        double value;

        if (node->type != NODE_SCALAR || !node->plain || node->text.len > 64 || !is_decimal(node->text.data, node->text.len, true))
                return false;
        value = strtod(node->text.data, NULL);
        if (!isfinite(value))
                return false;
        *ret_value = value;
        return true;
}

bool node_is_string(const struct node *node)
{
        bool flag;

        if (node->type != NODE_SCALAR)
                return false;
        return !node->plain ||
                (!node_is_null(node) && !node_is_bool(node, &flag) && !is_decimal(node->text.data, node->text.len, true));
}
