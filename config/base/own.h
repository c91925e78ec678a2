/* Ownership made visible (gcc and clang's cleanup attribute):
 * AUTO_FREE char *s = …; is freed on every path but the one that hands it on with TAKE(s). */
#ifndef CONFIG_BASE_OWN_H
#define CONFIG_BASE_OWN_H

#include <stdlib.h>
#include <unistd.h>

#define AUTO(fini) __attribute__((cleanup(fini)))
#define TAKE(pointer)                                                                                                            \
        __extension__({                                                                                                         \
                __auto_type take_value_ = (pointer);                                                                            \
                (pointer) = NULL;                                                                                               \
                take_value_;                                                                                                    \
        })

static inline void own_free(void *slot)
{
        free(*(void **)slot);
}

static inline void own_close(int *fd)
{
        if (*fd >= 0)
                close(*fd);
}

#define AUTO_FREE AUTO(own_free)
#define AUTO_CLOSE AUTO(own_close)

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
