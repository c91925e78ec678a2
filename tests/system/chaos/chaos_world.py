"""The machines of a run: three brokers, Redis that forgets nothing, the provider stub, workers that are killed and come back, and
producers that keep a pace. Nothing here waits for a worker: the run goes on whatever becomes of one."""

import json
import os
import re
import signal
import subprocess
import time

import redis

from chaos_evidence import OFFSETS_FORMAT, CommitStream
from chaos_plan import ATTEMPTS_MAX, DIMENSIONS, INFLIGHT_MAX, LANE_TIMEOUT_MS, LEASE_MS, SESSION_MS, WORKERS

import kafka_quorum
import records
import servers


def wall_ms():
    return time.time() * 1000


class Redis:
    """Its append-only file is fsynced before each answer and never rewritten: it is the history of all that was ever stored."""

    def __init__(self, folder):
        self.folder, self.port, self.lives = f"{folder}/redis", servers.free_port(), 0
        os.mkdir(self.folder)
        self.start()
        servers.until("redis-server answers", 10, lambda: not servers.port_is_free(self.port))

    def start(self):
        self.lives += 1
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "auto-aof-rewrite-percentage": 0,
            "aof-timestamp-enabled": "yes",
            "maxmemory-policy": "noeviction",
            "dir": self.folder,
        }
        command = ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        self.program = servers.Program(f"redis-{self.lives}", self.folder, command)

    def kill(self):
        self.program.kill()

    stop = kill


class Worker:
    """One name with many lives. `instance_id` where the program knows it: static membership."""

    def __init__(self, name, fleet, kinds):
        self.name, self.fleet, self.lives, self.program = name, fleet, 0, None
        self.config = fleet.config(name, kinds)

    def start(self):
        self.lives += 1
        command = [f"{self.fleet.build}/millrace", "worker", "--config", self.config, "--admin", "127.0.0.1:0"]
        self.started_ms = wall_ms()
        self.program = servers.Program(f"{self.name}-{self.lives:03d}", self.fleet.folder, command)

    def alive(self):
        return self.program is not None and self.program.alive()

    def signal(self, number):
        if self.alive():
            self.program.signal(number)

    def kill(self):
        if self.program:
            self.program.kill()

    def admin(self):
        found = re.search(r"127\.0\.0\.1:\d+", open(self.program.out_path).read())
        return found.group(0) if found else None

    def ready(self):
        return self.alive() and self.admin() and servers.ready(self.admin())


class Fleet:
    def __init__(self, folder, build, prefix, seed):
        self.folder, self.build, self.prefix = folder, build, prefix
        self.strikes = []  # {"at_ms", "what", "target"}: what was done to it, as it happened
        self.tails = []
        self.background = []  # commands that run beside the rest
        self.kafka = self.redis = self.stub = None
        self.workers = {}
        self.seed = seed

    def start(self):
        self.kafka = kafka_quorum.Quorum(f"{self.folder}/kafka")
        self.redis = Redis(self.folder)
        self.stub = servers.Stub(self.folder, self.build)
        self.stub.control(seed=self.seed, delay_ms="0-200", retry_after=1, dimensions=DIMENSIONS)
        self.static = self._knows_instance_id()
        for name, kinds in WORKERS.items():
            self.workers[name] = Worker(name, self, kinds)

    def _knows_instance_id(self):
        path = f"{self.folder}/probe.yaml"
        with open(path, "w") as file:
            json.dump({"worker": {"instance_id": "probe"}}, file)
        return subprocess.run([f"{self.build}/millrace", "check-config", path], capture_output=True).returncode == 0

    def config(self, name, kinds):
        worker = {
            "name": name,
            "inflight_max": INFLIGHT_MAX,
            "claim_lease_ms": LEASE_MS,
            "drain_ms": 5000,
            **({"kinds": list(kinds)} if kinds else {}),
            **({"instance_id": name} if self.static else {}),
        }
        config = {
            "kafka": {
                "brokers": self.kafka.address,
                "prefix": self.prefix,
                "partitions": 4,
                "replication": 3,
                "options": {"session.timeout.ms": str(SESSION_MS), "heartbeat.interval.ms": "1000"},
            },
            "redis": {"url": f"redis://127.0.0.1:{self.redis.port}/0"},
            "data_dir": f"{self.folder}/data-{name}",
            "worker": worker,
            "retry": {"attempts_max": ATTEMPTS_MAX, "base_ms": 100, "cap_ms": 8000, "delays": ["1s", "4s", "12s"]},
            "lanes": {lane: {"timeout_ms": timeout_ms} for lane, timeout_ms in LANE_TIMEOUT_MS.items()},
            "providers": [
                {
                    "name": "stub",
                    "type": "openai",
                    "base_url": f"http://{self.stub.address}/v1",
                    "timeout_ms": 1500,
                    "concurrency_max": 32,
                }
            ],
            "models": [
                {"name": "vec", "kind": "embed", "provider": "stub", "model": "v-1", "dimensions": DIMENSIONS, "batch_max": 4},
                {"name": "echo", "kind": "llm", "provider": "stub", "model": "echo-1"},
            ],
            "collections": [{"name": "docs", "model": "local-embed"}, {"name": "notes", "model": "vec"}],
        }
        path = f"{self.folder}/{name}.yaml"
        with open(path, "w") as file:
            json.dump(config, file, indent=1)
        return path

    def stored(self, requests):
        """How many of them have a result."""
        keys = [f"mr:{{{r.value['tenant']}:{r.value['id']}}}:result" for r in requests]
        return sum(text is not None for text in redis.Redis(port=self.redis.port, socket_timeout=10).mget(keys))

    # ---- what strikes it

    def strike(self, what, target):
        """Does it, and notes when. Returns what it says for people."""
        self.strikes.append({"at_ms": wall_ms(), "what": what, "target": str(target)})
        getattr(self, "_" + what.replace("-", "_"))(target)

    def _kill(self, name):
        self.workers[name].kill()

    def _restart(self, name):
        self.workers[name].start()

    def _freeze(self, name):
        self.workers[name].signal(signal.SIGSTOP)

    def _thaw(self, name):
        self.workers[name].signal(signal.SIGCONT)

    def _join(self, name):
        self.workers[name] = Worker(name, self, None)
        self.workers[name].start()

    def _leave(self, name):
        self.workers[name].signal(signal.SIGTERM)

    def _redis_kill(self, _):
        self.redis.kill()

    def _redis_start(self, _):
        self.redis.start()

    def _broker_kill(self, node):
        self.background.append(self.kafka.later("kill", node))

    def _broker_start(self, node):
        self.background.append(self.kafka.later("start", node))

    def settle(self, limit_s=120):
        """Waits for what runs in the background."""
        for process in self.background:
            assert process.wait(limit_s) == 0, process.args
        self.background.clear()

    def died(self):
        """Workers that ended without having been told to."""
        struck = {}
        for strike in self.strikes:
            struck[strike["target"]] = strike["what"]
        return [
            w for name, w in self.workers.items() if w.program and not w.alive() and struck.get(name) not in ("kill", "leave")
        ]

    def slept(self, name):
        return any(s["what"] == "thaw" and s["target"] == name for s in self.strikes)

    def stop_workers(self):
        """SIGTERM to all; returns a complaint for each that didn't end well."""
        faults = []
        for worker in self.workers.values():
            worker.signal(signal.SIGTERM)
        for worker in self.workers.values():
            try:
                code = worker.program.process.wait(60) if worker.program else 0
            except subprocess.TimeoutExpired:
                code = "nothing in 60 s"
            if code != 0:
                faults.append(f"{worker.name} ended with {code}\n{worker.program.tail()}")
        return faults

    def stop(self):
        for worker in self.workers.values():
            worker.kill()
        for process in self.background:
            process.wait(60)
        for tail in self.tails:
            tail.stop()
        for server in (self.redis, self.stub):
            if server:
                server.kill()
        if self.kafka:
            self.kafka.now("kill")


class Producers:
    """kcat, one a topic, fed line by line; idempotent, all replicas."""

    OPTIONS = ("acks=all", "enable.idempotence=true", "message.timeout.ms=240000", "linger.ms=5", "partitioner=murmur2_random")

    def __init__(self, fleet):
        self.fleet, self.running = fleet, {}

    def send(self, request):
        if request.topic not in self.running:
            options = [word for option in self.OPTIONS for word in ("-X", option)]
            self.running[request.topic] = subprocess.Popen(
                ["kcat", "-b", self.fleet.kafka.address, "-P", "-E", "-t", request.topic, "-K\t", *options],
                stdin=subprocess.PIPE,
                stderr=open(f"{self.fleet.folder}/kcat-{request.topic}.err", "wb"),
            )
        pipe = self.running[request.topic].stdin
        pipe.write(f"{request.value['id']}\t{json.dumps(request.value)}\n".encode())
        pipe.flush()

    def finish(self, limit_s=240):
        for topic, process in self.running.items():
            process.stdin.close()
            assert process.wait(limit_s) == 0, f"kcat could not publish all to {topic}"
        self.running.clear()


class CommitTail:
    """Commits as they happen, by a kcat that reads __consumer_offsets, and what the brokers hold beyond them."""

    def __init__(self, fleet):
        self.fleet, path = fleet, f"{fleet.folder}/commits.bin"
        command = ["kcat", "-b", fleet.kafka.address, "-C", "-t", "__consumer_offsets", "-o", "beginning", "-q", "-u", "-E"]
        with open(path, "wb") as out:
            self.process = subprocess.Popen([*command, "-f", OFFSETS_FORMAT], stdout=out, stderr=subprocess.DEVNULL)
        self.file, self.stream, self.last, self.mine = open(path, "rb"), CommitStream(), {}, []
        fleet.tails.append(self)

    def poll(self):
        """The commits on our topics since the last call."""
        found = [c for c in self.stream.feed(self.file.read()) if c.topic.startswith(self.fleet.prefix + ".")]
        self.last.update({(c.topic, c.partition): c.offset for c in found})
        return found

    def lag(self):
        """Records of request and retry topics that are not committed."""
        self.poll()
        listed = json.loads(records.kcat(self.fleet.kafka.address, "-L", "-J"))["topics"]
        asked = [
            f"{t['topic']}:{p['partition']}:-1"
            for t in listed
            if t["topic"].split(".")[-1] in LANE_TIMEOUT_MS or ".retry." in t["topic"]
            for p in t["partitions"]
        ]
        out = records.kcat(self.fleet.kafka.address, "-Q", *(word for one in asked for word in ("-t", one))).decode()
        ends = {(m[1], int(m[2])): int(m[3]) for m in re.finditer(r"(\S+) \[(\d+)\] offset (\d+)", out)}
        assert len(ends) == len(asked), out
        return sum(end - (self.last.get(place) or 0) for place, end in ends.items())

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.file.close()
