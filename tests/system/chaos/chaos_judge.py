"""Judges a run by its evidence (chaos_evidence.py) and by nothing else: no log, no state of a worker's, no trust in what a
result says of itself where something else can tell. Pure: evidence in, verdicts out; chaos_selftest.py feeds it doctored evidence.

When did a record durably end? At the latest possible lower bound: a result not before it was rendered (completed_at) nor before
the second of its append-only entry; a letter or a further retry record not before its timestamp. A commit that is older than
that bound has passed an unfinished record for certain."""

from collections import Counter, defaultdict, namedtuple

Verdict = namedtuple("Verdict", "name good figure faults")
FAULTS_SHOWN = 5
CALL_TOLERANCE_MS = 250  # between our decision to call and the line in the stub's journal, on a busy machine
LETTER_TOLERANCE_MS = 5
EARLY_MS = 3000  # a call that can't end in time is not begun: that much before the deadline it may expire
PATIENCE_MS = 15000  # a retry that would wait past the deadline is not begun
LONG_MS = 10**15
# what may lose an answer that was paid: the worker's death, and sleep beyond its lease
COSTLY = ("kill", "freeze")
UNSTORED_MS = 5000  # how long an answer may be under way or in hand before it is stored: latency, and Redis away for a moment


class Judge:
    def __init__(self, evidence, limits):
        """limits: attempts_max, inflight_max, lane_timeout_ms {lane: …}."""
        self.e, self.limits, self.verdicts = evidence, limits, []
        self.planned = {p["id"] for p in evidence["planned"]}
        self.inputs = [r for r in evidence["records"] if r["role"] == "request"]
        self.inputs_of = group(self.inputs, "id")
        self.letters = [r for r in evidence["records"] if r["role"] == "letter"]
        self.letters_of = group(self.letters, "id")
        self.results_of = group([r for r in evidence["results"] if r["command"] == "SET"], "id")
        self.calls_of = defaultdict(list)
        for call in evidence["calls"]:
            for request_id in call["ids"]:
                self.calls_of[request_id].append(call)

    def say(self, name, figure, faults):
        self.verdicts.append(Verdict(name, not faults, figure, faults))

    def run(self):
        for check in (
            self.published,
            self.one_outcome,
            self.one_ok,
            self.right_answers,
            self.letters_agree,
            self.records_accounted,
            self.failures_deserved,
            self.attempts,
            self.headers,
            self.commits_forward,
            self.commits_behind_work,
            self.deadlines,
            self.payments,
            self.payments_explained,
            self.lag,
        ):
            check()
        return self.verdicts

    # ---- outcomes

    def published(self):
        """The producers did their part: otherwise the rest would judge too little."""
        missing = sorted(self.planned - self.inputs_of.keys())
        lines = Counter((p["topic"], p["id"]) for p in self.e["planned"])
        there = Counter((r["topic"], r["id"]) for r in self.inputs)
        wrong = [f"{i} {there[t, i]} times in {t} instead of {n}" for (t, i), n in lines.items() if there[t, i] != n]
        figure = f"{len(self.planned)} ids in {len(self.inputs)} records"
        self.say("every request was published", figure, [f"{i} is in no topic" for i in missing] + wrong)

    def one_outcome(self):
        faults = []
        for request_id in sorted(self.planned):
            by_replay = Counter(r["replays"] for r in self.results_of.get(request_id, ()))
            last = self.e["stored"].get(request_id)
            if not by_replay:
                faults.append(f"{request_id} has no outcome")
            faults += [f"{request_id}: {n} results at replays {r}" for r, n in by_replay.items() if n > 1]
            if by_replay and last is None:
                faults.append(f"{request_id}: its result is gone")
            elif by_replay:
                final = self.results_of[request_id][-1]
                if last[:2] != [final["status"], final["replays"]]:
                    faults.append(f"{request_id}: stored is {last}, last written was {final['status']}")
        faults += [f"{r['key']}: {r['command']}" for r in self.e["results"] if r["command"] != "SET"]
        faults += [f"{i}: a result that nobody asked for" for i in self.results_of.keys() - self.planned]
        figure = ", ".join(f"{n} {s}" for s, n in sorted(Counter(s[0] for s in self.e["stored"].values()).items()))
        self.say("every id has exactly one outcome", figure, faults)

    def one_ok(self):
        faults = []
        for request_id, results in self.results_of.items():
            statuses = [r["status"] for r in results]
            if statuses.count("ok") > 1 or "ok" in statuses[:-1]:
                faults.append(f"{request_id}: {statuses}")
        self.say("at most one ok an id, and nothing after it", f"{len(self.e['results'])} results written", faults)

    def right_answers(self):
        faults = [
            f"{r['id']}: not the answer to its text" for r in self.e["results"] if r["command"] == "SET" and not r["right"]
        ]
        self.say("an answer belongs to its request", "vectors and texts compared", faults)

    def letters_agree(self):
        """A failure has a letter, and that one first; an ok has none, but for another payload under its id."""
        faults, codes = [], Counter(letter["error"] for letter in self.letters)
        for request_id, results in self.results_of.items():
            own = [letter for letter in self.letters_of.get(request_id, ()) if letter["error"] != "data.id_conflict"]
            for result in results:
                mine = [letter for letter in own if letter["replays"] == result["replays"]]
                if result["status"] in ("failed", "expired"):
                    if not mine:
                        faults.append(f"{request_id} {result['status']} without a letter")
                    elif min(m["at_ms"] for m in mine) > result["until_ms"] + LETTER_TOLERANCE_MS:
                        faults.append(f"{request_id}: its letter is younger than its result")
                elif mine:
                    faults.append(f"{request_id} {result['status']}, and a letter {mine[0]['error']}")
        faults += [f"{i}: a letter that belongs to nothing" for i in self.letters_of.keys() - self.planned]
        self.say("letters and results agree", ", ".join(f"{n} {c}" for c, n in sorted(codes.items())) or "no letters", faults)

    def records_accounted(self):
        """Where records of one id differ, one of them has the result and each other one a letter of its own."""
        faults, differing = [], 0
        for request_id, results in self.results_of.items():
            inputs = {tuple(r["origin"]): r for r in self.inputs_of.get(request_id, ())}
            winner = inputs.get(tuple(results[0]["source"]))
            if not winner:
                faults.append(f"{request_id}: its result is of {results[0]['source']}")
                continue
            told = {tuple(letter["origin"]) for letter in self.letters_of.get(request_id, ())}
            conflicts = {tuple(m["origin"]) for m in self.letters_of.get(request_id, ()) if m["error"] == "data.id_conflict"}
            for origin, r in inputs.items():
                differs = r["payload"] != winner["payload"]
                differing += differs
                if differs and origin not in told:
                    faults.append(f"{request_id}: another payload under its id, {origin}, has no letter")
                if not differs and origin in conflicts:
                    faults.append(f"{request_id}: {origin} is in conflict with itself")
        self.say("each record of a used id is accounted for", f"{differing} with another payload", faults)

    def failures_deserved(self):
        """Who fails was doomed by a marker, or had too little time, or met so many spoilt calls and strikes."""
        strikes = [s["at_ms"] for s in self.e["strikes"] if s["what"] in COSTLY]
        dooms, faults, luckless = {p["id"]: p.get("doom") for p in self.e["planned"]}, [], 0
        for request_id, results in self.results_of.items():
            error, inputs = results[-1]["error"], self.inputs_of.get(request_id)
            if not error or not inputs or error == dooms.get(request_id):
                continue
            begin, end = min(r["at_ms"] for r in inputs), results[-1]["until_ms"]
            due = begin + min(r["timeout_ms"] or LONG_MS for r in inputs)
            spoilt = sum(c["fault"] not in ("-", "429") for c in self.calls_of.get(request_id, ()))
            met = spoilt + sum(begin <= at <= end for at in strikes)
            luckless += 1
            if error == "serving.deadline":
                if end + EARLY_MS < due:
                    faults.append(f"{request_id}: expired {due - end:.0f} ms before its deadline")
            elif not error.startswith("dependency.") and error != "serving.internal":
                faults.append(f"{request_id}: {error}")
            elif met < self.limits["attempts_max"] and end + PATIENCE_MS < due:
                faults.append(f"{request_id}: {error} after {spoilt} spoilt calls")
            elif results[-1]["status"] != "failed":
                faults.append(f"{request_id}: {results[-1]['status']} with {error}")
        self.say("who fails had a reason", f"{luckless} without a marker of their own", faults)

    def attempts(self):
        most = self.limits["attempts_max"]
        rows = [r for r in self.e["records"] + self.e["results"] if r.get("attempts") is not None]
        faults = [f"{r['id']}: {r['attempts']} attempts" for r in rows if r["attempts"] > most]
        # what was called and burnt an attempt: not a rate limit, and not what a kill cut off (it may have burnt none)
        self.say(f"attempts ≤ {most}", f"at most {max((r['attempts'] for r in rows), default=0)}", faults)

    def headers(self):
        most = max((r["headers"] for r in self.e["records"]), default=0)
        faults = [f"{r['id']} in {r['topic']}: {r['headers']} headers" for r in self.e["records"] if r["headers"] > 32]
        self.say("headers don't grow", f"at most {most}", faults)

    # ---- offsets

    def commits_of(self):
        """{(group, topic, partition): its commits in order}"""
        found = defaultdict(list)
        for commit in sorted(self.e["commits"], key=lambda c: c["order"]):
            if commit["offset"] is not None:
                found[commit["group"], commit["topic"], commit["partition"]].append(commit)
        return found

    def commits_forward(self):
        faults, count = [], 0
        for (owner, topic, partition), commits in self.commits_of().items():
            count += len(commits)
            for before, after in zip(commits, commits[1:]):
                if after["offset"] < before["offset"]:
                    faults.append(f"{owner} {topic}[{partition}]: {before['offset']} → {after['offset']}")
        deleted = [c for c in self.e["commits"] if c["offset"] is None]
        gone = [f"{c['group']} {c['topic']}[{c['partition']}]: the commit was deleted" for c in deleted]
        self.say("committed offsets never went back", f"{count} commits", faults + gone)

    def ends(self):
        """{(topic, partition, offset): the first moment at which that record may have durably ended, or None}."""
        successors = defaultdict(list)  # by origin: hops and letters
        for r in self.e["records"]:
            if r["role"] != "request":
                successors[tuple(r["origin"])].append(r)
        found = {}
        for r in self.e["records"]:
            if r["role"] == "letter":
                continue
            times = [
                max(s["completed_ms"], s["from_ms"]) for s in self.results_of.get(r["id"], ()) if s["replays"] >= r["replays"]
            ]
            for s in successors[tuple(r["origin"])]:
                if s is not r and s["at_ms"] >= r["at_ms"]:
                    times.append(s["at_ms"])
            found[r["topic"], r["partition"], r["offset"]] = min(times, default=None)
        return found

    def commits_behind_work(self):
        ends, faults, passed = self.ends(), [], 0
        for (_, topic, partition), commits in self.commits_of().items():
            begin = 0
            for commit in commits:
                for offset in range(begin, commit["offset"]):
                    key = (topic, partition, offset)
                    passed += key in ends
                    if key not in ends:
                        continue
                    if ends[key] is None:
                        faults.append(f"{topic}[{partition}] {offset} is committed and never ended")
                    elif ends[key] > commit["at_ms"]:
                        early = ends[key] - commit["at_ms"]
                        faults.append(f"{topic}[{partition}] {offset} was committed {early:.0f} ms before its end")
                begin = max(begin, commit["offset"])
        self.say("no commit passed an unfinished record", f"{passed} records compared", faults)

    def lag(self):
        last = {(topic, partition): commits[-1]["offset"] for (_, topic, partition), commits in self.commits_of().items()}
        faults, rows = [], 0
        for topic, partitions in self.e["ends"].items():
            for partition, end in partitions.items():
                rows += end
                if last.get((topic, int(partition)), 0) != end:
                    faults.append(f"{topic}[{partition}]: {last.get((topic, int(partition)), 0)} of {end}")
        self.say("lag is 0 at the end", f"{rows} records", faults)

    # ---- money and time

    def deadline(self, request_id):
        """The latest one of the id's records, ms."""
        return max(self.own_deadline(r) for r in self.inputs_of[request_id])

    def own_deadline(self, r):
        lane = r["topic"].rsplit(".", 1)[1]
        return r["at_ms"] + (r["timeout_ms"] or self.limits["lane_timeout_ms"][lane])

    def deadlines(self):
        faults, worst = [], None
        for request_id, calls in self.calls_of.items():
            if request_id not in self.inputs_of:
                faults.append(f"a call for {request_id}, which nobody asked for")
                continue
            end = self.deadline(request_id)
            late = max(call["at_ms"] for call in calls) - end
            worst = late if worst is None else max(worst, late)
            if late > CALL_TOLERANCE_MS:
                faults.append(f"{request_id} was called {late:.0f} ms after its deadline")
        margin = "no calls" if worst is None else f"the latest {abs(worst):.0f} ms {'before' if worst <= 0 else 'after'}"
        self.say("no call began after its deadline", margin, faults)

    def good_calls(self):
        """{id: its calls that were answered in full}: paid. The others the stub's own faults explain."""
        return {i: [c for c in calls if c["status"] == 200 and c["fault"] == "-"] for i, calls in self.calls_of.items()}

    def payments(self):
        """One good answer an id; more only where a strike may have lost one. Each call that the stub spoilt explains one more."""
        good = self.good_calls()
        asked = sum(len(calls) for calls in self.calls_of.values())
        spoilt = asked - sum(map(len, good.values()))
        twice = sum(max(0, len(calls) - 1) for calls in good.values())
        costly = Counter(s["what"] for s in self.e["strikes"] if s["what"] in COSTLY)
        bound = sum(costly.values()) * self.limits["inflight_max"]
        figure = (
            f"{asked} asked, {len(good)} ids, {spoilt} spoilt by the stub, {twice} paid again ≤ "
            f"({costly['kill']} kills + {costly['freeze']} freezes) × {self.limits['inflight_max']}; "
            f"{self.e['abandoned']} answers not taken"
        )
        self.say("paid again ≤ what strikes can lose", figure, [f"{twice} > {bound}"] if twice > bound else [])

    def payments_explained(self):
        """Each second payment follows a strike that may have lost the answer before it. Who thaws may send what it had ready."""
        strikes, faults, explained = [s["at_ms"] for s in self.e["strikes"] if s["what"] in (*COSTLY, "thaw")], [], 0
        for request_id, calls in self.good_calls().items():
            for before, after in zip(calls, calls[1:]):
                begin, end = before["at_ms"] - CALL_TOLERANCE_MS, min(after["at_ms"], before["at_ms"] + UNSTORED_MS)
                if any(begin <= at <= end for at in strikes):
                    explained += 1
                else:
                    faults.append(
                        f"{request_id}: paid twice, {after['at_ms'] - before['at_ms']:.0f} ms apart, and nothing struck"
                    )
        self.say("each second payment follows a strike", f"{explained} follow one", faults)


def group(rows, name):
    found = defaultdict(list)
    for row in rows:
        found[row[name]].append(row)
    return found


def judge(evidence, limits):
    return Judge(evidence, limits).run()


def show(verdicts, log):
    width = max(len(v.name) for v in verdicts)
    for v in verdicts:
        log(f"{'ok    ' if v.good else 'NOT OK'}  {v.name.ljust(width)}  {v.figure}")
        for fault in v.faults[:FAULTS_SHOWN]:
            log(f"        - {fault}")
        if len(v.faults) > FAULTS_SHOWN:
            log(f"        … {len(v.faults)} in all")
