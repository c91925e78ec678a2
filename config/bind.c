/* The walk: bind_map takes each key of a map, finds its row in the scope and hands the value to bind_value; before that,
 * bind_defaults has put the defaults of the scope's rows in place. A section stays in its struct, a list's elements each have their
 * own.
 *
 *      scope (in the table)      where (for people)        into
 *      ""                        ""                        struct settings
 *      "worker"                  "worker"                  the same
 *      "models[]"                "models[2]"               struct model_settings
 *      "models[].price"          "models[2].price"         the same
 */
#include "config/bind.h"

#include <string.h>

#include "config/bind_values.h"
#include "config/settings_build.h"

void bind_init(struct binder *binder, struct settings *settings, struct faults *faults, struct arena *arena)
{
        *binder = (struct binder){.settings = settings, .faults = faults, .arena = arena};
        buffer_init(&binder->scratch, BIND_SCRATCH_BYTES_MAX);
}

void bind_fini(struct binder *binder)
{
        secrets_wipe(&binder->scratch);
        buffer_fini(&binder->scratch);
}

const struct place *bind_place(const struct binder *binder, const void *variable)
{
        const struct place *found = NULL;

        for (const struct place *place = binder->first; place; place = place->next)
                if (place->variable == variable)
                        found = place;
        return found;
}

static const char *member_path(struct binder *binder, const char *where, struct span key)
{
        char shown[FAULTS_SHOWN_BYTES];
        const char *path = arena_printf(binder->arena, "%s%s%s", where, *where ? "." : "", faults_show(key, shown));

        return path ? path : where;
}

/* Notes a key that stands twice, or is no word. */
static bool check_key(struct binder *binder, const struct node *map, const struct node *key, const char *path)
{
        if (key->type != NODE_SCALAR)
                return false;
        for (const struct node *other = map->first; other != key; other = other->next) {
                if (other->type == NODE_SCALAR && span_equal(other->text, key->text)) {
                        faults_add(binder->faults, key->line, path, "given twice, first in line %u", other->line);
                        return false;
                }
        }
        return key->value != NULL;
}

static void bind_pairs(struct binder *binder, const struct target *target)
{
        size_t *count = bind_count(target);
        struct setting_pair *pairs;

        if (target->node->type != NODE_MAP) {
                FAULT(binder, target, "must be a map");
                return;
        }
        if ((double)target->node->count > target->option->max) {
                FAULT(binder, target, "must hold at most %.0f entries", target->option->max);
                return;
        }
        pairs = settings_alloc(binder->settings, target->node->count * sizeof *pairs);
        if (!pairs) {
                bind_no_memory(binder);
                return;
        }
        *(struct setting_pair **)bind_variable(target) = pairs;
        *count = 0;
        for (const struct node *key = target->node->first; key; key = key->next) {
                struct node as_string = {0};
                struct target element = {target->option, &as_string, member_path(binder, target->where, key->text), target->into,
                                         NULL};
                struct setting_pair *pair = &pairs[*count];
                bool filled;

                if (!check_key(binder, target->node, key, element.where) || key->value->type == NODE_BAD)
                        continue;
                as_string = *key->value;
                as_string.plain =
                        as_string.plain && node_is_null(key->value); /* numbers and booleans are as good as strings here */
                pair->key = settings_copy(binder->settings, key->text);
                pair->value = pair->key ? bind_take_string(binder, &element, &filled) : NULL;
                if (pair->value && bind_keep_place(binder, &element, pair))
                        ++*count;
        }
}

static void bind_map(struct binder *binder, const struct node *map, const char *scope, const char *where, void *into);

static void check_unique(struct binder *binder, const struct target *target, const char *scope, const char *items, size_t index)
{
        const struct option *name_row = options_find(scope, SPAN("name"));
        const size_t bytes = target->option->item_bytes;
        const char *name, *other;
        const struct place *place;

        if (!name_row)
                return;
        name = *(char *const *)(const void *)(items + index * bytes + name_row->at);
        for (size_t i = 0; name && i < index; i++) {
                other = *(char *const *)(const void *)(items + i * bytes + name_row->at);
                if (!other || strcmp(name, other) != 0)
                        continue;
                place = bind_place(binder, items + index * bytes + name_row->at);
                faults_add(binder->faults, place ? place->line : 0, place ? place->path : "", "the name of %s[%zu] too",
                           target->where, i);
                return;
        }
}

static void bind_list(struct binder *binder, const struct target *target)
{
        const struct option *option = target->option;
        size_t *count = bind_count(target);
        const char *scope = arena_printf(binder->arena, "%s[]", option->path);
        char *items;

        if (!scope || !bind_check_list(binder, target))
                return;
        items = settings_alloc(binder->settings, (target->node->count + option->spare) * option->item_bytes);
        if (!items) {
                bind_no_memory(binder);
                return;
        }
        *(void **)bind_variable(target) = items;
        *count = 0;
        for (const struct node *node = target->node->first; node; node = node->next) {
                const char *where = bind_element_path(binder, target->where, *count);
                void *item = items + *count * option->item_bytes;

                ++*count;
                bind_defaults(binder, scope, item);
                if (node->type == NODE_MAP) {
                        bind_map(binder, node, scope, where, item);
                        check_unique(binder, target, scope, items, *count - 1);
                } else if (node->type != NODE_BAD) {
                        faults_add(binder->faults, node->line, where, "must be a map");
                }
        }
}

static void bind_value(struct binder *binder, struct target *target)
{
        if (target->option->type != OPTION_SECTION && target->option->type != OPTION_REFUSED)
                target->place = bind_keep_place(binder, target, bind_variable(target));
        switch (target->option->type) {
        case OPTION_SECTION:
                if (target->node->type == NODE_MAP)
                        bind_map(binder, target->node, target->option->path, target->where, target->into);
                else
                        FAULT(binder, target, "must be a map");
                break;
        case OPTION_LIST:
                bind_list(binder, target);
                break;
        case OPTION_PAIRS:
                bind_pairs(binder, target);
                break;
        case OPTION_REFUSED:
                FAULT(binder, target, "%s", target->option->prose);
                break;
        default:
                bind_simple(binder, target);
                break;
        }
}

/* Sections and lists whose content is commented out: as if they were absent. */
static bool is_left_empty(const struct option *option, const struct node *node)
{
        return (option->type == OPTION_SECTION || option->type == OPTION_LIST || option->type == OPTION_PAIRS) &&
                node_is_null(node);
}

static void refuse_key(struct binder *binder, const char *scope, const char *where, const struct node *key)
{
        struct span near = options_suggest(scope, key->text);
        const char *path = member_path(binder, where, key->text);

        if (near.data)
                faults_add(binder->faults, key->line, path, "unknown key; did you mean %.*s?", (int)near.len, near.data);
        else
                faults_add(binder->faults, key->line, path, "unknown key");
}

static void bind_map(struct binder *binder, const struct node *map, const char *scope, const char *where, void *into)
{
        for (const struct node *key = map->first; key; key = key->next) {
                struct target target = {.into = into, .node = key->value};

                if (key->type != NODE_SCALAR)
                        continue;
                target.option = options_find(scope, key->text);
                if (!target.option) {
                        refuse_key(binder, scope, where, key);
                        continue;
                }
                target.where = member_path(binder, where, key->text);
                if (!check_key(binder, map, key, target.where) || target.node->type == NODE_BAD)
                        continue;
                if (!is_left_empty(target.option, target.node))
                        bind_value(binder, &target);
        }
        for (size_t i = 0; i < option_count; i++) {
                bool given = false;
                struct span name;

                if (binder->partial || !options[i].required || !options_below(&options[i], scope, &name))
                        continue;
                for (const struct node *key = map->first; key && !given; key = key->next)
                        given = key->type == NODE_SCALAR && span_equal(key->text, name);
                if (!given)
                        faults_add(binder->faults, map->line, member_path(binder, where, name), "is required");
        }
}

/* A default is bound as if it stood in the file, in line 0. */
static void bind_default(struct binder *binder, const struct option *option, void *into)
{
        struct node scalar = {.type = NODE_SCALAR, .plain = true, .text = span_of(option->fallback)};
        struct target target = {.option = option, .node = &scalar, .where = option->path, .into = into};
        AUTO_TREE tree = {0};

        if (*option->fallback == '[') {
                if (tree_parse(&tree, span_of(option->fallback), binder->faults) < 0)
                        return;
                target.node = tree.root;
        }
        bind_value(binder, &target);
}

/* Of a scope and the sections below it; not of lists' elements, of which there are none yet. */
void bind_defaults(struct binder *binder, const char *scope, void *into)
{
        size_t len = strlen(scope);

        for (size_t i = 0; i < option_count; i++) {
                const struct option *option = &options[i];
                const char *rest = option->path + len;

                if (len > 0 && (strncmp(option->path, scope, len) != 0 || *rest != '.'))
                        continue;
                if (strstr(rest, "[]"))
                        continue;
                if (option->type == OPTION_REFERENCE)
                        *(size_t *)(void *)((char *)into + option->at) = SIZE_MAX;
                if (option->fallback)
                        bind_default(binder, option, into);
                else if (option->type == OPTION_INTEGER)
                        bind_store_integer(option, (char *)into + option->at, (int64_t)option->unset);
                else if (option->type == OPTION_CHOICE)
                        bind_store_integer(option, (char *)into + option->at, -1);
                else if (option->type == OPTION_NUMBER)
                        *(double *)(void *)((char *)into + option->at) = option->unset;
        }
}

void bind_all(struct binder *binder, const struct node *root)
{
        bind_defaults(binder, "", binder->settings);
        if (root && root->type != NODE_MAP && !node_is_null(root))
                faults_add(binder->faults, root->line, "", "must be a map of sections: kafka, redis, …");
        else if (root && root->type == NODE_MAP)
                bind_map(binder, root, "", "", binder->settings);
        if (!arena_ok(binder->arena))
                faults_add(binder->faults, 0, "", "there is too much in this file");
}
