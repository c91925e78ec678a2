"""What a case has to work with: the addresses, a configuration, and the verbs publish, result, letters, worker."""

import base64
import contextlib
import json
import os
import struct
import subprocess
import uuid

import redis

import records
import servers
import shapes

RESULT_LIMIT_S = 20
PARTITIONS = 4
PAYLOAD_MAX = 262144  # below the broker's own limit, so that a record past it can be published
_cases = []
_ends = []


def case(name, broker="any", fleet=True):
    """Registers a test. broker: "real" for what the mock broker can't do. fleet: a worker of all kinds with the usual configuration
    runs while the case does; one without a fleet starts its own."""

    def register(function):
        _cases.append({"name": name, "function": function, "broker": broker, "fleet": fleet, "file": function.__module__})
        return function

    return register


def at_end(function):
    """To be called after the last case: for servers that several cases share."""
    _ends.append(function)


def end_all():
    while _ends:
        _ends.pop()()


def all_cases(without=()):
    """without: names of files."""
    return [c for c in _cases if c["file"] not in without]


class World:
    def __init__(self, folder, build, brokers, redis_port, stub, kafka=None, prefix="sys"):
        self.folder, self.build, self.brokers, self.redis_port, self.stub = folder, build, brokers, redis_port, stub
        self.kafka = kafka  # None on the mock broker
        self.prefix = prefix
        self.redis = redis.Redis(port=redis_port, socket_timeout=30)
        self.running = []
        self.count = 0

    # ---- configuration and processes

    def config(self, **sections):
        """The path of a new configuration: the usual one with these sections merged over it. JSON is YAML."""
        stub = f"http://{self.stub.address}/v1"
        price = {"input_per_mtok": 0.02, "output_per_mtok": 0}
        usual = {
            "kafka": {"brokers": self.brokers, "prefix": self.prefix, "partitions": PARTITIONS},
            "redis": {"url": f"redis://127.0.0.1:{self.redis_port}/0"},
            "data_dir": f"{self.folder}/data-{self.count}",
            "worker": {"claim_lease_ms": 3000, "drain_ms": 8000, "payload_bytes_max": PAYLOAD_MAX},
            "retry": {"attempts_max": 3, "base_ms": 50, "cap_ms": 500, "delays": ["1s", "2s"]},
            "flood": {"min": 1000000},
            "providers": [
                {
                    "name": "numbers",
                    "type": "openai",
                    "base_url": stub,
                    "timeout_ms": 1500,
                    "concurrency_max": 64,
                    "encoding": "float",
                },
                {
                    "name": "packed",
                    "type": "openai",
                    "base_url": stub,
                    "timeout_ms": 1500,
                    "concurrency_max": 64,
                    "encoding": "base64",
                },
                {"name": "nowhere", "type": "openai", "base_url": "http://127.0.0.1:1/v1", "timeout_ms": 1500},
            ],
            "models": [
                {
                    "name": "floats",
                    "kind": "embed",
                    "provider": "numbers",
                    "model": "all-MiniLM-L6-v2",
                    "dimensions": 384,
                    "price": price,
                },
                {
                    "name": "packed",
                    "kind": "embed",
                    "provider": "packed",
                    "model": "all-MiniLM-L6-v2",
                    "dimensions": 384,
                    "price": price,
                },
                {"name": "lost", "kind": "embed", "provider": "nowhere", "model": "none", "dimensions": 384},
                {
                    "name": "echo",
                    "kind": "llm",
                    "provider": "packed",
                    "model": "echo-1",
                    "max_tokens_default": 256,
                    "price": {"input_per_mtok": 0.15, "output_per_mtok": 0.6},
                },
            ],
            "defaults": {"embed": "local-embed", "rerank": "local-rerank", "llm": "local-answer"},
            "collections": [{"name": "docs", "model": "local-embed"}, {"name": "packed", "model": "packed"}],
        }
        for name, value in sections.items():
            if isinstance(value, dict):
                usual[name] = {**usual.get(name, {}), **value}
            elif name in ("providers", "models", "collections"):
                usual[name] = usual[name] + value
            else:
                usual[name] = value
        self.count += 1
        path = f"{self.folder}/config-{self.count}.yaml"
        with open(path, "w") as file:
            json.dump(usual, file, indent=1)
        return path

    def start_worker(self, *arguments, config=None, name=None):
        self.count += 1
        worker = servers.Worker(name or f"worker-{self.count}", self.folder, self.build, config or self.config(), arguments)
        self.running.append(worker)
        return worker

    @contextlib.contextmanager
    def worker(self, *arguments, **options):
        """A worker for the length of a with statement; it must end well."""
        worker = self.start_worker(*arguments, **options)
        try:
            yield worker
        except BaseException:
            worker.kill()
            raise
        if worker.alive():
            code = worker.stop()
            assert code == 0, f"the worker ended with {code}\n{worker.tail()}"

    def millrace(self, *arguments, stdin="", config=None, limit_s=60, env=None):
        """Runs a command to its end: (exit code, standard output, standard error)."""
        command = [f"{self.build}/millrace", *arguments, *(["--config", config] if config else [])]
        done = subprocess.run(
            command, input=stdin.encode(), capture_output=True, timeout=limit_s, cwd=self.folder, env={**os.environ, **(env or {})}
        )
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    # ---- requests and what becomes of them

    def id(self, hint="r"):
        return f"{hint}-{uuid.uuid4().hex[:12]}"

    def topic(self, kind, lane="interactive"):
        return f"{self.prefix}.{kind}.{lane}"

    def publish(self, kind, request, lane="interactive", **options):
        """Publishes a request; gives it an id where it has none, and returns that."""
        request = {"id": self.id(kind), **request}
        records.publish(self.brokers, self.topic(kind, lane), request, **{"key": request["id"], **options})
        return request["id"]

    def publish_raw(self, kind, value, lane="interactive", **options):
        records.publish(self.brokers, self.topic(kind, lane), value, **options)

    def stored(self, request_id, tenant="default"):
        text = self.redis.get(f"mr:{{{tenant}:{request_id}}}:result")
        return json.loads(text) if text else None

    def result(self, request_id, tenant="default", limit_s=RESULT_LIMIT_S):
        return servers.until(f"the result of {request_id}", limit_s, lambda: self.stored(request_id, tenant))

    def ask(self, kind, request, status="ok", limit_s=RESULT_LIMIT_S, **options):
        """Publishes, waits, checks the record's shape; returns it."""
        request_id = self.publish(kind, request, **options)
        result = self.result(request_id, request.get("tenant", "default"), limit_s)
        then = request.get("then")
        shapes.check_result(result, kind, status, request_id, request.get("tenant", "default"), then[-1]["kind"] if then else None)
        return result

    def letters(self, kind):
        return records.read(self.brokers, f"{self.prefix}.{kind}.dlq")

    def letters_by_key(self, kind, keys, limit_s=RESULT_LIMIT_S):
        """{key: its letter}, as soon as there is one for each key."""
        wanted = {key.encode() for key in keys}

        def all_there():
            found = {letter.key: letter for letter in self.letters(kind) if letter.key in wanted}
            missing = wanted - found.keys()
            all_there.missing = missing
            return found if not missing else None

        try:
            found = servers.until("dead letters", limit_s, all_there, pause_s=0.3)
        except AssertionError as e:
            raise AssertionError(f"{e}; none for {sorted(key.decode() for key in all_there.missing)}") from None
        return {key.decode(): letter for key, letter in found.items()}

    def ingest(self, documents, collection="docs", tenant="default"):
        """Ingests documents (dicts of the contract); returns the positions that cover them all."""
        ids = [self.publish("ingest", {"collection": collection, "document": document, "tenant": tenant}) for document in documents]
        positions = {}
        for request_id in ids:
            result = self.result(request_id, tenant)
            shapes.check_result(result, "ingest", "ok", request_id, tenant)
            for partition, offset in result["result"]["positions"].items():
                positions[partition] = max(offset, positions.get(partition, 0))
        return positions

    # ---- the end

    def stop(self):
        for process in self.running:
            if process.alive():
                process.kill()


def packed(vector):
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
