"""A trial: requests flow, a fault strikes among them, is lifted, and then everything must be as the contract says.

    trial = Trial(w, worker)
    trial.run("reset", proxy.reset, proxy.heal, unready="redis")

Each trial publishes its requests straight to the broker, half of them before the fault and half during it, on both lanes, some of
which the provider refuses, and two with little time. Afterwards it asks Redis, the dead letters and the stub's journal (judge()):
each request has its one right outcome, which stays; what failed has its letter; no provider call was repeated but for lost answers.
The worker is watched from outside: /ready must name the trouble and get well again, CPU time stays small while nothing can be done,
and so does memory."""

import json
import os
import time
import urllib.error
import urllib.request

import redis

import shapes
from records import publish_many, stub_vector, text_hash
from servers import until

COUNT = 48  # requests a trial, without the hurried ones
REFUSED_EVERY = 12
HURRIED = 2
HURRIED_MS = 600
BEGUN = 6  # results that are there when the fault strikes
RESULTS_LIMIT_S = 30
READY_LIMIT_S = 15
CPU_MAX = 0.35  # of a core, while nothing can be done: sanitizer builds and a busy machine included
GROWTH_MAX_BYTES = 48 << 20
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STUB_DELAY_MS = 60


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as file:
        cells = file.read().rpartition(")")[2].split()
    return (int(cells[11]) + int(cells[12])) / TICKS


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE


def readiness(admin):
    """(status, parts) of /ready."""
    try:
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def settings(in_flight=16):
    """Sections of a configuration for trials: short times, patience with attempts."""
    return {
        "worker": {"inflight_max": in_flight, "claim_lease_ms": 3000, "drain_ms": 3000},
        "retry": {"attempts_max": 12, "base_ms": 50, "cap_ms": 800, "delays": ["1s", "2s"]},
        "lanes": {"interactive": {"timeout_ms": 120000}},
    }


class Trial:
    """A row of trials of one worker (its kinds: embed). counted: the provider answers, so that no attempt is without a call."""

    def __init__(self, w, worker, in_flight=16, model="packed", counted=True, log=None):
        self.w, self.worker, self.in_flight, self.model = w, worker, in_flight, model
        self.log = log or (lambda text: print(f"    # {text}", flush=True))
        self.counted = counted
        self.faults = []

    def check(self):
        """To be called after the last trial."""
        assert not self.faults, "\n".join(self.faults) + "\n" + self.worker.tail(30)

    def requests(self, name):
        tenant = f"t-{self.w.id('t')[2:8]}-{name}".replace(" ", "-").lower()[:64]
        usual = {"tenant": tenant, "model": self.model}
        texts = [f"{tenant} text {i}{' @@401@@' if i % REFUSED_EVERY == REFUSED_EVERY // 2 else ''}" for i in range(COUNT)]
        batch = [{"id": f"{name.replace(' ', '-')}-{i:03d}", "input": text, **usual} for i, text in enumerate(texts)]
        usual["timeout_ms"] = HURRIED_MS
        hurried = [{"id": f"hurried-{i}", "input": f"{tenant} hurried {i}", **usual} for i in range(HURRIED)]
        return tenant, batch, hurried

    def publish(self, requests):
        for lane, part in (("interactive", requests[::2]), ("bulk", requests[1::2])):
            if part:
                publish_many(self.w.brokers, self.w.topic("embed", lane), part)

    def run(self, name, strike, lift, lasts_s=1.5, unready=None, repeats=0, works=False, redis_lost=False, struck=None):
        """strike, lift: begin and end the fault. unready: "part: words", the part of /ready that must tell of it in these words
        (None: it need not). repeats: how many provider calls may be made again because their answers were lost. works: requests
        may well pass while it lasts, so that CPU time says nothing. redis_lost: what Redis held is gone, results included. struck:
        says afterwards whether the fault found anything to strike."""
        begun = time.monotonic()
        if not self.worker.alive():
            return
        faults = []
        try:
            self._run(faults, name, strike, lift, lasts_s, unready, repeats, works, redis_lost)
            assert struck is None or struck(), "the fault met nothing"
        except AssertionError as e:
            faults.append(str(e))
        if not self.worker.alive():
            faults.append(f"the worker ended with {self.worker.process.returncode}")
        self.faults += [f"{name}: {fault}" for fault in faults]
        self.log(f"{name}: {'well' if not faults else 'FAULTS'}, {time.monotonic() - begun:.1f} s {self.figures}")

    def _run(self, faults, name, strike, lift, lasts_s, unready, repeats, works, redis_lost):
        w, worker = self.w, self.worker
        self.figures = ""
        tenant, batch, hurried = self.requests(name)
        seen = {}
        listener = None if redis_lost else w.redis.pubsub(ignore_subscribe_messages=True)
        if listener:
            listener.subscribe(f"mr:done:{tenant}")
        w.stub.control(delay_ms=STUB_DELAY_MS)
        size = resident_bytes(worker.process.pid)
        self.publish(batch[: COUNT // 2])
        until("the first results", RESULTS_LIMIT_S, lambda: self.look(batch, seen) >= BEGUN, pause_s=0.01)
        strike()
        lifted = False
        try:
            self.publish(batch[COUNT // 2 :] + hurried)
            told, cpu = self.watch(lasts_s, unready)
            lift()
            lifted = True
        finally:
            if not lifted:
                lift()
        lifted_at = time.monotonic()
        if unready and not told:
            faults.append(f"/ready did not say {unready!r}, but {sorted(self.said)}")
        if not works and cpu > CPU_MAX:
            faults.append(f"{cpu:.2f} of a core were used while there was nothing to do")
        try:
            until("all results", RESULTS_LIMIT_S, lambda: self.look(batch + hurried, seen) >= COUNT + HURRIED, pause_s=0.1)
        except AssertionError as e:
            missing = [r["id"] for r in batch + hurried if r["id"] not in seen]
            raise AssertionError(f"{e}; {len(missing)} lack, {missing[:5]}; /ready {readiness(worker.admin)}") from None
        took = time.monotonic() - lifted_at
        try:
            until("ready again", READY_LIMIT_S, worker.ready, pause_s=0.1)
        except AssertionError as e:
            faults.append(f"{e}: {readiness(worker.admin)}")
        w.stub.control(delay_ms=0)
        growth = resident_bytes(worker.process.pid) - size
        if growth > GROWTH_MAX_BYTES:
            faults.append(f"grown by {growth >> 20} MiB")
        extra = self.judge(faults, tenant, batch, hurried, seen, repeats, redis_lost)
        if listener:
            faults += self.announced_twice(listener)
            listener.close()
        self.figures = f"(cpu {cpu:.2f}, through {took:.1f} s after, {extra} calls more than requests"
        self.figures += f", told {told})" if told else ")"

    def look(self, requests, seen):
        """Takes note of new results, and of those that changed. How many there are."""
        wanted = [r for r in requests if r["id"] not in seen]
        try:
            values = self.w.redis.mget([f"mr:{{{r['tenant']}:{r['id']}}}:result" for r in wanted]) if wanted else []
        except redis.exceptions.RedisError:  # it is the patient
            values = []
        for request, value in zip(wanted, values):
            if value is not None:
                seen[request["id"]] = value
        return len(seen)

    def watch(self, lasts_s, unready):
        """Sits the fault out; the first half of it may still see work that was under way. What /ready told (the reason), and the
        part of a core that the worker used in the second half."""
        pid, admin = self.worker.process.pid, self.worker.admin
        told, self.said = None, set()
        part, _, words = (unready or "").partition(": ")
        end = time.monotonic() + lasts_s
        half, cpu_from = end - lasts_s / 2, None
        while time.monotonic() < end:
            if cpu_from is None and time.monotonic() >= half:
                cpu_from, half = cpu_s(pid), time.monotonic()
            if unready and not told:
                status, parts = readiness(admin)
                self.said.add(parts[part])
                told = parts[part] if status == 503 and words in parts[part] else None
            time.sleep(0.05)
        return told, (cpu_s(pid) - (cpu_from or 0)) / max(time.monotonic() - half, 0.01)

    def judge(self, faults, tenant, batch, hurried, seen, repeats, redis_lost):
        """Each outcome, against the contract; returns how many provider calls were made more than once a request."""
        w = self.w
        calls = w.stub.calls()
        letters = {}
        for letter in w.letters("embed"):
            if letter.value and tenant.encode() in letter.value:
                letters[letter.key.decode()] = letter
        extra = 0
        for request in batch + hurried:
            request_id, result = request["id"], json.loads(seen[request["id"]])
            status = "failed" if "@@401@@" in request["input"] else result["status"] if request in hurried else "ok"
            try:
                shapes.check_result(result, "embed", status, request_id, tenant)
                if status != "ok":
                    self.check_failure(request, result["error"], letters.pop(request_id, None))
                if status == "ok":
                    got, wanted = shapes.vectors_of(result["result"])[0], stub_vector(request["input"])
                    assert all(abs(a - b) < 1e-6 for a, b in zip(got, wanted)), "not this request's vector"
                assert redis_lost or w.redis.get(f"mr:{{{tenant}:{request_id}}}:result") == seen[request_id], "changed afterwards"
            except AssertionError as e:
                faults.append(f"{request_id}: {e}")
            made = calls.get(text_hash(request["input"]), 0)
            if made == 0 and status == "ok":
                faults.append(f"{request_id}: ok without a call")
            if self.counted and result["attempts"] > max(made, 1):
                faults.append(f"{request_id}: {result['attempts']} attempts of {made} calls")
            extra += max(made - 1, 0)
        if extra > repeats:
            faults.append(f"{extra} provider calls were repeated, {repeats} answers at most were lost")
        if letters:
            faults.append(f"letters of requests that went well: {sorted(letters)}")
        return extra

    @staticmethod
    def check_failure(request, error, letter):
        """One that the provider refused, or that had no time left: then the deadline or what stood in its way is named."""
        assert letter, f"{error['code']}, but no letter"
        if "@@401@@" in request["input"]:
            assert error["code"] == "auth", f"failed with {error}"
        else:
            assert error["class"] in ("serving", "dependency"), f"failed with {error}"
        shapes.check_letter(letter, error["class"], error["code"])

    @staticmethod
    def announced_twice(listener):
        counts = {}
        while True:
            try:
                message = listener.get_message(timeout=0.05)
            except redis.exceptions.RedisError:  # it was the patient
                break
            if message is None:
                break
            counts[message["data"]] = counts.get(message["data"], 0) + 1
        return [f"{key.decode()}: stored {n} times" for key, n in counts.items() if n > 1]
