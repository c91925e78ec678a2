/* The snapshot file. All integers are little-endian, as this machine's are.
 *
 *      magic "MRSNAP\0\1"
 *      frame*   = type u32, length u32, payload, checksum u64 (FNV-1a, mixed with type, length and the frame's number)
 *
 *      'H' header    collection, version, dimensions, metric, embedder, identity, newest timestamp
 *      'P' position  partition, next offset
 *      'D' document  key, flags, live version, wanted version, wanted chunks, number of live chunks
 *      'C' chunk     of the document before it; its live ones first, by n, then staged ones
 *      'E' end       how many documents and chunks came before it
 *
 * Terms and the FAISS index are made again when it is loaded: only what can't be derived is kept. A file is taken whole or not
 * at all. Written as snapshot.part, synced, renamed, the folder synced: a crash leaves the old one or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "config/base/digest.h"
#include "config/base/own.h"
#include "retrieval/collection_state.h"

enum { FRAME_BYTES_MAX = 64 << 20, PATH_BYTES_MAX = 4096, FORMAT = 1 };
enum { FLAG_LIVE = 1, FLAG_WANTED = 2 };
static const char magic[8] = "MRSNAP\0\1";

/* ---- What is written: taken under the apply lock, written without any */

struct kept_document {
        char *key;
        size_t key_len;
        uint32_t flags;
        int64_t live_version, wanted_version, wanted_chunks;
        struct stored_chunk **chunks; /* a reference each; live ones first */
        size_t live_count, count;
};

struct kept {
        struct kept_document *documents;
        size_t document_count, chunk_count;
        struct collection_position *positions;
        size_t position_count;
        int64_t indexed_at_ms;
};

static void kept_fini(struct kept *kept)
{
        for (size_t i = 0; i < kept->document_count; i++) {
                for (size_t c = 0; c < kept->documents[i].count; c++)
                        stored_chunk_unref(kept->documents[i].chunks[c]);
                free(kept->documents[i].chunks);
                free(kept->documents[i].key);
        }
        free(kept->documents);
        free(kept->positions);
}

static bool keep_document(const struct collection *collection, const struct document *document, struct kept_document *kept)
{
        size_t count = document->slot_count;
        const struct staged_version *version;
        const struct staged_chunk *staged;

        for (version = document->staged; version; version = version->next)
                count += HASH_COUNT(version->chunks);
        *kept = (struct kept_document){
                .key = malloc(document->key_len + 1),
                .key_len = document->key_len,
                .flags = (document->live ? FLAG_LIVE : 0u) | (document->wanted ? FLAG_WANTED : 0u),
                .live_version = document->live_version,
                .wanted_version = document->wanted_version,
                .wanted_chunks = document->wanted_chunks,
                .chunks = calloc(count + 1, sizeof(struct stored_chunk *)),
                .live_count = document->slot_count,
        };
        if (!kept->key || !kept->chunks)
                return false;
        memcpy(kept->key, document->key, document->key_len);
        for (size_t n = 0; n < document->slot_count; n++)
                kept->chunks[kept->count++] = stored_chunk_ref(collection->chunks[document->slots[n]]);
        for (version = document->staged; version; version = version->next)
                for (staged = version->chunks; staged; staged = staged->hh.next)
                        kept->chunks[kept->count++] = stored_chunk_ref(staged->chunk);
        return true;
}

static bool keep(struct collection *collection, struct kept *kept)
{
        bool ok;

        pthread_mutex_lock(&collection->apply_lock);
        kept->documents = calloc(HASH_COUNT(collection->documents) + 1, sizeof *kept->documents);
        kept->positions = calloc(COLLECTION_PARTITIONS_MAX, sizeof *kept->positions);
        ok = kept->documents && kept->positions;
        for (const struct document *document = collection->documents; ok && document; document = document->hh.next) {
                ok = keep_document(collection, document, &kept->documents[kept->document_count++]);
                kept->chunk_count += kept->documents[kept->document_count - 1].count;
        }
        if (ok)
                kept->position_count = collection_positions(collection, kept->positions, COLLECTION_PARTITIONS_MAX);
        pthread_mutex_lock(&collection->positions_lock);
        kept->indexed_at_ms = collection->indexed_at_ms;
        pthread_mutex_unlock(&collection->positions_lock);
        pthread_mutex_unlock(&collection->apply_lock);
        return ok;
}

/* ---- Writing */

struct writer {
        FILE *file;
        struct buffer payload;
        uint64_t frames;
};

static void put_u32(struct buffer *out, uint32_t value)
{
        buffer_add(out, &value, sizeof value);
}

static void put_i64(struct buffer *out, int64_t value)
{
        buffer_add(out, &value, sizeof value);
}

static void put_bytes(struct buffer *out, struct span s)
{
        put_u32(out, (uint32_t)s.len);
        buffer_span(out, s);
}

static uint64_t checksum(struct span payload, uint32_t type, uint64_t number)
{
        uint64_t sum = digest_fnv1a(payload);

        sum ^= (number + 1) * 0x9e3779b97f4a7c15u;
        sum ^= ((uint64_t)type << 32 | (uint32_t)payload.len) * 0xff51afd7ed558ccdu;
        return sum;
}

/* Ends the frame whose payload was gathered. False: it can't be written. */
static bool write_frame(struct writer *writer, char type)
{
        struct span payload = buffer_view(&writer->payload);
        uint32_t head[2] = {(uint32_t)type, (uint32_t)payload.len};
        uint64_t sum = checksum(payload, head[0], writer->frames++);
        bool ok = buffer_ok(&writer->payload) && fwrite(head, sizeof head, 1, writer->file) == 1 &&
                  (payload.len == 0 || fwrite(payload.data, payload.len, 1, writer->file) == 1) &&
                  fwrite(&sum, sizeof sum, 1, writer->file) == 1;

        buffer_reset(&writer->payload);
        return ok;
}

static int append_json(const char *data, size_t len, void *out)
{
        buffer_add(out, data, len);
        return buffer_ok(out) ? 0 : -1;
}

static bool write_chunk(struct writer *writer, const struct stored_chunk *chunk, size_t dimensions)
{
        struct buffer *out = &writer->payload;
        AUTO_BUFFER metadata = {0};

        buffer_init(&metadata, FRAME_BYTES_MAX);
        if (chunk->metadata && json_dump_callback(chunk->metadata, append_json, &metadata, JSON_COMPACT) < 0)
                return false;
        put_i64(out, chunk->n);
        put_i64(out, chunk->version);
        put_i64(out, chunk->span_from);
        put_i64(out, chunk->span_to);
        put_bytes(out, chunk->title);
        put_bytes(out, chunk->text);
        put_bytes(out, buffer_view(&metadata));
        put_bytes(out, chunk->vector ? (struct span){(const char *)chunk->vector, dimensions * sizeof *chunk->vector} : SPAN(""));
        return buffer_ok(&metadata) && write_frame(writer, 'C');
}

static bool write_document(struct writer *writer, const struct kept_document *document, size_t dimensions)
{
        struct buffer *out = &writer->payload;

        put_bytes(out, (struct span){document->key, document->key_len});
        put_u32(out, document->flags);
        put_i64(out, document->live_version);
        put_i64(out, document->wanted_version);
        put_i64(out, document->wanted_chunks);
        put_i64(out, (int64_t)document->live_count);
        if (!write_frame(writer, 'D'))
                return false;
        for (size_t i = 0; i < document->count; i++)
                if (!write_chunk(writer, document->chunks[i], dimensions))
                        return false;
        return true;
}

static void put_header(struct buffer *out, const struct collection *collection, const char *identity, int64_t indexed_at_ms)
{
        put_u32(out, FORMAT);
        put_bytes(out, span_of(collection->name));
        put_u32(out, (uint32_t)collection->version);
        put_u32(out, (uint32_t)collection->dimensions);
        put_u32(out, (uint32_t)collection->metric);
        put_bytes(out, span_of(collection->embedder ? collection->embedder : ""));
        put_bytes(out, span_of(identity));
        put_i64(out, indexed_at_ms);
}

static bool write_all(struct writer *writer, const struct collection *collection, const char *identity, const struct kept *kept)
{
        bool ok = fwrite(magic, sizeof magic, 1, writer->file) == 1;

        put_header(&writer->payload, collection, identity, kept->indexed_at_ms);
        ok = ok && write_frame(writer, 'H');
        for (size_t i = 0; ok && i < kept->position_count; i++) {
                put_u32(&writer->payload, (uint32_t)kept->positions[i].partition);
                put_i64(&writer->payload, kept->positions[i].offset);
                ok = write_frame(writer, 'P');
        }
        for (size_t i = 0; ok && i < kept->document_count; i++)
                ok = write_document(writer, &kept->documents[i], collection->dimensions);
        put_i64(&writer->payload, (int64_t)kept->document_count);
        put_i64(&writer->payload, (int64_t)kept->chunk_count);
        return ok && write_frame(writer, 'E') && fflush(writer->file) == 0 && fsync(fileno(writer->file)) == 0;
}

/* The folder and those above it. */
static int make_folders(const char *dir)
{
        char path[PATH_BYTES_MAX];
        size_t len = strlen(dir);

        if (len == 0 || len >= sizeof path)
                return -1;
        memcpy(path, dir, len + 1);
        for (size_t i = 1; i <= len; i++) {
                if (path[i] != '/' && path[i] != '\0')
                        continue;
                path[i] = '\0';
                if (mkdir(path, 0777) < 0 && errno != EEXIST)
                        return -1;
                path[i] = dir[i];
        }
        return 0;
}

static int sync_folder(const char *dir)
{
        AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -1 : fsync(fd);
}

static int write_file(const struct collection *collection, const char *identity, const struct kept *kept, const char *part,
                      const char *path)
{
        struct writer writer = {.file = fopen(part, "wbe")};
        bool ok;

        if (!writer.file)
                return -1;
        buffer_init(&writer.payload, FRAME_BYTES_MAX);
        ok = write_all(&writer, collection, identity, kept);
        buffer_fini(&writer.payload);
        ok = fclose(writer.file) == 0 && ok;
        if (ok && rename(part, path) == 0 && sync_folder(collection->dir) == 0)
                return 0;
        return -1;
}

int collection_snapshot(struct collection *collection, const char *identity, struct error *err)
{
        char part[PATH_BYTES_MAX], path[PATH_BYTES_MAX];
        struct kept kept = {0};
        int result = 0;

        if (!collection->dir)
                return error_set(err, CODE_SCHEMA, "the collection has no folder for a snapshot");
        if (snprintf(part, sizeof part, "%s/snapshot.part", collection->dir) >= (int)sizeof part ||
            snprintf(path, sizeof path, "%s/snapshot", collection->dir) >= (int)sizeof path)
                return error_set(err, CODE_INTERNAL, "the snapshot's path is too long");
        if (!keep(collection, &kept))
                result = error_set(err, CODE_INTERNAL, "no memory for a snapshot");
        errno = 0;
        if (result == 0 &&
            (make_folders(collection->dir) < 0 || write_file(collection, identity ? identity : "", &kept, part, path) < 0)) {
                result = error_set(err, CODE_INTERNAL, "the snapshot can't be written: %s", strerror(errno));
                unlink(part);
        }
        kept_fini(&kept);
        return result;
}

/* ---- Loading */

struct reader {
        FILE *file;
        char *payload;
        size_t payload_cap;
        struct span rest; /* of the frame, not read yet */
        bool bad;         /* a field reached beyond the frame */
        uint64_t frames;
        const char *why; /* the file is refused */
};

static bool refuse(struct reader *reader, const char *why)
{
        reader->why = why;
        return false;
}

/* The next frame's payload into rest; its type, 0 on any fault. */
static char read_frame(struct reader *reader)
{
        uint32_t head[2];
        uint64_t sum;

        if (fread(head, sizeof head, 1, reader->file) != 1)
                return (char)refuse(reader, "it is cut short");
        if (head[1] > FRAME_BYTES_MAX)
                return (char)refuse(reader, "a frame's length is beyond reason");
        if (head[1] > reader->payload_cap) {
                free(reader->payload);
                reader->payload = malloc(head[1]);
                reader->payload_cap = reader->payload ? head[1] : 0;
                if (!reader->payload)
                        return (char)refuse(reader, "memory is out");
        }
        if ((head[1] > 0 && fread(reader->payload, head[1], 1, reader->file) != 1) || fread(&sum, sizeof sum, 1, reader->file) != 1)
                return (char)refuse(reader, "it is cut short");
        reader->rest = (struct span){reader->payload, head[1]};
        if (sum != checksum(reader->rest, head[0], reader->frames++) || head[0] > 'Z')
                return (char)refuse(reader, "a checksum does not match");
        return (char)head[0];
}

static struct span get_raw(struct reader *reader, size_t len)
{
        struct span s = {reader->rest.data, len};

        if (len > reader->rest.len) {
                reader->bad = true;
                return SPAN("");
        }
        reader->rest.data += len;
        reader->rest.len -= len;
        return s;
}

static uint32_t get_u32(struct reader *reader)
{
        uint32_t value = 0;
        struct span s = get_raw(reader, sizeof value);

        if (s.len == sizeof value)
                memcpy(&value, s.data, sizeof value);
        return value;
}

static int64_t get_i64(struct reader *reader)
{
        int64_t value = 0;
        struct span s = get_raw(reader, sizeof value);

        if (s.len == sizeof value)
                memcpy(&value, s.data, sizeof value);
        return value;
}

static struct span get_bytes(struct reader *reader)
{
        return get_raw(reader, get_u32(reader));
}

static bool whole_frame(struct reader *reader)
{
        return (!reader->bad && reader->rest.len == 0) || refuse(reader, "a frame has not the fields it should have");
}

static bool load_header(struct reader *reader, struct collection *collection, const char *identity)
{
        bool same = get_u32(reader) == FORMAT;
        struct span found;

        same = span_is(get_bytes(reader), collection->name) && same;
        same = get_u32(reader) == (uint32_t)collection->version && same;
        same = get_u32(reader) == collection->dimensions && same;
        same = get_u32(reader) == (uint32_t)collection->metric && same;
        found = get_bytes(reader);
        same = (!collection->embedder || span_is(found, collection->embedder)) && same;
        found = get_bytes(reader);
        same = (!identity || span_is(found, identity)) && same;
        pthread_mutex_lock(&collection->positions_lock);
        collection->indexed_at_ms = get_i64(reader);
        pthread_mutex_unlock(&collection->positions_lock);
        return whole_frame(reader) && (same || refuse(reader, "it is of another collection, model, cluster or format"));
}

static struct stored_chunk *load_chunk(struct reader *reader, const struct collection *collection, const struct record_key *key)
{
        struct chunk_parts parts = {.tenant = key->tenant, .document = key->document, .dimensions = collection->dimensions};
        struct span metadata, vector;
        AUTO_FREE float *values = NULL; /* aligned */
        double norm;
        struct stored_chunk *chunk;

        parts.n = get_i64(reader);
        parts.version = get_i64(reader);
        parts.span_from = get_i64(reader);
        parts.span_to = get_i64(reader);
        parts.title = get_bytes(reader);
        parts.text = get_bytes(reader);
        metadata = get_bytes(reader);
        vector = get_bytes(reader);
        if (!whole_frame(reader) || parts.n < 0 || parts.n > COLLECTION_CHUNK_N_MAX ||
            (vector.len != 0 && vector.len != collection->dimensions * sizeof *values)) {
                refuse(reader, "a chunk is not well-formed");
                return NULL;
        }
        if (vector.len) {
                values = malloc(vector.len);
                if (values)
                        memcpy(values, vector.data, vector.len);
                if (!values || vector_check(values, collection->dimensions, collection->dimensions, &norm, NULL) < 0) {
                        refuse(reader, "a vector can't be used");
                        return NULL;
                }
                parts.vector = values;
        }
        if (metadata.len && !(parts.metadata = json_loadb(metadata.data, metadata.len, 0, NULL))) {
                refuse(reader, "a chunk's metadata can't be read");
                return NULL;
        }
        chunk = stored_chunk_new(&parts);
        if (!chunk)
                refuse(reader, "memory is out");
        return chunk;
}

/* A 'D' frame has just been read; `*type` is the type of the frame behind the document's last chunk. */
static bool load_document(struct reader *reader, struct collection *collection, uint64_t *chunk_count, char *type,
                          struct error *err)
{
        struct span key = get_bytes(reader);
        uint32_t flags = get_u32(reader);
        int64_t live_version = get_i64(reader), wanted_version = get_i64(reader), wanted_chunks = get_i64(reader);
        int64_t live_count = get_i64(reader);
        struct record_key parsed;
        char key_copy[512];
        struct document *document;
        struct stored_chunk **live, *chunk;
        int64_t count = 0;
        bool ok = true;

        if (!whole_frame(reader) || key.len > sizeof key_copy || live_count < 0 || live_count > COLLECTION_CHUNK_N_MAX + 1 ||
            wanted_chunks < 0 || wanted_chunks > COLLECTION_CHUNK_N_MAX)
                return refuse(reader, "a document is not well-formed");
        memcpy(key_copy, key.data, key.len); /* the frame's bytes give way to the next one's */
        if (!record_key_parse((struct span){key_copy, key.len}, &parsed) || parsed.n >= 0)
                return refuse(reader, "a document's key is not well-formed");
        document = document_get(collection, &parsed);
        live = calloc((size_t)live_count + 1, sizeof(struct stored_chunk *));
        if (!document || !live) {
                free(live);
                return refuse(reader, "memory is out");
        }
        document->wanted = (flags & FLAG_WANTED) != 0;
        document->wanted_version = wanted_version;
        document->wanted_chunks = wanted_chunks;
        while (ok && (*type = read_frame(reader)) == 'C') {
                chunk = load_chunk(reader, collection, &parsed);
                ok = chunk != NULL;
                ++*chunk_count;
                if (ok && count < live_count)
                        live[count++] = chunk;
                else if (ok)
                        ok = document_stage(collection, document, chunk, err) == 0 || refuse(reader, "memory is out");
        }
        if (ok && *type && count < live_count)
                ok = refuse(reader, "a document lacks chunks");
        if (ok && *type && (flags & FLAG_LIVE))
                ok = live_switch(collection, document, live, (size_t)live_count, live_version, -1, 0, err) == 0 ||
                     refuse(reader, "memory is out");
        while (count > 0)
                stored_chunk_unref(live[--count]);
        free(live);
        return ok && *type;
}

static bool load_all(struct reader *reader, struct collection *collection, const char *identity, struct error *err)
{
        char found[sizeof magic], type;
        uint64_t documents = 0, chunks = 0;

        if (fread(found, sizeof found, 1, reader->file) != 1 || memcmp(found, magic, sizeof magic) != 0)
                return refuse(reader, "it is not a snapshot");
        if (read_frame(reader) != 'H')
                return reader->why ? false : refuse(reader, "it has no header");
        if (!load_header(reader, collection, identity))
                return false;
        type = read_frame(reader);
        for (; type == 'P'; type = read_frame(reader)) {
                uint32_t partition = get_u32(reader);
                int64_t offset = get_i64(reader);

                if (!whole_frame(reader) || partition >= COLLECTION_PARTITIONS_MAX || offset < 0)
                        return refuse(reader, "a position is not well-formed");
                collection_move_position(collection, (int32_t)partition, offset);
        }
        for (; type == 'D'; documents++)
                if (!load_document(reader, collection, &chunks, &type, err))
                        return false;
        if (type != 'E')
                return reader->why ? false : refuse(reader, "it holds an unknown frame");
        if ((uint64_t)get_i64(reader) != documents || (uint64_t)get_i64(reader) != chunks || !whole_frame(reader))
                return refuse(reader, "it is not complete");
        return fgetc(reader->file) == EOF || refuse(reader, "something lies behind its end");
}

int collection_open_snapshot(struct collection *collection, const char *identity, bool *ret_loaded, struct error *err)
{
        char path[PATH_BYTES_MAX];
        struct reader reader = {0};
        bool ok;

        *ret_loaded = false;
        if (!collection->dir)
                return 0;
        if (snprintf(path, sizeof path, "%s/snapshot", collection->dir) >= (int)sizeof path)
                return error_set(err, CODE_INTERNAL, "the snapshot's path is too long");
        reader.file = fopen(path, "rbe");
        if (!reader.file) {
                if (errno == ENOENT)
                        return 0;
                return error_set(err, CODE_INDEX_NOT_READY, "the snapshot can't be read: %s", strerror(errno));
        }
        pthread_mutex_lock(&collection->apply_lock);
        ok = load_all(&reader, collection, identity, err);
        pthread_mutex_unlock(&collection->apply_lock);
        fclose(reader.file);
        free(reader.payload);
        if (!ok) {
                collection_clear(collection);
                return error_set(err, CODE_INDEX_NOT_READY, "the snapshot is refused: %s",
                                 reader.why ? reader.why : "memory is out");
        }
        *ret_loaded = true;
        return 0;
}
