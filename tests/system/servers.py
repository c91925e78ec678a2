"""The processes of a system test: each starts in its constructor, is ready when that returns, and ends with stop()."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
READY_LIMIT_S = 60


class ServerError(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(what, limit_s, check, pause_s=0.05):
    """Waits until check() returns something true, and returns that."""
    end = time.monotonic() + limit_s
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {limit_s} s")
        time.sleep(pause_s)


def ready(admin):
    """Whether a worker's admin port says that it is."""
    try:
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Kafka:
    """A real broker by kafka.sh. Beside its usual listener it has one at port hidden_port that says it is at port proxy_port: whoever
    enters there is sent through the proxy that a test puts at proxy_port, for every broker connection."""

    def __init__(self, folder, port):
        self.folder = folder
        self.hidden_port, self.proxy_port = free_port(), free_port()
        listeners = f"PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:"
        properties = {
            "listeners": f"{listeners}{self.hidden_port},CONTROLLER://127.0.0.1:{port + 1}",
            "advertised.listeners": f"{listeners}{self.proxy_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }
        self.env = {**os.environ, "KAFKA_PROPERTIES": " ".join(f"{name}={value}" for name, value in properties.items())}
        self.address = self._script("start", str(port)).strip()

    def _script(self, command, *arguments):
        done = subprocess.run(
            [f"{HERE}/kafka.sh", command, self.folder, *arguments], capture_output=True, text=True, timeout=150, env=self.env
        )
        if done.returncode != 0:
            raise ServerError(f"kafka.sh {command}: {done.stderr[-800:]}{done.stdout[-400:]}")
        return done.stdout

    def topics(self):
        """{name: {"partitions": n, "configs": {…}}}"""
        found = {}
        for line in self._script("topics", "--describe").splitlines():
            row = re.match(r"Topic: (\S+)\s.*PartitionCount: (\d+)\s.*Configs: ?(\S*)", line)
            if row:
                configs = dict(pair.split("=", 1) for pair in row.group(3).split(",") if "=" in pair)
                found[row.group(1)] = {"partitions": int(row.group(2)), "configs": configs}
        return found

    def committed(self, group, topic):
        """{partition: (committed offset, log end)}; partitions without a committed offset are absent."""
        found = {}
        for line in self._script("groups", "--describe", "--group", group).splitlines():
            cells = line.split()
            if len(cells) > 5 and cells[0] == group and cells[1] == topic and cells[3].isdigit():
                found[int(cells[2])] = (int(cells[3]), int(cells[4]))
        return found

    def stop(self):
        self._script("stop")


class Program:
    """A process of ours with its output in files."""

    def __init__(self, name, folder, command, env=None):
        self.name = name
        self.out_path, self.err_path = f"{folder}/{name}.out", f"{folder}/{name}.err"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    def text(self):
        with open(self.out_path, errors="replace") as out, open(self.err_path, errors="replace") as err:
            return out.read() + err.read()

    def tail(self, lines=25):
        return "\n".join(f"    {self.name}: {line[:300]}" for line in self.text().splitlines()[-lines:])

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, limit_s=30):
        """SIGTERM; returns the exit code. One that doesn't end in time is killed, and that is an error."""
        if self.alive():
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {limit_s} s of SIGTERM\n{self.tail()}") from None

    def kill(self):
        if self.alive():
            self.signal(signal.SIGKILL)
        self.process.wait()


class Redis(Program):
    def __init__(self, folder, port):
        self.port = port
        super().__init__(
            "redis",
            folder,
            [
                "redis-server",
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--maxmemory-policy",
                "noeviction",
                "--dir",
                folder,
            ],
        )
        until("redis-server answers", 10, lambda: not port_is_free(port))


class Stub(Program):
    """tests/fakes/provider_stub."""

    def __init__(self, folder, build):
        self.journal_path = f"{folder}/journal.txt"
        self.journal_from = 0
        super().__init__("stub", folder, [f"{build}/tests/fakes/provider_stub", "--journal", self.journal_path])
        line = until("the stub listens", 10, lambda: re.search(r"listening on (\S+)", self.text()))
        self.address = line.group(1)

    def control(self, **options):
        query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{self.address}/control?{query}", method="POST"), timeout=10
        ) as answer:
            assert answer.status == 200

    def forget(self):
        """calls() counts from here on."""
        self.journal_from = os.path.getsize(self.journal_path)

    def calls(self):
        """How often each text was asked for: {hash: count}."""
        counts = {}
        with open(self.journal_path) as journal:
            journal.seek(self.journal_from)
            for line in journal:
                for text in line.split()[5].split(","):
                    if text != "-":
                        counts[int(text, 16)] = counts.get(int(text, 16), 0) + 1
        return counts


class Worker(Program):
    """`millrace worker`, ready."""

    def __init__(self, name, folder, build, config, arguments=()):
        self.admin = f"127.0.0.1:{free_port()}"
        super().__init__(name, folder, [f"{build}/millrace", "worker", "--config", config, "--admin", self.admin, *arguments])
        try:
            until(f"{name} is ready", READY_LIMIT_S, self.ready)
        except AssertionError as e:
            tail = self.tail()
            self.kill()
            raise AssertionError(f"{e}\n{tail}") from None

    def ready(self):
        if not self.alive():
            raise AssertionError(f"{self.name} ended with {self.process.returncode}")
        return ready(self.admin)


class Dev(Program):
    """`millrace dev`: its own mock broker and Redis."""

    def __init__(self, folder, build, config, data_dir):
        super().__init__("dev", folder, [f"{build}/millrace", "dev", "--json", "--config", config, "--data-dir", data_dir])

        def first_line():
            if not self.alive():
                raise AssertionError(f"dev ended with {self.process.returncode}\n{self.tail()}")
            with open(self.out_path) as out:
                line = out.readline()
            return line if line.endswith("\n") else None

        self.addresses = json.loads(until("dev prints its addresses", READY_LIMIT_S, first_line))
