"""Jobs: published once however often the publisher is killed, counted once however often a record is delivered, and stopped by a word."""

import json
import os
import signal
import time

import records
import servers
import shapes
from servers import until
from world import case

COUNT = 5000


def write_lines(w, name, lines):
    path = f"{w.folder}/{name}.jsonl"
    with open(path, "w") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    return path


def servers_of(w):
    return ["--kafka", w.brokers, "--redis", f"redis://127.0.0.1:{w.redis_port}/0"]


def job(w, *arguments, expect=0, config=None):
    config = config or w.config()
    code, out, err = w.millrace("job", *arguments, *servers_of(w), config=config)
    assert code == expect, f"job {' '.join(arguments)}: exit code {code}, expected {expect}\n{out}{err}"
    return out, err


def show(w, name, **options):
    return json.loads(job(w, "show", name, "--json", **options)[0])


def start_in_background(w, name, path, config, *more):
    w.count += 1
    command = [f"{w.build}/millrace", "job", "start", "embed", "--file", path, "--job", name, "--config", config, *servers_of(w), *more]
    program = servers.Program(f"job-{w.count}", w.folder, command)
    w.running.append(program)
    return program


def published(w, name, config):
    code, out, _ = w.millrace("job", "show", name, "--json", *servers_of(w), config=config)
    return json.loads(out).get("published", 0) if code == 0 else 0


def ids_on_topic(w, topic, prefix):
    return [r.key.decode() for r in records.read(w.brokers, topic) if r.key and r.key.decode().startswith(prefix)]


def ended(w, name, config):
    return show(w, name, config=config).get("ended", 0)


@case("5,000 requests as a job: the publisher is killed twice, the worker once; each id has one record and one result", broker="real", fleet=False)
def killed(w):
    name, topic = "backfill-5000", w.topic("embed", "bulk")
    # session.timeout: a dead worker's partitions are free when its session has run out
    config = w.config(worker={"inflight_max": 64, "claim_lease_ms": 1500}, kafka={"options": {"session.timeout.ms": "6000"}})
    path = write_lines(w, name, [{"input": f"{name} text {i}", "model": "packed", "encoding": "base64"} for i in range(COUNT)])
    worker = w.start_worker("--kinds", "embed", config=config)
    for goal in (700, 2500):
        start = start_in_background(w, name, path, config, "--rate", "1500")
        until(f"{goal} are published", 40, lambda: published(w, name, config) >= goal, pause_s=0.02)
        assert start.alive(), f"too late: it has ended\n{start.tail()}"
        start.kill()
        assert published(w, name, config) < COUNT
    worker.signal(signal.SIGKILL)
    worker.kill()
    with w.worker("--kinds", "embed", config=config):
        out, err = job(w, "start", "embed", "--file", path, "--job", name, config=config)
        assert "goes on behind" in err, err
        keys = ids_on_topic(w, topic, f"{name}-")
        assert len(keys) == COUNT and len(set(keys)) == COUNT, f"{len(keys)} records, {len(set(keys))} ids"
        until("all have ended", 90, lambda: ended(w, name, config) >= COUNT, pause_s=0.5)
        told = show(w, name, config=config)
    assert (told["state"], told["ok"], told["ended"], told["published"]) == ("done", COUNT, COUNT, COUNT), told
    assert told["usage"]["input_tokens"] > 0 and told["cost"]["amount"] > 0, told
    for i in range(1, COUNT + 1, 97):
        shapes.check_result(w.stored(f"{name}-{i}"), "embed", "ok", f"{name}-{i}")
    stored = sum(value is not None for value in w.redis.mget([f"mr:{{default:{name}-{i}}}:result" for i in range(1, COUNT + 1)]))
    assert stored == COUNT, stored
    results = [json.loads(w.redis.get(f"mr:{{default:{name}-{i}}}:result")) for i in range(1, COUNT + 1)]
    cost = sum(result["cost"]["amount"] for result in results)
    assert abs(cost - told["cost"]["amount"]) < 1e-9, (cost, told["cost"])


@case("a job is paused, resumed and cancelled while a worker is at it", broker="real", fleet=False)
def stopped(w):
    config = w.config(worker={"inflight_max": 4})
    path = write_lines(w, "stopped", [{"input": f"stopped text {i}", "model": "packed", "encoding": "base64"} for i in range(600)])
    w.stub.control(delay_ms=40)
    try:
        with w.worker("--kinds", "embed", config=config):
            job(w, "start", "embed", "--file", path, "--job", "held", config=config)
            until("the first have ended", 20, lambda: ended(w, "held", config) > 20)
            out, _ = job(w, "pause", "held", "--json", "--by", "the test", config=config)
            assert json.loads(out) == {"job": "held", "tenant": "default", "state": "paused", "changed": True}, out
            # what had been read before the word came ends; then nothing more
            until("it stands still", 30, lambda: stands_still(w, "held", config))
            at = show(w, "held", config=config)
            assert at["state"] == "paused" and at["state_by"] == "the test" and at["ended"] < 600, at
            w.ask("embed", {"input": "another one passes", "model": "packed", "encoding": "base64"})
            job(w, "resume", "held", config=config)
            until("all have ended", 60, lambda: ended(w, "held", config) == 600, pause_s=0.3)
            told = show(w, "held", config=config)
            assert told["ok"] == 600 and told["state"] == "done", told

            other = write_lines(w, "dropped", [{"input": f"dropped text {i}", "model": "packed", "encoding": "base64"} for i in range(600)])
            letters = len(w.letters("embed"))
            job(w, "start", "embed", "--file", other, "--job", "dropped", config=config)
            until("the first have ended", 20, lambda: ended(w, "dropped", config) > 20)
            job(w, "cancel", "dropped", config=config)
            until("all have ended", 60, lambda: ended(w, "dropped", config) == 600, pause_s=0.3)
            told = show(w, "dropped", config=config)
            assert told["state"] == "cancelled" and told["cancelled"] > 300 and told["ok"] + told["cancelled"] == 600, told
            shapes.check_result(w.stored("dropped-600"), "embed", "cancelled", "dropped-600")
            assert len(w.letters("embed")) == letters, "a cancelled request got a letter"
            job(w, "resume", "dropped", config=config, expect=1)
            _, err = job(w, "start", "embed", "--file", other, "--job", "dropped", config=config, expect=1)
            assert "cancelled" in err, err
    finally:
        w.stub.control(delay_ms=0)


def stands_still(w, name, config):
    before = ended(w, name, config)
    time.sleep(1)
    return ended(w, name, config) == before


@case("a publisher waits while its job is paused, and ends when it is cancelled", broker="real", fleet=False)
def publisher(w):
    config = w.config()
    path = write_lines(w, "slow", [{"input": f"slow text {i}"} for i in range(2000)])
    with w.worker("--kinds", "embed", config=config):
        start = start_in_background(w, "slow", path, config, "--rate", "100")
        until("the first are published", 20, lambda: published(w, "slow", config) >= 100)
        job(w, "pause", "slow", config=config)
        time.sleep(2.5)
        at = published(w, "slow", config)
        time.sleep(1.5)
        assert published(w, "slow", config) == at and start.alive(), f"it published on\n{start.tail()}"
        start.kill()
        start = start_in_background(w, "slow", path, config, "--rate", "100")
        until("it says so", 20, lambda: "paused" in start.text(), pause_s=0.3)
        assert published(w, "slow", config) == at, "a fresh one published while the job is paused"
        job(w, "resume", "slow", config=config)
        until("it goes on", 20, lambda: published(w, "slow", config) > at)
        job(w, "cancel", "slow", config=config)
        until("it ends", 20, lambda: not start.alive())
        assert start.process.returncode == 1 and "cancelled" in start.text(), start.tail()
        until("what was published has ended", 30, lambda: ended(w, "slow", config) == published(w, "slow", config), pause_s=0.3)


@case("a second start of the same job takes over; the first says so and ends", broker="real", fleet=False)
def two_publishers(w):
    config, topic = w.config(), w.topic("embed", "bulk")
    path = write_lines(w, "twice", [{"input": f"twice text {i}"} for i in range(600)])
    with w.worker("--kinds", "embed", config=config):
        first = start_in_background(w, "twice", path, config, "--rate", "60")
        until("the first are published", 20, lambda: published(w, "twice", config) >= 60)
        job(w, "start", "embed", "--file", path, "--job", "twice", config=config)
        until("the first one ends", 30, lambda: not first.alive())
        assert first.process.returncode == 1 and "taken over" in first.text(), first.tail()
        keys = ids_on_topic(w, topic, "twice-")
        assert len(keys) == 600 and len(set(keys)) == 600, f"{len(keys)} records, {len(set(keys))} ids"
        until("all have ended", 30, lambda: ended(w, "twice", config) == 600, pause_s=0.3)


@case("a job's failure that a replay betters is counted as such", broker="real", fleet=False)
def replayed(w):
    config = w.config()
    path = write_lines(w, "bettered", [{"input": f"bettered text {i}", "model": "packed"} for i in range(5)])
    with w.worker("--kinds", "embed", config=config):
        w.stub.control(p5xx=1)
        try:
            job(w, "start", "embed", "--file", path, "--job", "bettered", config=config)
            until("all have failed", 40, lambda: ended(w, "bettered", config) == 5, pause_s=0.3)
        finally:
            w.stub.control(p5xx=0)
        told = show(w, "bettered", config=config)
        assert told["failed"] == 5 and told["failures"] == {"dependency.unavailable": 5} and told["state"] == "done", told
        code, out, err = w.millrace("dlq", "replay", "--grep", "bettered-", "--kind", "embed", *servers_of(w), config=config)
        assert code == 0, out + err
        until("all are bettered", 40, lambda: show(w, "bettered", config=config)["ok"] == 5, pause_s=0.3)
        told = show(w, "bettered", config=config)
        assert told["failed"] == 0 and told["failures"] == {} and told["ended"] == 5, told


@case("another file under the same name is refused; faulty lines are told and left out each time")
def other_file(w):
    name = w.id("job")
    lines = [{"input": "one"}, "", {"input": 3}, {"id": f"{name}-own", "input": "four"}, "{", {"input": "x", "job": "another"}]
    path = write_lines(w, name, lines)
    for _ in range(2):
        out, err = job(w, "start", "embed", "--file", path, "--job", name, "--json", expect=1)
        assert json.loads(out) == {"job": name, "tenant": "default", "published": 2, "refused": 3, "total": 5}, out
        assert "3 faulty ones" in err, err
    shapes.check_result(w.result(f"{name}-1"), "embed", "ok", f"{name}-1")
    shapes.check_result(w.result(f"{name}-own"), "embed", "ok", f"{name}-own")
    out, err = job(w, "start", "embed", "--file", path, "--job", name, "--follow", "--json", expect=1)
    told = json.loads(out)
    assert (told["state"], told["ok"], told["published"], told["refused"]) == ("done", 2, 2, 3), told
    with open(path, "r+") as file:
        file.write('{"input": "eno"}')
    _, err = job(w, "start", "embed", "--file", path, "--job", name, expect=1)
    assert "has changed" in err, err
    with open(path, "a") as file:
        file.write('{"input": "more"}\n')
    _, err = job(w, "start", "embed", "--file", path, "--job", name, expect=1)
    assert "another file" in err, err


@case("a folder is ingested as a job, each file a document; a job is listed and shown")
def folder(w):
    name, root = w.id("folder"), f"{w.folder}/pages-{w.count}"
    os.makedirs(f"{root}/guide")
    with open(f"{root}/guide/otter pups.md", "w") as file:
        file.write("# Pups\n\nThe otter pups of the folder job swim.\n")
    with open(f"{root}/index.html", "w") as file:
        file.write("<h1>Index</h1><p>The index of the folder job.</p>")
    with open(f"{root}/picture.bin", "wb") as file:
        file.write(b"\xff\xfe\x00")
    out, err = job(w, "start", "ingest", "--collection", "docs", "--dir", root, "--job", name, "--follow", "--json", expect=1)
    told = json.loads(out)
    assert (told["state"], told["kind"], told["ok"], told["refused"]) == ("done", "ingest", 2, 1), told
    assert "picture.bin: not UTF-8" in err, err
    result = w.stored(f"{name}-2")
    shapes.check_result(result, "ingest", "ok", f"{name}-2")
    assert result["result"]["document"] == "index.html", result["result"]
    hits = w.ask(
        "retrieve", {"collection": "docs", "query": "otter pups folder job", "top_k": 1, "at_least": w.stored(f"{name}-1")["result"]["positions"]}
    )["result"]["hits"]
    assert hits[0]["metadata"]["source_document"] == "guide/otter pups.md", hits
    listed = {entry["job"]: entry for entry in json.loads(job(w, "ls", "--json")[0])}
    assert listed[name]["state"] == "done" and listed[name]["ended"] == 2, listed[name]
    assert name in job(w, "ls")[0] and "folder" in job(w, "show", name)[0]


@case("wrong words get a usage error, an unknown job is told")
def usage(w):
    for arguments in (
        ["begin"],
        ["start"],
        ["start", "embed"],
        ["start", "embd", "--file", "x"],
        ["start", "embed", "--file", "/nowhere"],
        ["start", "embed", "--dir", "."],
        ["start", "embed", "--file", "x", "--job", "no blanks"],
        ["show"],
        ["show", "no blanks"],
        ["ls", "x"],
    ):
        job(w, *arguments, expect=2)
    for action in ("show", "pause", "resume", "cancel"):
        _, err = job(w, action, "never-heard-of", expect=1)
        assert "never-heard-of" in err, err
