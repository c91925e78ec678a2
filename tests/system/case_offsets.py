"""Committed offsets and what rides beside them: done above a blocker is done after a crash, too; explain says what blocks; foreign
metadata; rebalances under both protocols; static membership."""

import json
import signal
import socket
import struct
import urllib.request

import shapes
from records import publish_many, text_hash
from servers import until
from world import case

ABOVE = 40


def requests(hint, count):
    return [{"id": f"{hint}-{i:04d}", "input": f"{hint} text {i}", "model": "packed", "encoding": "base64"} for i in range(count)]


def stored_count(w, batch):
    return sum(value is not None for value in w.redis.mget([f"mr:{{default:{request['id']}}}:result" for request in batch]))


def explain(w, config, topic, partition=None, arguments=()):
    code, out, err = w.millrace("offsets", "explain", "--json", *arguments, config=config)
    assert code == 0, err
    rows = [row for row in json.loads(out)["partitions"] if row["topic"] == topic]
    return rows if partition is None else rows[partition]


def metric(worker, name, labels):
    with urllib.request.urlopen(f"http://{worker.admin}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name) and all(label in line for label in labels):
                return float(line.split()[-1])
    return 0.0


def text16(text):
    return struct.pack(">h", len(text)) + text.encode()


def commit_by_hand(brokers, group, topic, partition, offset, metadata):
    """OffsetCommit version 2 by a client that is not ours and not a member."""
    host, port = brokers.split(":")
    body = text16(group) + struct.pack(">i", -1) + text16("") + struct.pack(">q", -1) + struct.pack(">i", 1) + text16(topic)
    body += struct.pack(">iiq", 1, partition, offset) + text16(metadata)
    request = struct.pack(">hhi", 8, 2, 7) + text16("by-hand") + body
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
            answer += connection.recv(4096)
    return struct.unpack(">h", answer[-2:])[0]


def slow_config(w, **more):
    """A provider whose patience outlives the test."""
    stub = f"http://{w.stub.address}/v1"
    return w.config(
        worker={"claim_lease_ms": 1500, "drain_ms": 500, **more.pop("worker", {})},
        kafka={"options": {"session.timeout.ms": "6000", **more.pop("options", {})}},
        providers=[{"name": "patient", "type": "openai", "base_url": stub, "timeout_ms": 300000, "encoding": "base64"}],
        models=[{"name": "slow", "kind": "embed", "provider": "patient", "model": "all-MiniLM-L6-v2", "dimensions": 384}],
        **more,
    )


def blocked_partition(w, hint):
    """A record that hangs at its provider and ABOVE that end behind it, all in partition 0 of embed.bulk."""
    blocker = {"id": w.id(hint), "input": f"{hint} @@hang@@", "model": "slow"}
    batch = requests(w.id(hint), ABOVE)
    publish_many(w.brokers, w.topic("embed", "bulk"), [blocker, *batch], partition=0)
    return blocker, batch


@case("records done above a blocked one are not looked at again after kill -9, and explain names the blocker", broker="real", fleet=False)
def crash_above(w):
    config, topic = slow_config(w), w.topic("embed", "bulk")
    worker = w.start_worker("--kinds", "embed", config=config)
    blocker, batch = blocked_partition(w, "above")
    until("the results above", 20, lambda: stored_count(w, batch) == ABOVE)

    row = until(
        "a commit that carries them",
        10,
        lambda: next((r for r in [explain(w, config, topic, 0)] if r["above"]["count"] == ABOVE), None),
        pause_s=0.3,
    )
    assert row["group"] == "millrace.embed.bulk" and row["metadata"] == "ours" and row["metadata_chars"] <= 3000, row
    assert row["lag"] == ABOVE + 1 and row["above"]["runs"] == [[row["committed"] + 1, row["end"]]], row
    found = row["blocker"]
    assert found["request"] == blocker["id"] and found["tenant"] == "default" and found["kind"] == "embed", found
    assert found["provider"] == "patient" and found["model"] == "slow" and found["attempts"] == 1 and found["age_ms"] > 0, found
    assert found["claim"]["status"] == "running" and found["claim"]["holder"] and found["claim"]["lease_ms"] > 0, found
    code, out, _ = w.millrace("offsets", "explain", "--kind", "embed", "--lane", "bulk", config=config)
    assert code == 0 and f"blocked by {blocker['id']}" in out and "provider patient" in out, out
    assert not [r for r in explain(w, config, topic, arguments=("--kind", "llm"))], "only what is asked for"

    worker.signal(signal.SIGKILL)
    worker.kill()
    with w.worker("--kinds", "embed", config=config) as second:
        more = requests(w.id("behind"), 5)
        publish_many(w.brokers, topic, more, partition=0)
        until("results behind them", 40, lambda: stored_count(w, more) == len(more))
        assert metric(second, "millrace_records_ended_total", ['kind="embed"', 'outcome="duplicate"']) == 0, "records were looked at again"
        code, _, err = w.millrace("cancel", blocker["id"], config=config)
        assert code == 0, err
        until("everything committed", 20, lambda: explain(w, config, topic, 0)["lag"] == 0, pause_s=0.3)
    calls = w.stub.calls()
    assert all(calls[text_hash(request["input"])] == 1 for request in batch + more)


@case("metadata that is not millrace's is ignored with a warning; what it hides is looked at again, not lost", broker="real", fleet=False)
def foreign(w):
    config, topic = slow_config(w), w.topic("embed", "bulk")
    batch = requests(w.id("foreign"), 12)
    with w.worker("--kinds", "embed", config=config):
        publish_many(w.brokers, topic, batch, partition=1)
        until("results", 20, lambda: stored_count(w, batch) == len(batch))
    row = explain(w, config, topic, 1)
    assert row["lag"] == 0, row
    start = row["end"] - len(batch)
    for metadata in ("hello", "mr1bXPSFJFs=", "mr1rAAAA", "x" * 4000):
        assert until("the group is empty", 20, lambda m=metadata: commit_by_hand(w.brokers, "millrace.embed.bulk", topic, 1, start, m) == 0)
        row = explain(w, config, topic, 1)
        assert row["committed"] == start and row["metadata"] == "foreign" and row["above"]["count"] == 0, row
    with w.worker("--kinds", "embed", config=config) as worker:
        until("all looked at again", 20, lambda: explain(w, config, topic, 1)["lag"] == 0, pause_s=0.3)
        assert metric(worker, "millrace_records_ended_total", ['kind="embed"', 'outcome="duplicate"']) == len(batch)
        assert "commit metadata ignored" in worker.text()
    calls = w.stub.calls()
    assert all(calls[text_hash(request["input"])] == 1 for request in batch), "stored results cost nothing"


def rebalance(w, strategy):
    count, in_flight = 2000, 8
    topic = w.topic("embed", "bulk")
    config = w.config(
        worker={"inflight_max": in_flight},
        kafka={"options": {"partition.assignment.strategy": strategy, "session.timeout.ms": "6000"}},
    )
    batch = requests(w.id("rebalance"), count)
    w.stub.control(delay_ms=60)
    try:
        first = w.start_worker("--kinds", "embed", config=config)
        publish_many(w.brokers, topic, batch)
        until("the first results", 30, lambda: stored_count(w, batch) > 60)
        with w.worker("--kinds", "embed", config=config) as second:
            until("the second has work", 40, lambda: metric(second, "millrace_records_ended_total", ['outcome="ok"']) > 20, pause_s=0.2)
            assert stored_count(w, batch) < count, "too late: nothing was left to rebalance"
            assert first.stop() == 0, first.tail()
            until("all results", 60, lambda: stored_count(w, batch) == count, pause_s=0.2)
            until("lag 0", 20, lambda: sum(row["lag"] for row in explain(w, config, topic)) == 0, pause_s=0.3)
            again = metric(second, "millrace_records_ended_total", ['outcome="duplicate"'])
            assert again <= 2 * in_flight, f"{again} records were looked at again"
    finally:
        w.stub.control(delay_ms=0)
    for request in batch:
        shapes.check_result(w.stored(request["id"]), "embed", "ok", request["id"])
    calls = w.stub.calls()
    twice = sum(calls[text_hash(request["input"])] - 1 for request in batch)
    assert twice <= 2 * in_flight, f"{twice} calls too many"


@case("a worker joins and another leaves under load: the cooperative protocol", broker="real", fleet=False)
def cooperative(w):
    rebalance(w, "cooperative-sticky")


@case("a worker joins and another leaves under load: the eager protocol", broker="real", fleet=False)
def eager(w):
    rebalance(w, "range")


@case("static membership: a killed worker that comes back under its id goes on at once", broker="real", fleet=False)
def static(w):
    topic = w.topic("embed", "bulk")
    config = w.config(worker={"instance_id": "one", "claim_lease_ms": 1000}, kafka={"options": {"session.timeout.ms": "12000"}})
    worker = w.start_worker("--kinds", "embed", "--lanes", "bulk", config=config)
    publish_many(w.brokers, topic, first := requests(w.id("static"), 8))
    until("results", 20, lambda: stored_count(w, first) == len(first))
    worker.signal(signal.SIGKILL)
    worker.kill()
    with w.worker("--kinds", "embed", "--lanes", "bulk", config=config):
        publish_many(w.brokers, topic, second := requests(w.id("static"), 8))
        until("results before the session's time-out", 7, lambda: stored_count(w, second) == len(second))


@case("of two processes with one worker.instance_id the earlier ends with an error that says so", broker="real", fleet=False)
def fenced(w):
    topic = w.topic("embed", "bulk")
    config = w.config(worker={"instance_id": "twin"}, kafka={"options": {"session.timeout.ms": "6000"}})
    first = w.start_worker("--kinds", "embed", "--lanes", "bulk", config=config)
    with w.worker("--kinds", "embed", "--lanes", "bulk", config=config):
        code = first.process.wait(30)
        assert code == 1, f"ended with {code}\n{first.tail()}"
        assert "worker.instance_id" in first.text(), first.tail()
        publish_many(w.brokers, topic, batch := requests(w.id("twin"), 8))
        until("the other one works", 30, lambda: stored_count(w, batch) == len(batch))
