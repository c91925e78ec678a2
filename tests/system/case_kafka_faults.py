"""Kafka in trouble: brokers that die, hang, change places, refuse. Work waits, bounded; nothing is dropped; /ready tells. Three
real brokers of their own, three replicas, min.insync.replicas 2."""

import os
import time

import shapes
from fault_trial import cpu_s, readiness, resident_bytes
from kafka_quorum import Quorum
from records import publish_many, text_hash
from servers import Program, free_port, until
from world import World, at_end, case

COUNT = 120
RESULTS_LIMIT_S = 60
CPU_MAX = 0.35  # of a core, while nothing can be done
GROWTH_MAX_BYTES = 48 << 20
_brokers = []


def brokers(w):
    """The quorum that all cases here share, whole again, and a world on it with topics of its own."""
    if not _brokers:
        _brokers.append(Quorum(f"{w.folder}/quorum"))
        at_end(lambda: _brokers.pop().now("kill"))
    own = World(w.folder, w.build, _brokers[0].address, w.redis_port, w.stub, _brokers[0], prefix=w.id("kf"))
    own.running = w.running  # so that what a failed case leaves behind is stopped
    own.count = w.count = w.count + 100
    return own


def settings(w, **more):
    sections = {
        "kafka": {
            "brokers": w.brokers,
            "prefix": w.prefix,
            "partitions": 4,
            "replication": 3,
            "options": {"session.timeout.ms": "8000"},
        },
        "worker": {"inflight_max": 16, "claim_lease_ms": 4000, "drain_ms": 5000},
        "retry": {"attempts_max": 3, "base_ms": 50, "cap_ms": 500, "delays": ["1s", "2s"]},
        "lanes": {"interactive": {"timeout_ms": 120000}},
    }
    return w.config(**{**sections, **more})


def requests(w, count=COUNT, hint="k", text=""):
    return [
        {"id": f"{w.prefix}-{hint}-{i:03d}", "input": f"{w.prefix} {hint} {i}{text}", "model": "packed"} for i in range(count)
    ]


def stored(w, batch):
    return sum(value is not None for value in w.redis.mget([f"mr:{{default:{r['id']}}}:result" for r in batch]))


def check_all(w, worker, batch, repeats=0, limit_s=RESULTS_LIMIT_S):
    """Every request ok, and paid once."""
    try:
        until("all results", limit_s, lambda: stored(w, batch) == len(batch), pause_s=0.1)
    except AssertionError as e:
        raise AssertionError(
            f"{e}: {stored(w, batch)} of {len(batch)}; /ready {readiness(worker.admin)[1]}\n{worker.tail(15)}"
        ) from None
    for request in batch:
        shapes.check_result(w.stored(request["id"]), "embed", "ok", request["id"])
    calls = w.stub.calls()
    again = sum(calls[text_hash(request["input"])] - 1 for request in batch)
    assert again <= repeats, f"{again} calls were repeated"
    assert worker.alive(), f"the worker ended with {worker.process.returncode}"
    until("ready", 30, worker.ready, pause_s=0.1)


class Watch:
    """A worker while it can do nothing: what /ready says, and that it neither spins nor grows."""

    def __init__(self, worker):
        self.worker, self.pid = worker, worker.process.pid
        self.bytes, self.told = resident_bytes(self.pid), {}

    def sit(self, seconds):
        end, begun, cpu = time.monotonic() + seconds, time.monotonic(), cpu_s(self.pid)
        while time.monotonic() < end:
            for part, says in readiness(self.worker.admin)[1].items():
                if says not in ("ok", True, False):
                    self.told.setdefault(part, says)
            time.sleep(0.1)
        used = (cpu_s(self.pid) - cpu) / (time.monotonic() - begun)
        grown = resident_bytes(self.pid) - self.bytes
        assert self.worker.alive(), f"the worker ended with {self.worker.process.returncode}\n{self.worker.tail()}"
        assert used < CPU_MAX, f"{used:.2f} of a core were used while there was nothing to do"
        assert grown < GROWTH_MAX_BYTES, f"grown by {grown >> 20} MiB"

    def until_told(self, limit_s):
        """Until /ready is false; which part said so, and what."""

        def look():
            status, parts = readiness(self.worker.admin)
            return {p: says for p, says in parts.items() if says not in ("ok", True, False)} if status != 200 else None

        self.told |= until("/ready says that something is wrong", limit_s, look, pause_s=0.1)
        return self.told


@case("all brokers die and come back: work waits, /ready tells, nothing is asked twice", broker="real", fleet=False)
def all_down(w):
    w = brokers(w)
    batch = requests(w)
    w.stub.control(delay_ms=40)
    try:
        with w.worker("--kinds", "embed", config=settings(w)) as worker:
            publish_many(w.brokers, w.topic("embed", "bulk"), batch)
            until("the first results", 30, lambda: stored(w, batch) > 20, pause_s=0.02)
            w.kafka.now("kill")
            watch = Watch(worker)
            watch.until_told(30)
            watch.sit(5)
            w.kafka.now("start")
            check_all(w, worker, batch)
            late = requests(w, 20, "late")
            publish_many(w.brokers, w.topic("embed"), late)
            check_all(w, worker, late)
    finally:
        w.kafka.now("start")
        w.stub.control(delay_ms=0)


def pass_through(w, strike, lift, lasts_s):
    """Requests before, during and after; all must pass, and none twice. Returns the worker's watch."""
    first, during, after = requests(w, 60, "first"), requests(w, 40, "during"), requests(w, 20, "after")
    w.stub.control(delay_ms=40)
    try:
        with w.worker("--kinds", "embed", config=settings(w)) as worker:
            publish_many(w.brokers, w.topic("embed", "bulk"), first)
            until("the first results", 30, lambda: stored(w, first) > 10, pause_s=0.02)
            strike()
            watch = Watch(worker)
            publish_many(w.brokers, w.topic("embed"), during)
            watch.sit(lasts_s)
            check_all(w, worker, first + during)
            lift()
            publish_many(w.brokers, w.topic("embed"), after)
            check_all(w, worker, after)
            return watch
    finally:
        lift()
        w.stub.control(delay_ms=0)


@case("one of three brokers is killed and comes back: requests pass meanwhile", broker="real", fleet=False)
def one_dies(w):
    w = brokers(w)
    pass_through(w, lambda: w.kafka.now("kill", 2), lambda: w.kafka.now("start", 2), 2)


@case(
    "every broker is restarted in turn, all leaders change: requests pass, nothing is asked twice", broker="real", fleet=False
)
def rolling(w):
    w = brokers(w)
    batch = requests(w, 1500)
    w.stub.control(delay_ms=200)
    try:
        with w.worker("--kinds", "embed", config=settings(w, worker={"inflight_max": 4, "claim_lease_ms": 4000})) as worker:
            publish_many(w.brokers, w.topic("embed", "bulk"), batch)
            until("the first results", 30, lambda: stored(w, batch) > 10, pause_s=0.02)
            for node in (1, 2, 3):
                w.kafka.now("stop", node)
                w.kafka.now("start", node)
            assert stored(w, batch) < len(batch), "too late: all was done before the leaders had changed"
            w.stub.control(delay_ms=0)
            check_all(w, worker, batch)
            # the group's coordinator has moved, too: whoever was there before must find it at the next rebalance
            with w.worker("--kinds", "embed", config=settings(w)) as other:
                more = requests(w, 80, "shared")
                publish_many(w.brokers, w.topic("embed", "bulk"), more)
                check_all(w, worker, more)
                assert other.ready(), readiness(other.admin)
    finally:
        w.kafka.now("start")
        w.stub.control(delay_ms=0)


@case("a broker hangs (SIGSTOP) and goes on: requests pass, nothing is asked twice", broker="real", fleet=False)
def hangs(w):
    w = brokers(w)
    pass_through(w, lambda: w.kafka.now("freeze", 1), lambda: w.kafka.now("thaw", 1), 6)


def alter(w, topic, setting):
    w.kafka._script("configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", setting)


@case("too few replicas for a letter (NOT_ENOUGH_REPLICAS): it waits, its result too, /ready tells", broker="real", fleet=False)
def too_few_replicas(w):
    w = brokers(w)
    good, doomed = requests(w, 30, "good"), requests(w, 5, "doomed", " @@context@@")
    try:
        with w.worker("--kinds", "embed", config=settings(w)) as worker:
            alter(w, f"{w.prefix}.embed.dlq", "min.insync.replicas=3")
            w.kafka.now("kill", 3)
            publish_many(w.brokers, w.topic("embed", "bulk"), good[:15] + doomed + good[15:])
            check_good = lambda: stored(w, good) == len(good)  # noqa: E731
            until("those that need no letter", 40, check_good, pause_s=0.1)
            watch = Watch(worker)
            until("/ready tells of the producer", 60, lambda: readiness(worker.admin)[1]["producer"] != "ok", pause_s=0.2)
            watch.sit(4)
            assert stored(w, doomed) == 0, "a result before its letter"
            w.kafka.now("start", 3)
            letters = w.letters_by_key("embed", [r["id"] for r in doomed], limit_s=60)
            for request in doomed:
                shapes.check_letter(letters[request["id"]], "data", "context_length")
                assert letters[request["id"]].headers["mr-dlq-attempts"] == "1", letters[request["id"]].headers
                shapes.check_result(w.result(request["id"]), "embed", "failed", request["id"])
            check_all(w, worker, good)
    finally:
        w.kafka.now("start")


@case("a letter larger than its topic takes is shrunk, and says so", broker="real", fleet=False)
def letter_too_large(w):
    w = brokers(w)
    with w.worker("--kinds", "embed", config=settings(w)):
        alter(w, f"{w.prefix}.embed.dlq", "max.message.bytes=2000")
        large = {"id": f"{w.prefix}-large", "input": "@@context@@ " + os.urandom(4000).hex(), "model": "packed"}
        w.publish("embed", large)
        letter = w.letters_by_key("embed", [large["id"]], limit_s=30)[large["id"]]
        assert not letter.value, f"{len(letter.value)} bytes"
        assert (
            letter.headers["mr-dlq-error-code"] == "context_length" and letter.headers["mr-dlq-original-offset"] == "0"
        ), letter.headers
        assert any("larger than the broker takes" in value for value in letter.headers.values()), letter.headers
        shapes.check_result(w.result(large["id"]), "embed", "failed", large["id"])


@case("a topic is deleted under a worker: /ready tells; made again, its requests pass", broker="real", fleet=False)
def deleted(w):
    w = brokers(w)
    topic = w.topic("embed", "bulk")
    with w.worker("--kinds", "embed", config=settings(w)) as worker:
        before = requests(w, 10, "before")
        publish_many(w.brokers, topic, before)
        check_all(w, worker, before)
        w.kafka._script("topics", "--delete", "--topic", topic)
        watch = Watch(worker)
        told = watch.until_told(90)
        assert topic in str(told) or "consumers" in told, told
        others = requests(w, 10, "others")
        publish_many(w.brokers, w.topic("embed"), others)
        until("the other lane's results", 30, lambda: stored(w, others) == len(others), pause_s=0.1)
        w.kafka._script("topics", "--create", "--topic", topic, "--partitions", "4", "--replication-factor", "3")
        after = requests(w, 10, "after")
        publish_many(w.brokers, topic, after)
        check_all(w, worker, after, limit_s=90)


@case("a topic with fewer partitions than the configuration says: not ready, by name", broker="real", fleet=False)
def too_few_partitions(w):
    w = brokers(w)
    topic = w.topic("embed")
    w.kafka._script("topics", "--create", "--topic", topic, "--partitions", "2", "--replication-factor", "3")
    admin = f"127.0.0.1:{free_port()}"
    command = [f"{w.build}/millrace", "worker", "--kinds", "embed", "--config", settings(w), "--admin", admin]
    worker = Program(f"few-{w.prefix}", w.folder, command)
    w.running.append(worker)

    def told():
        try:
            status, parts = readiness(admin)
        except OSError:  # not yet
            return False
        return status != 200 and topic in parts["topics"]

    until("/ready names the topic", 30, told, pause_s=0.2)
    assert worker.stop() == 0, worker.tail()
