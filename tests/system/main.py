"""Runs the cases: first against real Kafka, real Redis and `millrace worker`, then the same ones against `millrace dev`.

Started by run.sh, which finds the interpreter and gives us a network of our own. Prints a line a case, `ok` or `not ok` with
the reason, and last `N passed, N failed`. What could not be run is said loudly; with CI=true it counts as failed."""

import argparse
import glob
import importlib
import os
import re
import shutil
import sys
import tempfile
import time
import traceback

import servers
import world


def log(text=""):
    print(text, flush=True)


class Run:
    def __init__(self, options):
        self.options = options
        self.without = set()  # files of cases that can't run here
        self.passed = self.failed = self.skipped = 0
        self.folder = tempfile.mkdtemp(prefix="millrace-system-")

    def skip(self, what, why):
        bar = "#" * 100
        log(f"{bar}\n#### SKIP: {what}\n####       {why}\n{bar}")
        self.skipped += 1

    def guarded(self, part, stub, *arguments):
        """Runs a part. One whose servers don't come up is a failure, but not the end."""
        stub.forget()
        try:
            part(stub, *arguments)
        except Exception:
            self.failed += 1
            log("not ok - the servers\n" + "\n".join(f"    # {line[:400]}" for line in traceback.format_exc().splitlines()))

    def wanted(self, case):
        return not self.options.only or re.search(self.options.only, f"{case['file']} {case['name']}")

    def one(self, w, case, label):
        begun = time.monotonic()
        name = f"{label}/{case['file'].removeprefix('case_')}: {case['name']}"
        try:
            case["function"](w)
        except Exception as e:  # a case may fail in any way; the next ones run all the same
            self.failed += 1
            reason = str(e) if isinstance(e, AssertionError) and str(e) else traceback.format_exc()
            log(f"not ok - {name} ({time.monotonic() - begun:.1f} s)")
            log("\n".join(f"    # {line[:400]}" for line in reason.splitlines()[:60]))
            place = traceback.extract_tb(e.__traceback__)
            log(f"    # at {' > '.join(f'{os.path.basename(f.filename)}:{f.lineno}' for f in place[-3:])}")
            return False
        self.passed += 1
        log(f"ok - {name} ({time.monotonic() - begun:.1f} s)")
        return True

    def fleet_cases(self, w, label, start):
        """Cases that want a running fleet; start() brings one up. One that died is named, and replaced."""
        cases = [c for c in world.all_cases(self.without) if c["fleet"] and self.wanted(c) and (c["broker"] == "any" or w.kafka)]
        fleet = None
        for case in cases:
            if fleet is None or not fleet.alive():
                fleet = start()
            good = self.one(w, case, label)
            if not fleet.alive():
                log(f"    # the worker ended with {fleet.process.returncode} during this case\n{fleet.tail(40)}")
                self.failed += good
                self.passed -= good
            elif not good and self.options.verbose:
                log(fleet.tail(15))
        if fleet and fleet.alive():
            self.one(
                w, {"name": "the worker ends well after all that", "file": "fleet", "function": lambda _: check_end(fleet)}, label
            )

    def own_cases(self, w, label, with_broker):
        for case in world.all_cases(self.without):
            if not case["fleet"] and self.wanted(case) and (case["broker"] == "real") == with_broker:
                self.one(w, case, label)
                w.stop()

    def real(self, stub, isolated):
        kafka_port, redis_port = 9092, 6379
        if not isolated and not all(map(servers.port_is_free, (9092, 9093, 6379, 9464))):
            self.skip("the README's snippets", "the default ports are taken, and there is no network namespace to have them in")
            kafka_port, redis_port = servers.free_port(), servers.free_port()
            self.without.add("case_readme")
        kafka = redis = w = None
        try:
            kafka = servers.Kafka(f"{self.folder}/kafka", kafka_port)
            redis = servers.Redis(self.folder, redis_port)
            w = world.World(self.folder, self.options.build, kafka.address, redis_port, stub, kafka)
            self.fleet_cases(w, "kafka", w.start_worker)
            w.stop()
            self.own_cases(w, "kafka", True)
        finally:
            world.end_all()
            for server in filter(None, (w, redis, kafka)):
                server.stop()

    def dev(self, stub):
        w = world.World(self.folder, self.options.build, "none", 0, stub)
        started = []

        def start():
            dev = servers.Dev(self.folder, self.options.build, w.config(), f"{self.folder}/dev")
            started.append(dev)
            w.brokers = dev.addresses["kafka"]
            w.redis_port = int(re.search(r":(\d+)(?:/\d*)?$", dev.addresses["redis"]).group(1))
            w.redis = world.redis.Redis(port=w.redis_port, socket_timeout=30)
            return dev

        try:
            self.fleet_cases(w, "dev", start)
        finally:
            for dev in started:
                dev.kill() if dev.alive() else None


def check_end(fleet):
    code = fleet.stop()
    assert code == 0, f"exit code {code}\n{fleet.tail()}"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--build", default="build")
    options.add_argument("--only", help="a regular expression over file and name of the cases")
    options.add_argument("--broker", choices=("real", "dev", "both"), default="both")
    options.add_argument("--isolated", action="store_true", help="this network is ours alone")
    options.add_argument("--no-kafka", help="why real Kafka can't be had")
    options.add_argument("--keep", action="store_true", help="leave the folder with all logs")
    options.add_argument("--verbose", action="store_true", help="show the worker's last lines with each failure")
    options = options.parse_args()
    options.build = os.path.abspath(options.build)
    for path in sorted(glob.glob(f"{servers.HERE}/case_*.py")):
        importlib.import_module(os.path.basename(path)[:-3])

    run = Run(options)
    stub = None
    try:
        stub = servers.Stub(run.folder, options.build)
        w = world.World(run.folder, options.build, "127.0.0.1:1", 1, stub)
        run.own_cases(w, "alone", False)
        if options.broker != "dev" and options.no_kafka:
            run.skip("every test against real Apache Kafka", options.no_kafka)
        elif options.broker != "dev":
            run.guarded(run.real, stub, options.isolated)
        if options.broker != "real":
            run.guarded(run.dev, stub)
    finally:
        if stub and stub.alive():
            stub.kill()
    if options.keep or run.failed:
        log(f"# logs: {run.folder}")
    else:
        shutil.rmtree(run.folder, ignore_errors=True)
    if run.skipped:
        log(f"#### {run.skipped} SKIPPED, see above")
    if os.environ.get("CI") == "true":
        run.failed += run.skipped
    log(f"{run.passed} passed, {run.failed} failed")
    return 1 if run.failed else 0


sys.exit(main())
