"""The commands: exit codes, and JSON where it is asked for."""

import json
import subprocess

import shapes
from servers import until
from world import case


def run(w, *arguments, code=0, config=None, stdin="", **options):
    got, out, err = w.millrace(*arguments, config=config or w.config(), stdin=stdin, **options)
    assert got == code, f"millrace {' '.join(arguments)}: exit {got}, expected {code}\nstdout: {out[-800:]}\nstderr: {err[-800:]}"
    return out


def objects(text):
    """JSON output: one document, or one a line."""
    try:
        value = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return value if isinstance(value, list) else [value]


@case("output that can't be written is a failure, not a success", fleet=False)
def full_disk(w):
    for arguments in (["--help"], ["--version"], ["dlq", "--help"], ["config-reference"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([f"{w.build}/millrace", *arguments], stdout=full, stderr=subprocess.PIPE, timeout=30)
        assert done.returncode == 1 and b"could not be written" in done.stderr, f"{arguments}: exit {done.returncode}, {done.stderr}"


@case("help, version and wrong usage", fleet=False)
def usage(w):
    for arguments in (["--help"], ["--version"], ["submit", "--help"], ["worker", "--help"]):
        code, out, err = w.millrace(*arguments)
        assert code == 0 and len(out) > 20, f"{arguments}: exit {code}, {out}{err}"
    for arguments in (
        [],
        ["sumbit"],
        ["submit"],
        ["submit", "dance"],
        ["result"],
        ["worker", "--knids", "embed"],
        ["check-config"],
        ["search", "docs"],
        ["worker", "--kinds", "dance"],
        ["result", "x", "--config", "/nonexistent.yaml"],
    ):
        code, out, err = w.millrace(*arguments)
        assert code == 2, f"{arguments}: exit {code}\n{out}{err}"
        assert out + err, f"{arguments}: no word about what is wrong"
    assert "submit" in "".join(w.millrace("sumbit")[1:]), "no suggestion for a mistyped command"


@case("a Kafka option that librdkafka does not know, or refuses, is a faulty configuration", fleet=False)
def kafka_options(w):
    for options, word in (
        ({"foo.bar": "1"}, "no such option"),
        ({"session.timeout.ms": "abc"}, "not a valid value"),
        ({"isolation.level": "read_uncommitted"}, "cannot be set"),
    ):
        config = w.config(kafka={"options": options})
        for command in (["check-config", config], ["worker", "--config", config, "--admin", "127.0.0.1:0"]):
            code, out, err = w.millrace(*command)
            assert code == 2 and word in out + err, f"{command}: exit {code}\n{out}{err}"


@case("check-config says ok to a good file, and all faults of a bad one", fleet=False)
def check_config(w):
    code, out, err = w.millrace("check-config", w.config())
    assert code == 0 and "ok" in out, f"exit {code}\n{out}{err}"
    path = f"{w.folder}/bad.yaml"
    with open(path, "w") as file:
        file.write("redis: {url: 5}\nretry:\n  attempts_max: 0\nmodels:\n  - {name: m, kind: embed, provider: nobody, model: x}\n")
    code, out, err = w.millrace("check-config", path)
    assert code == 2 and all(f"bad.yaml:{line}" in out + err for line in (1, 3, 5)), f"exit {code}\n{out}{err}"


@case("submit and result: from the standard input, by options, with --wait, and none yet")
def submit_result(w):
    request_id = w.id("cli")
    run(w, "submit", "embed", "--id", request_id, "--tenant", "acme", "--wait", stdin='{"input":"by the command line"}')
    out = run(w, "result", request_id, "--tenant", "acme", "--json")
    shapes.check_result(json.loads(out), "embed", "ok", request_id, "acme")
    assert request_id in run(w, "result", request_id, "--tenant", "acme", "--wait", "5s")
    run(w, "result", "never-seen", code=3)
    bad = w.id("cli-bad")
    run(w, "submit", "embed", "--id", bad, "--wait", stdin='{"input":"x","model":"gpt-17"}', code=1)
    result = json.loads(run(w, "result", bad, "--json", code=1))
    shapes.check_result(result, "embed", "failed", bad)
    assert w.millrace("submit", "embed", stdin="{nonsense", config=w.config())[0] in (1, 2), "nonsense was taken"


@case("submit --file publishes a request a line")
def submit_file(w):
    ids = [w.id("file") for _ in range(50)]
    path = f"{w.folder}/requests.jsonl"
    with open(path, "w") as file:
        for request_id in ids:
            file.write(json.dumps({"id": request_id, "input": f"text of {request_id}"}) + "\n")
    run(w, "submit", "embed", "--lane", "bulk", "--file", path, "--wait")
    for request_id in ids:
        shapes.check_result(w.stored(request_id), "embed", "ok", request_id)


@case("cancel ends a request that is waiting, and leaves a final result alone")
def cancel(w):
    done = w.ask("embed", {"input": "done already"})
    w.millrace("cancel", done["id"], config=w.config())
    assert w.stored(done["id"]) == done
    request_id = w.publish("embed", {"input": "hangs @@hang@@", "model": "packed"})
    run(w, "cancel", request_id)
    result = w.result(request_id)
    assert result["status"] == "cancelled", result
    assert (result["v"], result["id"], result["tenant"]) == (1, request_id, "default") and shapes.RFC3339_MS.match(
        result["completed_at"]
    ), result
    w.ask("embed", {"input": "the worker goes on"})


@case("dlq lists, counts, shows, exports and replays")
def dlq(w):
    w.stub.control(p5xx=1)
    try:
        request_id = w.publish("embed", {"input": "for the desk", "model": "packed"})
        letter = w.letters_by_key("embed", [request_id], limit_s=40)[request_id]
    finally:
        w.stub.control(p5xx=0)
    place = f"{w.prefix}.embed.dlq:{letter.partition}:{letter.offset}"
    config = w.config()
    assert place in run(w, "dlq", "ls", "--kind", "embed", config=config)
    rows = objects(run(w, "dlq", "ls", "--kind", "embed", "--code", "unavailable", "--json", config=config))
    assert request_id in json.dumps(rows), rows
    assert request_id not in json.dumps(
        objects(run(w, "dlq", "ls", "--kind", "embed", "--code", "schema", "--json", config=config) or "[]")
    )
    stats = run(w, "dlq", "stats", config=config)
    assert "unavailable" in stats, stats
    shown = run(w, "dlq", "show", place, config=config)
    assert "for the desk" in shown and "mr-dlq-error-code" in shown, shown
    assert "for the desk" in run(w, "dlq", "export", "--kind", "embed", "--code", "unavailable", config=config)
    run(w, "dlq", "replay", "--kind", "embed", "--code", "unavailable", "--dry-run", config=config)
    assert w.stored(request_id)["status"] == "failed"
    run(w, "dlq", "replay", "--kind", "embed", "--code", "unavailable", "--grep", request_id, config=config)
    until("the replayed request's result", 20, lambda: w.stored(request_id)["status"] == "ok")
    assert w.stored(request_id)["replays"] == 1


@case("search reads the local index of a worker that has ended", fleet=False, broker="real")
def search(w):
    config = w.config()
    with w.worker(config=config):
        positions = w.ingest([{"id": "otter", "title": "Otters", "text": "Otters hold hands while they sleep."}])
        w.ask("retrieve", {"collection": "docs", "query": "otters", "at_least": positions})
    result = json.loads(run(w, "search", "docs", "otters asleep", "--json", config=config))
    shapes.check_retrieve(result, lag_known=False)
    assert result["hits"] and result["hits"][0]["document"] == "otter", result["hits"][:1]
    assert "Otters hold hands" in run(w, "search", "docs", "otters", config=config)
