"""SIGHUP takes a good configuration and leaves the old one in place of a bad one."""

import json
import shutil
import signal

from servers import until
from world import case


def add_model(path, name):
    with open(path) as file:
        config = json.load(file)
    config["models"].append({"name": name, "kind": "embed", "provider": "packed", "model": "all-MiniLM-L6-v2", "dimensions": 384})
    with open(path, "w") as file:
        json.dump(config, file)


def status_of(w, model):
    result = w.result(w.publish("embed", {"input": "which models are there", "model": model}))
    return result["status"]


@case("SIGHUP makes a new model usable; a faulty file changes nothing and says so", fleet=False, broker="real")
def reload(w):
    config = w.config()
    with w.worker("--kinds", "embed", config=config) as worker:
        assert status_of(w, "fresh") == "failed"
        add_model(config, "fresh")
        worker.signal(signal.SIGHUP)
        until("the new model", 10, lambda: status_of(w, "fresh") == "ok", pause_s=0.2)

        shutil.copy(config, config + ".good")
        with open(config, "w") as file:
            file.write("kafka: {brokers: 7, partitions: none}\nnonsense: 1\n")
        quiet = len(worker.text())
        worker.signal(signal.SIGHUP)
        until("a word about the faulty file", 10, lambda: "nonsense" in worker.text()[quiet:])
        assert worker.alive() and worker.ready(), "the worker gave up over a faulty file"
        assert status_of(w, "fresh") == "ok"

        shutil.copy(config + ".good", config)
        add_model(config, "fresher")
        worker.signal(signal.SIGHUP)
        until("the next good file", 10, lambda: status_of(w, "fresher") == "ok", pause_s=0.2)


@case("a worker with a faulty configuration ends with 2 and names every fault's line", fleet=False)
def faulty_start(w):
    path = f"{w.folder}/faulty.yaml"
    with open(path, "w") as file:
        file.write("kafka:\n  brokers: 7\nworker:\n  inflight_max: 0\nnonsense: 1\n")
    for command in (["check-config", path], ["worker", "--config", path]):
        code, out, err = w.millrace(*command)
        assert code == 2, f"{command[0]}: exit {code}\n{out}{err}"
        for line in ("faulty.yaml:2", "faulty.yaml:4", "faulty.yaml:5"):
            assert line in out + err, f"{command[0]} does not name {line}:\n{out}{err}"
