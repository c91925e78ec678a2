"""Can the judge fail? It gets evidence of a run in which all went well, then the same with one thing wrong at a time: each must be
found, by the check that it belongs to."""

import copy
import struct

import chaos_evidence
import chaos_judge
import chaos_plan

TOPIC, RETRY, DLQ = "chaos.embed.bulk", "chaos.embed.retry.1s", "chaos.embed.dlq"
GROUP, RETRY_GROUP = "millrace.embed.bulk", "millrace.embed.retry"
T0 = 1_800_000_000_000


def record(role, topic, offset, request_id, at_ms, origin=None, **fields):
    row = {
        "role": role,
        "topic": topic,
        "partition": 0,
        "offset": offset,
        "at_ms": at_ms,
        "id": request_id,
        "tenant": "default",
    }
    row |= {
        "timeout_ms": None,
        "headers": 8,
        "attempts": 0,
        "replays": 0,
        "origin": origin or [topic, 0, offset],
        "origin_at_ms": at_ms,
    }
    return {**row, "payload": hash(request_id), **fields}


def result(request_id, status, completed_ms, attempts=1, replays=0, error=None):
    second = completed_ms // 1000 * 1000
    row = {
        "command": "SET",
        "key": f"mr:{{default:{request_id}}}:result",
        "id": request_id,
        "tenant": "default",
        "status": status,
    }
    row |= {
        "replays": replays,
        "attempts": attempts,
        "from_ms": second,
        "until_ms": second + 1000,
        "error": error,
        "right": True,
    }
    return {**row, "completed_ms": completed_ms, "source": [TOPIC, 0, "abcdefg".index(request_id)]}


def call(request_id, at_ms, fault="-", status=200):
    return {"at_ms": at_ms, "status": status, "fault": fault, "ids": [request_id]}


def commit(offset, at_ms, order, topic=TOPIC, owner=GROUP):
    return {"group": owner, "topic": topic, "partition": 0, "offset": offset, "at_ms": at_ms, "order": order, "metadata": ""}


def sound():
    """a: at once. b: a 503, then a retry topic. c: twice published. d: fails for good. e: another payload under its id.
    f: paid twice, for a worker was killed. g: its own time is short."""
    inputs = [record("request", TOPIC, i, name, T0 + i) for i, name in enumerate("abcdefg")]
    inputs += [record("request", TOPIC, 7, "c", T0 + 300), record("request", TOPIC, 8, "e", T0 + 310)]
    inputs[6]["timeout_ms"], inputs[8]["payload"] = 2000, 17
    retry = record("retry", RETRY, 0, "b", T0 + 150, [TOPIC, 0, 1], attempts=1, headers=14)
    letters = [
        record("letter", DLQ, 0, "d", T0 + 200, [TOPIC, 0, 3], attempts=5, error="dependency.unavailable"),
        record("letter", DLQ, 1, "e", T0 + 330, [TOPIC, 0, 8], attempts=0, error="data.id_conflict"),
        record("letter", DLQ, 2, "g", T0 + 2100, [TOPIC, 0, 6], attempts=1, error="serving.deadline"),
    ]
    results = [result(name, "ok", T0 + 100) for name in "ace"] + [result("b", "ok", T0 + 1400, attempts=2)]
    results += [result("d", "failed", T0 + 210, attempts=5, error="dependency.unavailable"), result("f", "ok", T0 + 9000)]
    results += [result("g", "expired", T0 + 2110, error="serving.deadline")]
    calls = [call(name, T0 + 50) for name in "acef"] + [
        call("b", T0 + 60, "503", 503),
        call("b", T0 + 1300),
        call("f", T0 + 8900),
    ]
    calls += [call("d", T0 + 50 + 10 * i, "503", 503) for i in range(5)] + [call("g", T0 + 40, "hang", 0)]
    return {
        "planned": [{"id": r["id"], "topic": TOPIC, "doom": None} for r in inputs],
        "records": inputs + [retry] + letters,
        "ends": {TOPIC: {"0": 9}, RETRY: {"0": 1}},
        "commits": [
            commit(2, T0 + 160, 1),
            commit(5, T0 + 230, 2),
            commit(9, T0 + 9100, 3),
            commit(1, T0 + 1500, 4, RETRY, RETRY_GROUP),
        ],
        "results": results,
        "stored": {r["id"]: [r["status"], r["replays"], "then"] for r in results},
        "calls": calls,
        "strikes": [{"at_ms": T0 + 70, "what": "kill", "target": "w1"}],
        "abandoned": 1,
    }


def rows(evidence, name, **wanted):
    return [r for r in evidence[name] if all(r.get(k) == v for k, v in wanted.items())]


# what is done to the evidence → the check that must notice
def lose_outcome(e):
    e["results"].remove(rows(e, "results", id="a")[0])
    del e["stored"]["a"]


def lose_stored(e):
    del e["stored"]["a"]


def second_result(e):
    e["results"].append(result("d", "failed", T0 + 900, error="dependency.unavailable"))


def second_ok(e):
    e["results"].append(result("a", "ok", T0 + 900, replays=1))
    e["stored"]["a"][1] = 1


def ok_lost_again(e):
    e["results"].append(result("a", "failed", T0 + 900, replays=1, error="dependency.timeout"))
    e["stored"]["a"][:2] = ["failed", 1]
    e["records"].append(record("letter", DLQ, 9, "a", T0 + 800, [TOPIC, 0, 0], replays=1, error="dependency.timeout"))


def deleted_result(e):
    e["results"].append({"command": "DEL", "key": "mr:{default:a}:result"})


def wrong_answer(e):
    rows(e, "results", id="c")[0]["right"] = False


def failure_without_letter(e):
    e["records"].remove(rows(e, "records", role="letter", id="d")[0])
    e["commits"][1]["at_ms"] = T0 + 240


def letter_after_result(e):
    rows(e, "records", role="letter", id="d")[0]["at_ms"] = T0 + 5000


def letter_of_ok(e):
    e["records"].append(record("letter", DLQ, 3, "a", T0 + 90, [TOPIC, 0, 0], error="dependency.timeout"))


def conflict_takes_all(e):
    e["records"].append(record("letter", DLQ, 3, "e", T0 + 90, [TOPIC, 0, 4], error="data.id_conflict"))


def conflict_untold(e):
    e["records"].remove(rows(e, "records", role="letter", id="e")[0])


def foreign_source(e):
    rows(e, "results", id="a")[0]["source"] = [TOPIC, 0, 2]


def unlucky_once(e):
    e["calls"] = [c for c in e["calls"] if c["ids"] != ["d"] or c["at_ms"] == T0 + 50]


def expired_early(e):
    rows(e, "records", role="request", id="g")[0]["timeout_ms"] = 60000


def failed_for_no_fault(e):
    for row in rows(e, "results", id="d") + rows(e, "records", role="letter", id="d"):
        row["error"] = "model.dimension_mismatch"


def too_many_attempts(e):
    rows(e, "results", id="b")[0]["attempts"] = chaos_plan.ATTEMPTS_MAX + 1


def too_many_in_retry(e):
    rows(e, "records", role="retry")[0]["attempts"] = chaos_plan.ATTEMPTS_MAX + 1


def growing_headers(e):
    rows(e, "records", role="retry")[0]["headers"] = 60


def commit_back(e):
    e["commits"].insert(2, commit(1, T0 + 240, 2.5))


def commit_deleted(e):
    e["commits"].append(commit(None, T0 + 9999, 9))


def commit_early(e):
    e["commits"][1]["at_ms"] = T0 + 199  # d's letter came at 200


def commit_of_nothing(e):
    lose_outcome(e)


def retry_never_done(e):
    e["results"].remove(rows(e, "results", id="b")[0])
    del e["stored"]["b"]


def retry_committed_early(e):
    e["commits"][3]["at_ms"] = T0 + 1300


def lag_left(e):
    e["ends"][RETRY]["0"] = 2


def lag_unread(e):
    e["ends"]["chaos.llm.bulk"] = {"3": 1}


def late_call(e):
    e["calls"].append(call("g", T0 + 6 + 2000 + chaos_judge.CALL_TOLERANCE_MS + 5, "hang", 0))


def unasked_call(e):
    e["calls"].append(call("x", T0 + 10, "503", 503))


def paid_for_nothing(e):
    e["calls"] += [call("a", T0 + 30000), call("a", T0 + 60000)]  # the kill explains the first of them


def paid_too_often(e):
    e["calls"] += [call("f", T0 + 80 + i) for i in range(chaos_plan.INFLIGHT_MAX + 1)]


def unpublished(e):
    e["records"].remove(rows(e, "records", role="request", id="a")[0])


def published_once(e):
    e["records"].remove(rows(e, "records", role="request", offset=7)[0])


DOCTORED = {
    "every id has exactly one outcome": (lose_outcome, lose_stored, second_result, deleted_result),
    "at most one ok an id, and nothing after it": (second_ok, ok_lost_again),
    "an answer belongs to its request": (wrong_answer,),
    "letters and results agree": (failure_without_letter, letter_after_result, letter_of_ok),
    "each record of a used id is accounted for": (conflict_takes_all, conflict_untold, foreign_source),
    "who fails had a reason": (unlucky_once, expired_early, failed_for_no_fault),
    f"attempts ≤ {chaos_plan.ATTEMPTS_MAX}": (too_many_attempts, too_many_in_retry),
    "headers don't grow": (growing_headers,),
    "committed offsets never went back": (commit_back, commit_deleted),
    "no commit passed an unfinished record": (commit_early, commit_of_nothing, retry_never_done, retry_committed_early),
    "lag is 0 at the end": (lag_left, lag_unread),
    "no call began after its deadline": (late_call, unasked_call),
    "each second payment follows a strike": (paid_for_nothing,),
    "paid again ≤ what strikes can lose": (paid_too_often,),
    "every request was published": (unpublished, published_once),
}


def decoder():
    """A commit as Kafka writes it, old form and new, in pieces."""
    name = struct.pack(">h", 2) + b"gr" + struct.pack(">h", 1) + b"t" + struct.pack(">i", 3)
    new = struct.pack(">hqi", 4, 17, -1) + b"\x03ab" + struct.pack(">q", T0) + b"\x00"
    old = struct.pack(">hqi", 3, 18, -1) + struct.pack(">h", 2) + b"\nx" + struct.pack(">q", T0 + 1)
    lines, stream, found = b"", chaos_evidence.CommitStream(), []
    for kind, value in ((1, new), (2, b"a group's\nmembers"), (1, old), (1, None)):
        key = struct.pack(">h", kind) + name
        lines += f"0\t5\t{T0}\t{len(key)}\t{-1 if value is None else len(value)}\n".encode() + key + (value or b"") + b"\n"
    for i in range(len(lines)):
        found += stream.feed(lines[i : i + 1])
    assert [(c.group, c.topic, c.partition, c.offset, c.metadata) for c in found] == [
        ("gr", "t", 3, 17, "ab"),
        ("gr", "t", 3, 18, "\nx"),
        ("gr", "t", 3, None, ""),
    ], found


def run(log):
    """(passed, failed)"""
    passed, faults = 0, []
    try:
        decoder()
        passed += 1
    except AssertionError as e:
        faults.append(f"commits are misread: {e}")
    wrong = [v for v in chaos_judge.judge(sound(), chaos_plan.LIMITS) if not v.good]
    faults += [f"sound evidence fails {v.name}: {v.faults}" for v in wrong]
    passed += not wrong
    for name, doctors in DOCTORED.items():
        for doctor in doctors:
            evidence = copy.deepcopy(sound())
            doctor(evidence)
            found = {v.name for v in chaos_judge.judge(evidence, chaos_plan.LIMITS) if not v.good}
            if name in found:
                passed += 1
            else:
                faults.append(f"{doctor.__name__}: not noticed by “{name}”, only by {sorted(found)}")
    missing = {v.name for v in chaos_judge.judge(sound(), chaos_plan.LIMITS)} - DOCTORED.keys()
    faults += [f"nothing tries whether “{name}” can fail" for name in missing]
    for fault in faults:
        log(f"NOT OK  self-test: {fault}")
    log(f"{'NOT OK' if faults else 'ok    '}  the judge's self-test: {passed} passed, {len(faults)} failed")
    return passed, len(faults)
