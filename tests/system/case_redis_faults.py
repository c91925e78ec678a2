"""What Redis itself can do wrong: each fault strikes a Redis that is the worker's alone, in the midst of work, and is lifted. Work
waits and passes, nothing is paid twice, and the worker says what is wrong. What a trial checks: fault_trial.py."""

import os
import signal
import threading

import redis

import world
from fault_trial import Trial, settings
from redis_servers import Server
from servers import free_port, until
from world import case

IN_FLIGHT = 16
TIMEOUT_MS = 800
LOADING_S = 2.0
LATE = "redis: does not answer in time"


class Patient:
    """A Redis of our own that keeps each write before it answers."""

    def __init__(self, folder, *options):
        self.folder, self.options, self.port, self.starts = folder, options, free_port(), 0
        self.server = None
        self.start()

    def start(self, *more):
        self.starts += 1
        usual = ["--appendonly", "yes", "--appendfsync", "always", "--appenddirname", "aof"]
        self.server = Server(f"redis-{self.port}", self.folder, self.port, *usual, *self.options, *more)

    def launch(self, *more):
        """start(), which returns when it has loaded its data: in a thread of its own."""
        thread = threading.Thread(target=self.start, args=more, daemon=True)
        thread.start()
        return thread

    def do(self, *words):
        return self.server.client.execute_command(*words)

    def kill(self):
        self.server.kill()

    def forget(self):
        """All that it has written down."""
        folder = f"{self.folder}/redis-{self.port}/aof"
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")

    def stop(self):
        if self.server and self.server.alive():
            self.server.kill()


def own_world(w, patient, name):
    folder = f"{w.folder}/{name}"
    os.makedirs(folder, exist_ok=True)
    return world.World(folder, w.build, w.brokers, patient.port, w.stub, w.kafka, w.prefix)


def trials(w, name, run, *options, **section):
    """run(trial, patient), with a worker on a Redis of its own."""
    folder = f"{w.folder}/{name}-server"
    os.makedirs(folder, exist_ok=True)
    patient = Patient(folder, *options)
    try:
        own = own_world(w, patient, name)
        url = f"redis://127.0.0.1:{patient.port}/0"
        config = own.config(redis={"url": url, "timeout_ms": TIMEOUT_MS, **section}, **settings(IN_FLIGHT))
        with own.worker("--kinds", "embed", config=config) as worker:
            trial = Trial(own, worker, IN_FLIGHT)
            run(trial, patient)
            trial.check()
    finally:
        patient.stop()


@case("Redis stopped, hanging, loading, emptied: work waits, and is neither lost nor paid twice", broker="real", fleet=False)
def processes(w):
    def run(t, patient):
        t.run("stopped", patient.kill, patient.start, unready="redis: connect")
        send = lambda number: lambda: patient.server.signal(number)  # noqa: E731
        t.run("hanging", send(signal.SIGSTOP), send(signal.SIGCONT), 2, unready=LATE)
        patient.do("BGREWRITEAOF")  # one file of keys: only then does it answer while it loads
        until("the log is rewritten", 10, lambda: patient.server.client.info("persistence")["aof_rewrite_in_progress"] == 0)
        keys = patient.do("DBSIZE")
        slow = ["--key-load-delay", str(int(LOADING_S * 1e6 / keys)), "--loading-process-events-interval-bytes", "1024"]
        loading = []
        t.run(
            "loading",
            lambda: (patient.kill(), loading.append(patient.launch(*slow))),
            lambda: loading[0].join(30),
            lasts_s=LOADING_S,
            unready="redis: redis is loading its data",
        )
        t.run(
            "emptied",
            lambda: (patient.kill(), patient.forget()),
            patient.start,
            lasts_s=1,
            unready="redis: connect",
            repeats=IN_FLIGHT,
            redis_lost=True,
        )

    trials(w, "redis-processes", run)


@case("Redis refuses (read-only, full, busy, locked, crowded …): each is waited for and told", broker="real", fleet=False)
def refusals(w):
    def run(t, patient):
        def busy():
            def loop():
                try:
                    redis.Redis(port=patient.port, socket_timeout=30).eval("while true do end", 0)
                except redis.exceptions.RedisError:
                    pass  # killed

            patient.do("CONFIG", "SET", "busy-reply-threshold", "50")
            threading.Thread(target=loop, daemon=True).start()
            until("Redis is busy", 5, lambda: not patient.server.answers())

        def setting(name, value, cut_off=False):
            def strike():
                patient.do("CONFIG", "SET", name, value)
                if cut_off:
                    patient.do("CLIENT", "KILL", "TYPE", "normal")

            return strike

        def replica_of(*where):
            return lambda: patient.do("REPLICAOF", *where)

        t.run("read-only", replica_of("127.0.0.1", "1"), replica_of("NO", "ONE"), 2, unready="redis: read-only replica")
        t.run("full", setting("maxmemory", "1"), setting("maxmemory", "0"), unready="redis: maxmemory")
        short = "redis: too few replicas"
        t.run("without replicas", setting("min-replicas-to-write", "1"), setting("min-replicas-to-write", "0"), unready=short)
        t.run("busy", busy, lambda: patient.do("SCRIPT", "KILL"), unready="redis: busy")
        evicting, keeping = setting("maxmemory-policy", "allkeys-lru", True), setting("maxmemory-policy", "noeviction")
        t.run("may evict", evicting, keeping, lasts_s=1, unready="redis: must be noeviction", works=True)
        t.run("locked", setting("requirepass", "secret", True), setting("requirepass", ""), unready="redis: password")
        t.run("crowded", setting("maxclients", "1", True), setting("maxclients", "1000"), unready="redis: ")
        t.run("paused", lambda: patient.do("CLIENT", "PAUSE", "1500", "WRITE"), lambda: None, lasts_s=2, unready=LATE)
        t.run("scripts forgotten", lambda: patient.do("SCRIPT", "FLUSH"), lambda: None, lasts_s=0.3, works=True)
        t.run("clients killed", lambda: patient.do("CLIENT", "KILL", "TYPE", "normal"), lambda: None, lasts_s=0.3, works=True)

    trials(w, "redis-refusals", run)


@case("results wait until redis.wait_replicas have them, and readiness tells", broker="real", fleet=False)
def replicas(w):
    def run(t, patient):
        send = lambda number: lambda: replica.signal(number)  # noqa: E731
        t.run("replica hangs", send(signal.SIGSTOP), send(signal.SIGCONT), 2, unready="redis: of 1 redis replicas")

    folder = f"{w.folder}/redis-replica"
    os.makedirs(folder, exist_ok=True)
    replica = Server("replica", folder, free_port(), "--repl-diskless-sync-delay", "0")
    try:

        def with_replica(t, patient):
            replica.client.execute_command("REPLICAOF", "127.0.0.1", patient.port)
            until("the replica is in step", 15, lambda: replica.client.info("replication").get("master_link_status") == "up")
            run(t, patient)

        trials(w, "redis-replicas", with_replica, "--repl-diskless-sync-delay", "0", wait_replicas=1)
    finally:
        replica.kill()
