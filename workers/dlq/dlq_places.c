/* Open addressing with linear probing, at most two thirds full; nothing is ever removed. Topics are kept once. */
#include "workers/dlq/dlq_places.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 64, TOPICS_MAX = 1024 };

struct slot {
        struct place place;
        bool taken;
};

struct places {
        struct slot *slots; /* [slot_count], a power of two */
        size_t slot_count, count, count_max;
        char *topics[TOPICS_MAX];
        size_t topic_count;
};

struct places *places_new(size_t count_max)
{
        struct places *places = calloc(1, sizeof *places);

        if (!places)
                return NULL;
        places->count_max = count_max;
        places->slot_count = SLOTS_MIN;
        places->slots = calloc(SLOTS_MIN, sizeof *places->slots);
        if (!places->slots) {
                free(places);
                return NULL;
        }
        return places;
}

void places_free(struct places *places)
{
        if (!places)
                return;
        for (size_t i = 0; i < places->topic_count; i++)
                free(places->topics[i]);
        free(places->slots);
        free(places);
}

static size_t slot_of(const struct places *places, uint16_t topic, int32_t partition, int64_t offset)
{
        uint64_t hash = (uint64_t)offset * 0x9e3779b97f4a7c15u ^ (uint64_t)(uint32_t)partition * 0xbf58476d1ce4e5b9u ^
                        (uint64_t)topic * 0x94d049bb133111ebu;
        size_t at;

        hash ^= hash >> 31;
        for (at = (size_t)hash & (places->slot_count - 1); places->slots[at].taken; at = (at + 1) & (places->slot_count - 1)) {
                const struct place *place = &places->slots[at].place;

                if (place->offset == offset && place->partition == partition && place->topic == topic)
                        break;
        }
        return at;
}

/* The topic's number, topic_count where it is not known. */
static size_t topic_of(const struct places *places, const char *topic)
{
        size_t i = 0;

        while (i < places->topic_count && strcmp(places->topics[i], topic) != 0)
                i++;
        return i;
}

struct place *places_find(const struct places *places, const char *topic, int32_t partition, int64_t offset)
{
        const size_t number = topic_of(places, topic);
        struct slot *slot;

        if (number == places->topic_count)
                return NULL;
        slot = &places->slots[slot_of(places, (uint16_t)number, partition, offset)];
        return slot->taken ? &slot->place : NULL;
}

static bool grow(struct places *places)
{
        struct places larger = *places;

        larger.slot_count *= 2;
        larger.slots = calloc(larger.slot_count, sizeof *larger.slots);
        if (!larger.slots)
                return false;
        for (size_t i = 0; i < places->slot_count; i++) {
                const struct place *place = &places->slots[i].place;

                if (places->slots[i].taken)
                        larger.slots[slot_of(&larger, place->topic, place->partition, place->offset)] = places->slots[i];
        }
        free(places->slots);
        places->slots = larger.slots;
        places->slot_count = larger.slot_count;
        return true;
}

struct place *places_put(struct places *places, const char *topic, int32_t partition, int64_t offset)
{
        const size_t number = topic_of(places, topic);
        struct slot *slot;

        if (number == places->topic_count) {
                if (number == TOPICS_MAX || !(places->topics[number] = strdup(topic)))
                        return NULL;
                places->topic_count++;
        }
        slot = &places->slots[slot_of(places, (uint16_t)number, partition, offset)];
        if (slot->taken)
                return &slot->place;
        if (places->count == places->count_max)
                return NULL;
        if (3 * (places->count + 1) > 2 * places->slot_count) {
                if (!grow(places))
                        return NULL;
                slot = &places->slots[slot_of(places, (uint16_t)number, partition, offset)];
        }
        *slot = (struct slot){.place = {.topic = (uint16_t)number, .partition = partition, .offset = offset}, .taken = true};
        places->count++;
        return &slot->place;
}

size_t places_count(const struct places *places)
{
        return places->count;
}

struct place *places_next(const struct places *places, size_t *at)
{
        while (*at < places->slot_count)
                if (places->slots[(*at)++].taken)
                        return &places->slots[*at - 1].place;
        return NULL;
}

const char *places_topic(const struct places *places, const struct place *place)
{
        return places->topics[place->topic];
}
