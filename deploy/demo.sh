#!/usr/bin/env bash
# The main job on the embedded servers: what `make demo` runs after the build.
#
#   1. millrace dev          mock broker, private redis-server, a worker of all kinds; its index in var/demo, wiped at the start
#   2. submit ingest         the handbook (SQLite's documentation), followed to its end
#   3. submit retrieve       each question as a chain retrieve -> rerank -> llm; one has no answer in the handbook
#   4. SIGTERM               and a look whether anything is left running
#
# BUILD=dir: where the binary lies (default build). Works without a terminal. Exit 1: something is not as it should be.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

millrace=${BUILD:-build}/millrace
data_dir=var/demo
handbook=tests/data/handbook
no_answer="I don't have enough information."
start_patience_s=40
stop_patience_s=20

dev_pid=
scratch=$(mktemp -d)

die()
{
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

heading()
{
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
        printf '\n\033[1m%s\033[0m\n' "$*"
    else
        printf '\n%s\n' "$*"
    fi
}

# Ends dev and what it started, on every way out.
stop_dev()
{
    local pid=$dev_pid waited=0

    [[ -n $pid ]] || return 0
    dev_pid=
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && ((waited < stop_patience_s * 10)); do
        sleep 0.1
        waited=$((waited + 1))
    done
    if kill -0 "$pid" 2>/dev/null; then
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        return 1
    fi
    wait "$pid"
}

on_exit()
{
    local status=$?

    trap - EXIT INT TERM
    stop_dev || true
    if ((status != 0 && status < 128)) && [[ -s $scratch/dev.log ]]; then
        printf 'demo: the end of the log of millrace dev:\n' >&2
        tail -n 15 "$scratch/dev.log" >&2
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# member FILE NAME: the first string or number of that name in a file of one-line JSON.
member()
{
    sed -n 's/^.*"'"$2"'": *"\{0,1\}\([^",}]*\).*$/\1/p' "$1" | head -n 1
}

start_dev()
{
    local waited=0

    "$millrace" dev --json --data-dir "$data_dir" >"$scratch/dev.out" 2>"$scratch/dev.log" &
    dev_pid=$!
    until [[ -s $scratch/dev.out ]]; do
        kill -0 "$dev_pid" 2>/dev/null || die "millrace dev ended at once"
        ((waited < start_patience_s * 10)) || die "millrace dev is not ready after $start_patience_s s"
        sleep 0.1
        waited=$((waited + 1))
    done
    head -n 1 "$scratch/dev.out" >"$scratch/dev.json"
    kafka=$(member "$scratch/dev.json" kafka)
    redis=$(member "$scratch/dev.json" redis)
    [[ -n $kafka && -n $redis ]] || die "millrace dev did not say where it listens"
    [[ $redis == *://* ]] || redis=redis://$redis/0
    servers=(--kafka "$kafka" --redis "$redis")
}

ingest()
{
    "$millrace" submit ingest --collection docs --file "$handbook/documents.jsonl" --wait=100s --json "${servers[@]}" \
        >"$scratch/ingest.json" ||
        die "the handbook was not ingested: $(cat "$scratch/ingest.json")"
    positions=$(sed -n 's/^.*"positions":\({[^}]*}\).*$/\1/p' "$scratch/ingest.json")
    [[ -n $positions ]] || positions={}
    documents=$(member "$scratch/ingest.json" ok)
    seconds=$(member "$scratch/ingest.json" seconds)
    printf '%s documents in %s s\n' "$documents" "$seconds"
}

# ask ID QUERY ANSWERABLE: one chain, its result printed and checked.
ask()
{
    local id=demo-$1 query=$2 answerable=$3 file=$scratch/$1.json

    heading "Q: $query"
    "$millrace" submit retrieve --id "$id" --collection docs --query "$query" --top-k 10 --at-least "$positions" \
        --then '[{"kind":"rerank","top_n":5},{"kind":"llm"}]' --wait=60s --json "${servers[@]}" >"$file" ||
        die "the question was not answered: $(head -c 2000 "$file")"
    "$millrace" result "$id" --redis "$redis"
    grep -o '"cost":{"currency":"USD","amount":[^,}]*' "$file" | head -n 1 | sed 's/^.*://' >>"$scratch/costs"
    grep -o '"timings_ms":{[^}]*}' "$file" | sed -n 's/^.*"total":\([0-9]*\).*$/\1/p' | head -n 1 >>"$scratch/times"
    if grep -qF "\"text\":\"$no_answer\"" "$file"; then
        insufficient=$((insufficient + 1))
        [[ $answerable == true ]] || refused=$((refused + 1))
    elif [[ $answerable != true ]]; then
        die "this question has no answer in the handbook, and yet it got one"
    elif grep -q '"verified":true' "$file"; then
        cited=$((cited + 1))
    fi
    asked=$((asked + 1))
}

ask_all()
{
    local line

    asked=0 cited=0 insufficient=0 refused=0
    : >"$scratch/costs"
    : >"$scratch/times"
    while IFS= read -r line <&3; do
        printf '%s\n' "$line" >"$scratch/question"
        ask "$(member "$scratch/question" id)" "$(sed -n 's/^.*"query": *"\([^"]*\)".*$/\1/p' "$scratch/question")" \
            "$(member "$scratch/question" answerable)"
    done 3<"$handbook/questions.jsonl"
}

summarise()
{
    local cost times

    cost=$(awk '{ sum += $1 } END { printf "%.6f", sum }' "$scratch/costs")
    times=$(sort -n "$scratch/times" |
        awk '{ t[NR] = $1 } END { printf "%d ms in the middle, %d ms at most", t[int((NR + 1) / 2)], t[NR] }')
    heading "Summary"
    printf '  ingested   %s documents in %s s, %s a second\n' "$documents" "$seconds" \
        "$(awk -v n="$documents" -v s="$seconds" 'BEGIN { printf "%.0f", n / (s > 0 ? s : 1) }')"
    printf '  asked      %d questions: %d answered with verified sources, %d without enough information\n' \
        "$asked" "$cited" "$insufficient"
    printf '  latency    %s\n' "$times"
    printf '  cost       $%s (local models cost nothing)\n' "$cost"
    ((refused >= 1)) || die "the question without an answer did not get \"$no_answer\""
}

# Whether the processes and ports of dev are gone.
check_nothing_left()
{
    local children=$1 pid port

    for pid in $children; do
        ! kill -0 "$pid" 2>/dev/null || die "process $pid, started by dev, is still running"
    done
    for port in "${kafka##*:}" "$(sed 's/^.*:\([0-9]*\)[^:]*$/\1/' <<<"$redis")"; do
        ! (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "something still listens on port $port"
    done
}

[[ -x $millrace ]] || die "there is no $millrace; make demo builds it"
rm -rf "$data_dir"
mkdir -p "$data_dir"
heading "Starting the embedded broker, a private Redis and a worker"
start_dev
printf 'kafka %s, redis %s; nothing of it outlives this demo but the index in %s\n' "$kafka" "$redis" "$data_dir"
heading "Ingesting $handbook/documents.jsonl"
ingest
ask_all
summarise
children=$(ps -o pid= --ppid "$dev_pid" || true)
stop_dev || die "millrace dev did not end cleanly"
check_nothing_left "$children"
"$millrace" search docs "How do I make a backup?" --data-dir "$data_dir" --json >/dev/null || die "the index can't be searched"
heading "Everything has ended. Try next"
printf '  %s search docs "How do I make a backup?" --data-dir %s\n' "$millrace" "$data_dir"
printf '  %s dev\n' "$millrace"
printf '  %s submit --help\n' "$millrace"
