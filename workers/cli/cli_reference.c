#include <stdio.h>

#include "config/reference.h"
#include "workers/cli/commands.h"

static int run(struct arguments *arguments)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, REFERENCE_BYTES_MAX);
        reference_render(&out);
        if (!buffer_ok(&out))
                return argument_fail(arguments, EXIT_FAILED, "the reference has more than %d bytes", REFERENCE_BYTES_MAX);
        fwrite(out.data, 1, out.len, stdout);
        return EXIT_DONE;
}

const struct command command_reference = {
        .name = "config-reference",
        .summary = "Print the configuration reference (config/REFERENCE.md).",
        .usage = "",
        .details = "",
        .example = "  millrace config-reference > config/REFERENCE.md\n",
        .run = run,
        .hidden = true,
};
