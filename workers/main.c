/* millrace: one binary, many commands; workers/cli/commands.c has the table of them. */
#include "workers/cli/commands.h"

int main(int argc, char **argv)
{
        return cli_main(argc, argv);
}
