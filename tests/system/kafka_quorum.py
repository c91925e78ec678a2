"""Several brokers in one folder, by kafka.sh: what a single one can't show (leaders that change, replicas that are too few)."""

import os
import subprocess

import servers


def free_ports(count, begin=21092):
    """The first of `count` free ones in a row."""
    return next(p for p in range(begin, 29000, 10) if all(servers.port_is_free(p + i) for i in range(count)))


class Quorum(servers.Kafka):
    """properties: of all brokers, {name: value}. A node is 1 to `nodes`; None: all of them."""

    def __init__(self, folder, nodes=3, heap="256m", properties=None):
        self.folder = folder
        words = " ".join(f"{name}={value}" for name, value in (properties or {}).items())
        self.env = {**os.environ, "KAFKA_NODES": str(nodes), "KAFKA_HEAP": heap, "KAFKA_PROPERTIES": words}
        self.address = self._script("start", str(free_ports(2 * nodes))).strip()

    def later(self, command, node=None):
        """Begins start, stop, kill, freeze or thaw; returns the process to wait for."""
        folder = f"{self.folder}/{node}" if node else self.folder
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([f"{servers.HERE}/kafka.sh", command, folder], env=self.env, **quiet)

    def now(self, command, node=None, limit_s=120):
        """The same, done when it returns."""
        if self.later(command, node).wait(limit_s) != 0:
            raise servers.ServerError(f"kafka.sh {command} {node or 'all'} failed")
