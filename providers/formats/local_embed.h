/* local-embed: a text as 384 numbers without a learned model. Texts that share words, word pairs or letter groups point the same way. */
#ifndef PROVIDERS_FORMATS_LOCAL_EMBED_H
#define PROVIDERS_FORMATS_LOCAL_EMBED_H

#include "providers/call.h"

int local_embed(struct call *call, struct error *err);

#endif
