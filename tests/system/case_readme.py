"""The README's snippets, run as they stand. A fenced block is run when its info string says so: ```sh test=NAME. They talk
to the default addresses, 127.0.0.1:9092 and :6379, so that they are run only where the tests have these ports."""

import os
import re
import shutil
import subprocess
import sys

import servers
from world import case

FENCE = re.compile(r"^```(\w+) test=([a-z0-9-]+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUNNERS = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "-e"],
}
CLIENTS = {"kcat": "sh", "redis-py": "python", "node-redis": "js"}
LIMIT_S = 60


def snippets():
    with open(f"{servers.ROOT}/README.md") as file:
        return [(language, name, code) for language, name, code in FENCE.findall(file.read())]


@case("the README has a snippet for each client that is not ours", fleet=False)
def there(w):
    found = {name: language for language, name, _ in snippets()}
    for name, language in CLIENTS.items():
        assert found.get(name) == language, f"no ```{language} test={name} in README.md; found {found}"


@case("the README's snippets run as they stand, in their order", broker="real", fleet=False)
def run(w):
    assert w.brokers.endswith(":9092") and w.redis_port == 6379, "not at the default addresses"
    folder = f"{w.folder}/readme"
    os.makedirs(folder)
    os.symlink(os.path.abspath(w.build), f"{folder}/build")
    shutil.copytree(f"{servers.ROOT}/tests/data", f"{folder}/tests/data")
    worker = servers.Program("readme-worker", folder, [f"{w.build}/millrace", "worker", "--data-dir", f"{folder}/var"])
    try:
        w.running.append(worker)
        servers.until("the worker is ready", 60, lambda: servers.ready("127.0.0.1:9464"))
        # Debian keeps node-redis where its own node looks; another node must be told
        modules = ":".join(filter(None, (os.environ.get("NODE_PATH"), "/usr/share/nodejs")))
        for language, name, code in snippets():
            done = subprocess.run(
                [*RUNNERS[language], code],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                env={**os.environ, "NODE_PATH": modules, "PATH": f"{os.path.abspath(w.build)}:{os.environ['PATH']}"},
            )
            assert (
                done.returncode == 0
            ), f"{name}: exit {done.returncode}\n{code}\n{done.stdout[-500:]}{done.stderr[-800:]}\n{worker.tail()}"
            if language != "sh":
                assert (
                    '"ok"' in done.stdout or "'ok'" in done.stdout or "ok" in done.stdout.split()
                ), f"{name} printed no ok: {done.stdout[-500:]}"
    finally:
        assert worker.stop() == 0, worker.tail()
