"""Stopping, crashing and starting again: nothing is lost, and what was finished is not done twice."""

import signal

import shapes
from records import publish_many, text_hash
from servers import until
from world import case

COUNT = 300


def requests(hint):
    return [{"id": f"{hint}-{i:04d}", "input": f"{hint} text {i}", "model": "packed", "encoding": "base64"} for i in range(COUNT)]


def stored_count(w, batch):
    keys = [f"mr:{{default:{request['id']}}}:result" for request in batch]
    return sum(value is not None for value in w.redis.mget(keys))


def check_all_ok(w, batch, limit_s=60):
    until("all results", limit_s, lambda: stored_count(w, batch) == len(batch), pause_s=0.2)
    for request in batch:
        shapes.check_result(w.stored(request["id"]), "embed", "ok", request["id"])


def check_committed(w, topic, results):
    """What is committed lies in Redis."""
    rows = w.kafka.committed("millrace.embed.bulk", topic)
    committed = sum(row[0] for row in rows.values())
    assert committed <= results, f"{committed} offsets are committed, but {results} results stored"
    return committed


@case(
    "SIGTERM drains: what was begun is stored and committed; a restart does the rest, and nothing twice", broker="real", fleet=False
)
def drain(w):
    batch, topic = requests("drain"), w.topic("embed", "bulk")
    config = w.config(worker={"inflight_max": 16})
    w.stub.control(delay_ms=40)
    try:
        worker = w.start_worker("--kinds", "embed", config=config)
        before = sum(row[0] for row in w.kafka.committed("millrace.embed.bulk", topic).values())
        publish_many(w.brokers, topic, batch)
        until("the first results", 20, lambda: stored_count(w, batch) > 30)
        assert worker.stop() == 0, f"exit code {worker.process.returncode}\n{worker.tail()}"
        stored = stored_count(w, batch)
        assert stored < COUNT, "too late: everything was done before the signal"
        committed = check_committed(w, topic, stored + before) - before
        assert committed == stored, f"{stored} results are stored, {committed} offsets committed"
        with w.worker("--kinds", "embed", config=config):
            check_all_ok(w, batch)
    finally:
        w.stub.control(delay_ms=0)
    calls = w.stub.calls()
    again = [request["id"] for request in batch if calls[text_hash(request["input"])] != 1]
    assert not again, f"asked twice: {again[:5]}, {len(again)} in all"
    check_committed(w, topic, COUNT + before)


@case("kill -9 loses nothing, and redoes no more than was in flight", broker="real", fleet=False)
def crash(w):
    batch, topic, in_flight = requests("crash"), w.topic("embed", "bulk"), 16
    # a dead member's partitions are free when its session has run out
    config = w.config(worker={"inflight_max": in_flight, "claim_lease_ms": 1500}, kafka={"options": {"session.timeout.ms": "6000"}})
    w.stub.control(delay_ms=40)
    try:
        worker = w.start_worker("--kinds", "embed", config=config)
        publish_many(w.brokers, topic, batch)
        until("the first results", 20, lambda: stored_count(w, batch) > 30)
        worker.signal(signal.SIGKILL)
        worker.kill()
        assert stored_count(w, batch) < COUNT
        with w.worker("--kinds", "embed", config=config):
            check_all_ok(w, batch, limit_s=90)
    finally:
        w.stub.control(delay_ms=0)
    calls = sum(w.stub.calls()[text_hash(request["input"])] for request in batch)
    assert calls <= COUNT + in_flight, f"{calls} calls for {COUNT} requests, {in_flight} were in flight"


@case("two workers share the partitions; when one ends the other takes over", broker="real", fleet=False)
def two_workers(w):
    batch, topic = requests("pair"), w.topic("embed", "bulk")
    w.stub.control(delay_ms=40)
    try:
        config = w.config(worker={"inflight_max": 8})
        first = w.start_worker("--kinds", "embed", config=config)
        with w.worker("--kinds", "embed", config=w.config(worker={"inflight_max": 8})):
            publish_many(w.brokers, topic, batch)
            until("the first results", 20, lambda: stored_count(w, batch) > 30)
            assert first.stop() == 0, first.tail()
            check_all_ok(w, batch, limit_s=90)
    finally:
        w.stub.control(delay_ms=0)


@case("Redis gone for a while: nothing is committed unstored, and all of it comes through after", broker="real", fleet=False)
def redis_pause(w):
    batch, topic = requests("pause"), w.topic("embed", "bulk")
    w.stub.control(delay_ms=20)
    try:
        with w.worker("--kinds", "embed", config=w.config(worker={"inflight_max": 16})):
            publish_many(w.brokers, topic, batch)
            until("the first results", 20, lambda: stored_count(w, batch) > 20)
            w.redis.execute_command("CLIENT", "PAUSE", "4000", "ALL")
            check_all_ok(w, batch, limit_s=90)
    finally:
        w.stub.control(delay_ms=0)
