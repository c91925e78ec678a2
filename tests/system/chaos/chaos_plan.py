"""What a run asks for and what strikes it: both follow from the seed alone, so that a seed replays them."""

import random
from collections import namedtuple

TENANTS = ("default", "acme", "globex")
ATTEMPTS_MAX = 5
INFLIGHT_MAX = 32  # of one worker: what a kill can lose at most
LEASE_MS = 4000
SESSION_MS = 8000
DIMENSIONS = 8
LANE_TIMEOUT_MS = {"interactive": 120000, "bulk": 3600000}
STUB_FAULTS = {"p429": 0.05, "p5xx": 0.03, "phang": 0.01, "pgarbage": 0.01}
STUB_CALM = dict.fromkeys(STUB_FAULTS, 0)

LIMITS = {
    "attempts_max": ATTEMPTS_MAX,
    "inflight_max": INFLIGHT_MAX,
    "lane_timeout_ms": LANE_TIMEOUT_MS,
}  # what the judge knows

# kinds of a worker; together they serve all, and a chain that begins at w2 must be handed over
WORKERS = {"w1": None, "w2": ("embed", "retrieve", "rerank"), "w3": ("embed", "llm", "ingest")}
GUEST = "w4"  # joins and leaves

# at_s: after the load began. what: kill, restart, freeze, thaw, join, leave (a worker), redis-kill, redis-start, broker-kill,
# broker-start
Fault = namedtuple("Fault", "at_s what target")
Request = namedtuple("Request", "topic value")


def tagged(request_id, words):
    """A text that the provider stub's journal can name, whatever it is wrapped in."""
    return f"@={request_id}=@ {words}"


def request_of(prefix, request_id, rng):
    lane = "bulk" if rng.random() < 0.7 else "interactive"
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12)))
    value = {"id": request_id, "tenant": rng.choice(TENANTS)}
    share = rng.random()
    if share < 0.84:
        kind = "embed"
        value |= {"model": "vec", "input": tagged(request_id, words), "encoding": rng.choice(("float", "base64"))}
    elif share < 0.92:
        kind = "llm"
        value |= {"model": "echo", "messages": [{"role": "user", "content": tagged(request_id, words)}]}
    elif share < 0.94:
        kind = "ingest"
        value |= {
            "collection": "notes",
            "document": {"id": f"doc-{request_id}", "text": tagged(request_id, words), "version": 1},
            "chunking": {"strategy": "none"},
        }
    elif share < 0.97:
        kind = "retrieve"
        value |= {"collection": "docs", "query": tagged(request_id, words), "top_k": 5}
        value["then"] = [{"kind": "rerank", "top_n": 3}, {"kind": "llm", "model": "echo"}]
    else:
        kind = "retrieve"
        value |= {
            "collection": "docs",
            "query": tagged(request_id, words),
            "top_k": 5,
            "then": [{"kind": "llm", "model": "echo"}],
        }
    spice(kind, value, rng)
    return Request(f"{prefix}.{kind}.{lane}", value)


def documents(prefix):
    """What the chains find."""
    made = []
    for tenant in TENANTS:
        for i in range(8):
            name = f"seed-{tenant}-{i}"
            text = " ".join(WORDS[3 * i : 3 * i + 9])
            value = {
                "id": name,
                "tenant": tenant,
                "collection": "docs",
                "document": {"id": f"doc-{name}", "text": text, "version": 1},
            }
            made.append(Request(f"{prefix}.ingest.interactive", value))
    return made


def spice(kind, value, rng):
    """Some fail for good by a marker of the stub's, some have little time."""
    share = rng.random()
    if kind in ("embed", "llm") and share < 0.006:
        marker = " @@context@@" if share < 0.003 else " @@503@@"
        if kind == "embed":
            value["input"] += marker
        else:
            value["messages"][0]["content"] += marker
    elif share < 0.05:
        value["timeout_ms"] = rng.randint(1500, 8000)


DOOMS = {"@@context@@": "data.context_length", "@@503@@": "dependency.unavailable"}


def doom_of(value):
    """How a request must fail by its marker; None: it need not."""
    text = str(value.get("input") or value.get("messages"))
    return next((error for marker, error in DOOMS.items() if marker in text), None)


def requests(prefix, name, count, seed):
    """`count` ids in order of publishing, and among them some records that come twice (1 %) and some with another payload under
    a used id (0.3 %)."""
    rng = random.Random(f"{seed} {name} requests")
    made, again = [], []
    for i in range(count):
        request = request_of(prefix, f"{name}-{i:06d}", rng)
        made.append(request)
        share = rng.random()
        if share < 0.01:
            again.append((i + rng.randint(1, 200), request))
        elif share < 0.013 and "embed" in request.topic:
            other = {**request.value, "input": request.value["input"] + " another"}
            again.append((i + rng.randint(20, 200), Request(request.topic, other)))
    for at, request in sorted(again, key=lambda pair: -pair[0]):
        made.insert(min(at, len(made)), request)
    return made


def faults(seed, load_s):
    """The first run's schedule: one of three workers is killed every few seconds while the load lasts; once each: a worker joins
    and leaves, one is frozen for longer than its lease, Redis is killed, a broker is killed. All are back at the end."""
    rng = random.Random(f"{seed} faults")
    plan, away, at = [], dict.fromkeys(WORKERS, 0.0), 3.0

    def once(share, down_s, what, back, target):
        begin = load_s * share + rng.uniform(0, 2)
        plan.extend((Fault(begin, what, target), Fault(begin + down_s, back, target)))

    frozen = rng.choice(sorted(WORKERS))
    freeze_at = load_s * 0.72
    once(0.15, 10, "join", "leave", GUEST)
    once(0.32, rng.uniform(1, 2.5), "redis-kill", "redis-start", "redis")
    once(0.5, rng.uniform(5, 9), "broker-kill", "broker-start", rng.randint(1, 3))
    plan.extend((Fault(freeze_at, "freeze", frozen), Fault(freeze_at + LEASE_MS / 1000 + 2, "thaw", frozen)))
    while at < load_s:
        here = [w for w in sorted(WORKERS) if away[w] <= at and (w != frozen or not freeze_at - 4 < at < freeze_at + 8)]
        if here:
            target = rng.choice(here)
            # one in four stays away for longer than the group waits for it
            back = at + (rng.uniform(0.2, 2.5) if rng.random() < 0.75 else SESSION_MS / 1000 + rng.uniform(0.5, 2))
            plan.extend((Fault(at, "kill", target), Fault(back, "restart", target)))
            away[target] = back + 2.5  # and lives for a moment
        at += rng.uniform(3.5, 6)
    return sorted(plan)


WORDS = (
    "river stone bridge lantern harbour copper violet meadow signal orbit timber glacier engine ribbon market hollow candle "
    "garden thunder marble compass velvet anchor saddle window pepper canyon silver feather summit"
).split()
