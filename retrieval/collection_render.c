/* A search's hits: copied out of the collection, and written as the contract's retrieve result (§4) into the caller's buffer. */
#include "config/base/clock.h"
#include "retrieval/collection_state.h"

/* ---- Copied */

static struct span copy(struct arena *arena, struct span s)
{
        return (struct span){arena_copy(arena, s), s.len};
}

static struct span copy_string_of(struct arena *arena, const json_t *object, const char *name)
{
        const json_t *value = json_object_get(object, name);

        if (!json_is_string(value))
                return SPAN("");
        return copy(arena, (struct span){json_string_value(value), json_string_length(value)});
}

static int append_json(const char *data, size_t len, void *out)
{
        buffer_add(out, data, len);
        return buffer_ok(out) ? 0 : -1;
}

static struct span copy_metadata(struct arena *arena, const json_t *metadata)
{
        AUTO_BUFFER text = {0};
        struct span result = SPAN("{}");

        buffer_init(&text, 16 << 20);
        if (metadata && json_dump_callback(metadata, append_json, &text, JSON_COMPACT) == 0 && buffer_ok(&text))
                result = copy(arena, buffer_view(&text));
        else if (metadata && (buffer_ok(&text) || buffer_fault(&text) == CODE_INTERNAL))
                arena_starve(arena); /* a hit without its metadata would look right */
        return result;
}

static struct search_part part_of(const struct fusion_item *item, enum fusion_side side)
{
        return (struct search_part){item->side[side].scored, item->side[side].score, item->side[side].normalised,
                                    item->side[side].part};
}

void hit_fill(struct arena *arena, const struct stored_chunk *chunk, const struct fusion_item *item, struct search_hit *hit)
{
        *hit = (struct search_hit){
                .tenant = copy(arena, chunk->tenant),
                .id = copy(arena, chunk->id),
                .title = copy(arena, chunk->title),
                .text = copy(arena, chunk->text),
                .score = item->score,
                .metadata = copy_metadata(arena, chunk->metadata),
                .source_document = copy_string_of(arena, chunk->metadata, "source_document"),
                .section_heading = copy_string_of(arena, chunk->metadata, "section_heading"),
                .page_number = json_integer_value(json_object_get(chunk->metadata, "page_number")),
                .rank_dense = item->side[FUSION_DENSE].rank,
                .rank_sparse = item->side[FUSION_SPARSE].rank,
                .dense = part_of(item, FUSION_DENSE),
                .sparse = part_of(item, FUSION_SPARSE),
        };
        hit->document = (struct span){hit->id.data, chunk->document.len};
}

/* ---- Written */

static const char *const mode_names[] = {"hybrid", "dense", "sparse"};
static const char *const method_names[] = {"cross", "rrf", "zscore"};

static void render_rank(struct buffer *out, const char *name, int rank)
{
        if (rank > 0)
                buffer_printf(out, "\"%s\":%d", name, rank);
        else
                buffer_printf(out, "\"%s\":null", name);
}

static void render_part(struct buffer *out, const char *name, const struct search_part *part)
{
        buffer_printf(out, ",\"%s\":", name);
        if (!part->present) {
                buffer_string(out, "null");
                return;
        }
        buffer_string(out, "{\"score\":");
        buffer_json_double(out, part->score);
        buffer_string(out, ",\"normalised\":");
        buffer_json_double(out, part->normalised);
        buffer_string(out, ",\"part\":");
        buffer_json_double(out, part->part);
        buffer_char(out, '}');
}

static void render_hit(struct buffer *out, const struct search_result *result, const struct search_hit *hit, bool explain)
{
        buffer_string(out, "{\"id\":");
        buffer_json_string(out, hit->id);
        buffer_string(out, ",\"document\":");
        buffer_json_string(out, hit->document);
        buffer_string(out, ",\"title\":");
        buffer_json_string(out, hit->title);
        buffer_string(out, ",\"text\":");
        buffer_json_string(out, hit->text);
        buffer_string(out, ",\"score\":");
        buffer_json_double(out, hit->score);
        buffer_string(out, ",\"metadata\":");
        buffer_span(out, hit->metadata);
        buffer_string(out, ",\"ranks\":{");
        render_rank(out, "dense", hit->rank_dense);
        buffer_char(out, ',');
        render_rank(out, "sparse", hit->rank_sparse);
        buffer_char(out, '}');
        if (explain) {
                buffer_printf(out, ",\"explain\":{\"mode\":\"%s\"", mode_names[result->mode]);
                if (result->mode == SEARCH_HYBRID) {
                        buffer_printf(out, ",\"method\":\"%s\",\"alpha\":", method_names[result->fusion.method]);
                        buffer_json_double(out, result->fusion.alpha);
                        buffer_printf(out, ",\"depth\":%d", result->fusion.depth);
                }
                render_part(out, "dense", &hit->dense);
                render_part(out, "sparse", &hit->sparse);
                buffer_char(out, '}');
        }
        buffer_char(out, '}');
}

void collection_render_result(struct buffer *out, const struct collection *collection, const struct search_result *result,
                              int64_t lag_records, int64_t indexed_at_ms, bool explain)
{
        char indexed_at[CLOCK_RFC3339_BYTES];

        buffer_string(out, "{\"collection\":");
        buffer_json_string(out, span_of(collection->name));
        buffer_printf(out, ",\"index_version\":%d,\"freshness\":{\"lag_records\":", collection->version);
        if (lag_records >= 0)
                buffer_int(out, lag_records);
        else
                buffer_string(out, "null");
        buffer_string(out, ",\"indexed_at\":");
        if (indexed_at_ms > 0) {
                clock_format_rfc3339(indexed_at_ms, indexed_at);
                buffer_json_string(out, span_of(indexed_at));
        } else {
                buffer_string(out, "null");
        }
        buffer_string(out, ",\"positions\":{");
        for (size_t i = 0; i < result->position_count; i++)
                buffer_printf(out, "%s\"%d\":%lld", i ? "," : "", (int)result->positions[i].partition,
                              (long long)result->positions[i].offset);
        buffer_string(out, "}},\"hits\":[");
        for (size_t i = 0; i < result->count; i++) {
                if (i)
                        buffer_char(out, ',');
                render_hit(out, result, &result->hits[i], explain);
        }
        buffer_string(out, "]}");
}
