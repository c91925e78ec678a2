#!/usr/bin/env bash
# The benchmarks: one worker of kind embed beside the sum of its bare parts and, where there is one, a reference worker in Go; all
# in one run and in turn, since this measures ratios: rates and seconds of a busy machine mean little.
#
#   bench.sh [--build DIR] [--records 50000] [--rounds 3] [--cases float-0,base64-0,float-20,base64-20] [--steady 20] [--json FILE]
#
# Starts its own Kafka, Redis and provider stub on free ports, and ends them. PEER_GO=FOLDER: the reference worker's Go source,
# built outside the tree. README.md beside this file says what is measured. Exit: 0 measured, 1 something failed, 2 wrong usage.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here/../system"
for python in ${PYTHON:-} python3 /usr/bin/python3; do
        if command -v "$python" > /dev/null && "$python" -c 'import redis' 2> /dev/null; then
                exec "$python" "$here/bench.py" "$@"
        fi
done
echo "bench: python3 with the redis module is needed: make deps installs it" >&2
exit 1
