/* What the stub says, as a pure function of a request and a fault: see provider_stub.c's head for the formulas and the fault names.
 * */
#ifndef TESTS_FAKES_STUB_ANSWER_H
#define TESTS_FAKES_STUB_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/fakes/stub_bytes.h"
#include "tests/fakes/stub_request.h"

enum { STUB_DIMENSIONS_MAX = 8192 };

enum stub_route { STUB_EMBEDDINGS, STUB_CHAT, STUB_UNKNOWN };

/* Number i of the sequence that belongs to seed (splitmix64). */
uint64_t stub_random(uint64_t seed, uint64_t i);

/* The HTTP status that a fault stands for; 200 for those that spoil the body, 0 for those without an answer. fault NULL: 200. */
int stub_fault_status(const char *fault);

/* The body of an error answer. fault may be NULL: a plain invalid request. */
void stub_answer_error(struct stub_bytes *body, int status, const char *fault);

/* The body of a 200, spoilt as fault says (NULL: not at all). dimensions: 1…STUB_DIMENSIONS_MAX. Returns the tokens charged. */
uint64_t stub_answer_write(struct stub_bytes *body, enum stub_route route, const struct stub_request *request, int dimensions,
                           bool base64, const char *fault);

#endif
