#!/usr/bin/env bash
# The chaos run (README.md): the same needs and the same network of its own as the system tests. `run.sh --help` lists the options.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SYSTEM_MAIN="$here/chaos_main.py" exec "$here/../run.sh" "$@"
