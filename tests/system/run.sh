#!/usr/bin/env bash
# The system tests: black-box tests of build/millrace against real Kafka, real Redis and a stub provider; they know only the
# contract.
#
#   run.sh [--build DIR] [--only REGEX] [--broker real|dev|both] [--keep] [--verbose]
#
# Needs python3 with the redis module (Debian: python3-redis), kcat, redis-server; for real Kafka Java 17, and Maven once. Where
# unshare allows it they run in a network namespace of their own, so that the default ports of the README are free and nothing
# outside is reached. CI=true makes a skip a failure. The last line is `N passed, N failed`; exit 1 when one failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

python=
for candidate in ${PYTHON:-} python3 /usr/bin/python3; do
        if command -v "$candidate" > /dev/null && "$candidate" -c 'import redis' 2> /dev/null; then
                python=$candidate
                break
        fi
done
lacking=
[ -n "$python" ] || lacking="python3 with the redis module (apt-get install python3-redis)"
for program in kcat redis-server; do
        command -v "$program" > /dev/null || lacking="${lacking:+$lacking, }$program"
done
if [ -n "$lacking" ]; then
        echo "system tests: missing: $lacking; make deps installs it" >&2
        echo "0 passed, 1 failed"
        exit 1
fi

main=${SYSTEM_MAIN:-$here/main.py} # chaos/run.sh names its own
arguments=("$@")
if ! fault=$("$here/kafka.sh" fetch 2>&1); then
        arguments+=(--no-kafka "${fault:-kafka.sh fetch failed}")
fi
export PYTHONDONTWRITEBYTECODE=1
for namespace in "unshare --net" "unshare --map-root-user --net"; do
        # shellcheck disable=SC2086
        if $namespace true 2> /dev/null; then
                exec $namespace "$python" "$here/loopback.py" "$python" "$main" --isolated "${arguments[@]}"
        fi
done
exec "$python" "$main" "${arguments[@]}"
