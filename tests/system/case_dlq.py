"""Dead letters as a product: states, replays that happen once however they are interrupted, what they cost, and when they stop."""

import json
import signal
import subprocess
import time

import records
import shapes
from servers import until
from world import PARTITIONS, case

KINDS = ("ingest", "embed", "retrieve", "rerank", "llm")


def run(w, *arguments, code=0, config=None):
    """A dlq command; its standard output. code None: any."""
    got, out, err = w.millrace("dlq", *arguments, config=config or w.config())
    assert code is None or got == code, f"dlq {' '.join(arguments)}: exit {got}, not {code}\n{out}{err}"
    run.errors = err
    return out


def ask(w, *arguments, **options):
    return json.loads(run(w, *arguments, "--json", **options))


def states(w, prefix=None):
    """{place: [its state records, oldest first]}"""
    found = {}
    for record in records.read(w.brokers, f"{prefix or w.prefix}.dlq.state"):
        found.setdefault(record.key.decode(), []).append(json.loads(record.value) if record.value else None)
    return found


def place(letter):
    return f"{letter.topic}:{letter.partition}:{letter.offset}"


def bad_letters(w, tenant, count, lane="interactive"):
    """Letters of a tenant that fail again each time: {key: letter}."""
    keys = [w.id("bad") for _ in range(count)]
    values = [{"id": key, "tenant": tenant, "input": "x", "model": "no-such-model"} for key in keys]
    records.publish_many(w.brokers, w.topic("embed", lane), values)
    return w.letters_by_key("embed", keys, limit_s=60)


def new_tenant(w):
    return w.id("t")[:20]


@case("letters are parked, purged and opened again, and say by whom, when and how many")
def marks(w):
    tenant = new_tenant(w)
    letters = bad_letters(w, tenant, 3)
    places = sorted(place(letter) for letter in letters.values())
    config = w.config()

    def listed(*more):
        return sorted(row["at"] for row in ask(w, "ls", "--tenant", tenant, *more, config=config))

    assert listed() == places, (listed(), places)
    done = ask(w, "park", "--tenant", tenant, "--max", "2", "--by", "ann@desk", "--reason", "asked them", config=config)
    assert done["parked"] == 2 and done["by"] == "ann@desk", done
    parked = listed("--state", "parked")
    assert len(parked) == 2 and len(listed()) == 1 and listed("--state", "all") == places
    found = states(w)
    for one in parked:
        state = found[one][-1]
        assert (state["v"], state["state"], state["by"], state["count"]) == (1, "parked", "ann@desk", 2), state
        assert shapes.RFC3339_MS.match(state["at"]) and state["reason"] == "asked them", state
    stats = ask(w, "stats", "--tenant", tenant, config=config)
    assert stats["letters"] == 1 and stats["states"] == {"open": 1, "replayed": 0, "parked": 2, "purged": 0}, stats
    shown = ask(w, "show", parked[0], config=config)
    assert shown["state"] == "parked" and shown["state_record"]["by"] == "ann@desk", shown
    assert "ann@desk" in run(w, "show", parked[0], config=config)

    assert ask(w, "park", "--undo", parked[0], config=config)["opened"] == 1
    assert states(w)[parked[0]][-1]["state"] == "open" and parked[0] in listed()
    assert ask(w, "purge", parked[0], config=config)["purged"] == 1
    assert parked[0] not in listed() and parked[0] not in listed("--state", "parked,open,replayed")
    assert listed("--state", "purged") == [parked[0]]
    assert "@" in states(w)[parked[0]][-1]["by"]
    # An exit code for each: named and not there, named and in another state, not to be understood.
    run(w, "park", parked[1], config=config, code=1)
    run(w, "replay", parked[0], config=config, code=1)
    assert "purged" in run.errors, run.errors
    run(w, "park", f"{w.prefix}.embed.dlq:0:99999999", config=config, code=1)
    run(w, "park", "nonsense", config=config, code=2)
    run(w, "purge", "--all", "--tenant", tenant, config=config, code=2)
    run(w, "park", "--all", config=config, code=2)


@case("a replay keeps id, key and value, betters the failure, is noted, and happens once")
def replayed(w):
    tenant = new_tenant(w)
    w.stub.control(p5xx=1)
    try:
        request = {"input": "for the desk", "model": "packed", "tenant": tenant, "timeout_ms": 60000}
        request_id = w.publish("embed", request, key="the key")
        other = w.publish("embed", {"input": "stays", "model": "packed", "tenant": tenant}, key="another")
        letters = w.letters_by_key("embed", ["the key", "another"], limit_s=60)
    finally:
        w.stub.control(p5xx=0)
    letter = letters["the key"]
    config = w.config()
    before = time.time() * 1000
    done = ask(w, "replay", "--tenant", tenant, "--grep", "for the desk", "--by", "ann@desk", config=config)
    assert (done["replayed"], done["parked"], done["refused"], done["left"]) == (1, 0, 0, 0), done
    until("the replayed request's result", 20, lambda: w.stored(request_id, tenant)["status"] == "ok")
    assert w.stored(request_id, tenant)["replays"] == 1
    assert w.stored(other, tenant)["status"] == "failed", "the rest stays"
    sent = [r for r in records.read(w.brokers, w.topic("embed")) if r.key == b"the key"]
    assert len(sent) == 2 and sent[0].value == sent[1].value == letter.value, sent
    again = max(sent, key=lambda r: int(r.headers.get("mr-replays", "0")))
    assert again.headers["mr-replays"] == "1" and again.headers.get("mr-attempts", "0") == "0", again.headers
    assert 25000 < int(again.headers["mr-deadline"]) - before < 40000, again.headers
    assert not any(name.startswith(("mr-dlq-", "mr-origin-")) for name in again.headers), again.headers
    state = states(w)[place(letter)]
    assert len(state) == 1 and state[0]["state"] == "replayed" and state[0]["replay"] == done["replay"], state
    assert state[0]["count"] == 1 and state[0]["by"] == "ann@desk" and state[0]["replays"] == 1, state

    assert ask(w, "replay", "--tenant", tenant, "--grep", "for the desk", config=config)["replayed"] == 0
    run(w, "replay", place(letter), config=config, code=1)
    assert "replayed" in run.errors, run.errors
    assert [row["id"] for row in ask(w, "ls", "--tenant", tenant, config=config)] == [other], "a filtered replay leaves the rest"
    assert ask(w, "replay", place(letters["another"]), config=config)["replayed"] == 1
    until("the other one's result", 20, lambda: w.stored(other, tenant)["status"] == "ok")


@case("a dry run tells reasons, tenants, tokens, cost, what fails again, and the time; and does nothing")
def dry_run(w):
    tenant = new_tenant(w)
    bad_letters(w, tenant, 2)
    w.stub.control(p5xx=1)
    try:
        w.publish("embed", {"id": "dry-1" + tenant, "input": "x" * 300, "model": "packed", "tenant": tenant})
        request = {"model": "echo", "messages": [{"role": "user", "content": "y" * 90}], "max_tokens": 100, "tenant": tenant}
        w.publish("llm", {"id": "dry-2" + tenant, **request})
        w.letters_by_key("embed", ["dry-1" + tenant], limit_s=60)
        w.letters_by_key("llm", ["dry-2" + tenant], limit_s=60)
    finally:
        w.stub.control(p5xx=0)
    config = w.config()
    before = len(states(w))
    plan = ask(w, "replay", "--dry-run", "--tenant", tenant, "--rate", "2", config=config)
    assert plan["dry_run"] and plan["letters"] == 4 and plan["refused"] == 0, plan
    groups = {(g["class"], g["code"], g["tenant"]): g for g in plan["groups"]}
    assert groups[("model", "not_found", tenant)]["letters"] == 2 and groups[("model", "not_found", tenant)]["fails_again"]
    assert groups[("dependency", "unavailable", tenant)]["letters"] == 2
    assert not groups[("dependency", "unavailable", tenant)]["fails_again"]
    assert plan["fail_again"] == {"letters": 2, "share": 0.5} and plan["seconds"] == 2 and plan["rate"] == 2, plan
    assert groups[("dependency", "unavailable", tenant)]["tokens"] == {"input": 100 + 30, "output": 100}, plan
    cost = (100 * 0.02 + 30 * 0.15 + 100 * 0.6) / 1e6
    assert abs(plan["cost"]["amount"] - cost) < 1e-12 and plan["cost"]["currency"] == "USD", (plan["cost"], cost)
    text = run(w, "replay", "--dry-run", "--tenant", tenant, config=config)
    assert "model.not_found" in text and "4 letters would be replayed" in text and "50 %" in text, text
    assert len(states(w)) == before and w.stored("dry-1" + tenant, tenant)["status"] == "failed"


@case("a letter that was replayed too often is parked instead")
def too_often(w):
    tenant = new_tenant(w)
    [letter] = bad_letters(w, tenant, 1).values()
    config = w.config()
    assert ask(w, "replay", "--tenant", tenant, config=config)["replayed"] == 1

    def second():
        rows = ask(w, "ls", "--tenant", tenant, config=config)
        return rows if rows else None

    [row] = until("the replayed request's letter", 20, second)
    assert row["replays"] == 1 and row["at"] != place(letter), row
    done = ask(w, "replay", "--tenant", tenant, "--replays-max", "1", config=config)
    assert (done["replayed"], done["parked"]) == (0, 1), done
    state = states(w)[row["at"]][-1]
    assert state["state"] == "parked" and state["replay"] == done["replay"] and "replays-max" in state["reason"], state
    assert ask(w, "ls", "--tenant", tenant, config=config) == []
    assert ask(w, "replay", "--tenant", tenant, "--state", "parked", config=config)["replayed"] == 1


@case("--to sends to the other lane, and nowhere else")
def other_lane(w):
    tenant = new_tenant(w)
    [letter] = bad_letters(w, tenant, 1).values()
    config = w.config()
    for wrong in (f"{w.prefix}.control", f"{w.prefix}.embed.dlq", "elsewhere", f"{w.prefix}.embed.retry.1s"):
        run(w, "replay", "--tenant", tenant, "--to", wrong, config=config, code=2)
    run(w, "replay", place(letter), "--to", w.topic("llm"), config=config, code=1)
    assert ask(w, "replay", "--tenant", tenant, "--to", w.topic("embed", "bulk"), config=config)["replayed"] == 1
    sent = [r for r in records.read(w.brokers, w.topic("embed", "bulk")) if r.key == letter.key]
    assert len(sent) == 1 and sent[0].value == letter.value and sent[0].headers["mr-replays"] == "1", sent
    assert states(w)[place(letter)][-1]["to"] == w.topic("embed", "bulk")


@case("a replay stops when what it sends comes back, and the rest stays open")
def flood(w):
    tenant = new_tenant(w)
    bad_letters(w, tenant, 80)
    config = w.config()
    done = ask(w, "replay", "--tenant", tenant, "--rate", "15", config=config, code=1)
    assert done["stopped"] == "flood" and 20 <= done["replayed"] < 80 and done["left"] == 80 - done["replayed"], done
    assert "--force" in run.errors, run.errors
    left = ask(w, "stats", "--tenant", tenant, "--until", "1h", config=config)
    assert left["letters"] == 0, left
    first = ask(w, "ls", "--tenant", tenant, "--max", "1000", config=config)
    assert sum(row["replays"] == 0 for row in first) == done["left"], len(first)
    forced = ask(w, "replay", "--tenant", tenant, "--force", "--rate", "1000", config=config)
    assert forced["stopped"] is None and forced["replayed"] >= done["left"], forced


@case("a replayed chain goes on behind its finished steps and pays for none of them again", fleet=False, broker="real")
def chain(w):
    def later(provider):
        price = {"input_per_mtok": 0.15, "output_per_mtok": 0.6}
        model = {"name": "later", "kind": "llm", "provider": provider, "model": "echo-1", "max_tokens_default": 256}
        return w.config(kafka={"prefix": "chained"}, models=[{**model, "price": price}], data_dir=f"{w.folder}/chained")

    def publish(kind, request):
        request_id = w.id(kind)
        records.publish(w.brokers, f"chained.{kind}.interactive", {"id": request_id, **request}, key=request_id)
        return request_id

    query = "who sings at dawn " + w.id()
    name = records.text_hash(query)
    with w.worker(config=later("nowhere")):
        ingested = publish("ingest", {"collection": "packed", "document": {"id": "finch", "text": "finches sing at dawn"}})
        positions = w.result(ingested)["result"]["positions"]
        request = {"collection": "packed", "query": query, "mode": "dense", "at_least": positions}
        request["then"] = [{"kind": "llm", "model": "later"}]
        request_id = publish("retrieve", request)
        failed = w.result(request_id, limit_s=60)
        assert failed["status"] == "failed" and failed["error"]["code"] == "connect", failed
        assert w.stub.calls()[name] == 1
    config = later("packed")
    with w.worker(config=config):
        plan = ask(w, "replay", "--dry-run", config=config)
        assert plan["letters"] == 1 and plan["tokens"]["output"] == 256 and plan["fail_again"]["letters"] == 0, plan
        assert ask(w, "replay", config=config)["replayed"] == 1
        result = until("the replay's result", 30, lambda: (w.stored(request_id) or {}).get("status") == "ok" and w.stored(request_id))
    shapes.check_result(result, "retrieve", "ok", request_id, "default", "llm")
    assert result["replays"] == 1 and w.stub.calls()[name] == 1, (result["replays"], w.stub.calls()[name])


def make_topics(w, prefix):
    """The topics of a prefix, without a worker that empties them: its configuration."""
    config = w.config(kafka={"prefix": prefix})
    with w.worker("--kinds", "embed", config=config):
        pass
    return config


def put_letters(w, prefix, count):
    """Letters as a worker writes them, in bulk: their keys."""
    keys = [w.id("k") for _ in range(count)]
    headers = {
        "mr-dlq-error-class": "dependency",
        "mr-dlq-error-code": "timeout",
        "mr-dlq-error-message": "no answer",
        "mr-dlq-attempts": "3",
        "mr-dlq-replays": "0",
        "mr-dlq-step": "0",
        "mr-dlq-original-topic": f"{prefix}.embed.bulk",
        "mr-dlq-original-partition": "0",
        "mr-dlq-original-offset": "0",
    }
    arguments = [part for name, value in headers.items() for part in ("-H", f"{name}={value}")]
    lines = "".join(f"{key}\t{json.dumps({'id': key, 'input': 'again', 'model': 'packed'})}\n" for key in keys)
    records.kcat(w.brokers, "-P", "-t", f"{prefix}.embed.dlq", "-K\t", *arguments, stdin=lines.encode())
    return keys


def start_replay(w, config, *arguments):
    command = [f"{w.build}/millrace", "dlq", "replay", "--kind", "embed", "--config", config, "--json", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=w.folder)


def check_once(w, prefix, keys):
    """Each key went out once, and its letter says so once."""
    sent = [record.key.decode() for record in records.read(w.brokers, f"{prefix}.embed.bulk")]
    assert sorted(sent) == sorted(keys), f"{len(sent)} sent, {len(set(sent))} of them different, {len(keys)} wanted"
    found = states(w, prefix)
    letters = {place(letter) for letter in records.read(w.brokers, f"{prefix}.embed.dlq")}
    assert set(found) == letters and all(len(s) == 1 and s[0]["state"] == "replayed" for s in found.values())


def ends(w, topic):
    """The sum of a topic's end offsets: grows with whatever is written, committed or not."""
    places = [part for p in range(PARTITIONS) for part in ("-t", f"{topic}:{p}:-1")]
    return sum(int(line.split()[-1]) for line in records.kcat(w.brokers, "-Q", *places).decode().splitlines())


@case("a replay that is killed again and again sends each letter once", fleet=False, broker="real")
def killed(w):
    prefix = "killed"
    config = make_topics(w, prefix)
    keys = put_letters(w, prefix, 12000)
    cut = 0
    for pause_s in (0, 0.13, 0.25, 0.31, 0.44):
        before = ends(w, f"{prefix}.embed.bulk")
        process = start_replay(w, config, "--rate", "2500")  # a transaction of 100 each 40 ms
        until("it sends", 30, lambda: process.poll() is not None or ends(w, f"{prefix}.embed.bulk") > before + 100, pause_s=0.01)
        time.sleep(pause_s)
        if process.poll() is None:
            process.kill()
            cut += 1
        process.communicate()
    sent = len(records.read(w.brokers, f"{prefix}.embed.bulk"))
    assert cut >= 3 and 0 < sent < len(keys), f"{cut} killed, {sent} sent: the machine is too fast or too slow for this test"
    done = ask(w, "replay", "--kind", "embed", "--rate", "1000000", config=config)
    assert done["left"] == 0 and 0 < done["replayed"] <= len(keys) - sent, (done, sent)
    check_once(w, prefix, keys)


@case("of two replays at once the later one goes on, and no letter is sent twice", fleet=False, broker="real")
def two_at_once(w):
    prefix = "twice"
    config = make_topics(w, prefix)
    keys = put_letters(w, prefix, 400)
    first = start_replay(w, config, "--rate", "100")
    until("the first one sends", 20, lambda: len(records.read(w.brokers, f"{prefix}.embed.bulk")) > 0)
    second = start_replay(w, config, "--rate", "100000")
    out, err = first.communicate(timeout=60)
    assert first.returncode == 1 and b"another replay" in err, (first.returncode, err)
    done, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert json.loads(out)["replayed"] + json.loads(done)["replayed"] == len(keys), (out, done)
    check_once(w, prefix, keys)


@case("Ctrl-C ends a replay between two batches; the same command goes on", fleet=False, broker="real")
def interrupted(w):
    prefix = "ctrlc"
    config = make_topics(w, prefix)
    keys = put_letters(w, prefix, 60)
    process = start_replay(w, config, "--rate", "10")
    until("it sends", 20, lambda: len(records.read(w.brokers, f"{prefix}.embed.bulk")) > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    first = json.loads(out)
    assert process.returncode == 1 and first["stopped"] == "signal" and b"goes on" in err, (process.returncode, out, err)
    assert ask(w, "replay", config=config)["replayed"] == len(keys) - first["replayed"]
    check_once(w, prefix, keys)


@case("a broker that dies under a replay costs no letter and sends none twice", fleet=False, broker="real")
def broker_dies(w):
    prefix = "brokerless"
    config = make_topics(w, prefix)
    keys = put_letters(w, prefix, 1500)
    process = start_replay(w, config, "--rate", "300")
    until("it sends", 20, lambda: ends(w, f"{prefix}.embed.bulk") > 100)
    w.kafka._script("kill")
    w.kafka._script("start")
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1) and (process.returncode == 0 or err), (process.returncode, out, err)
    first = json.loads(out)["replayed"]
    done = ask(w, "replay", "--rate", "1000000", config=config)
    # What the broker did not answer for may have been done: it is not counted, and not done again.
    assert done["left"] == 0 and len(keys) - 200 <= first + done["replayed"] <= len(keys), (out, err, done)
    check_once(w, prefix, keys)


@case("a worker reads on behind a replay's transactions, killed ones too", fleet=False, broker="real")
def worker_reads_on(w):
    prefix = "behind"
    config = make_topics(w, prefix)
    keys = put_letters(w, prefix, 120)
    process = start_replay(w, config, "--rate", "60")
    until("it sends", 20, lambda: len(records.read(w.brokers, f"{prefix}.embed.bulk")) > 0)
    process.kill()
    process.communicate()
    with w.worker("--kinds", "embed", config=config):
        assert ask(w, "replay", config=config)["left"] == 0
        for key in keys:
            assert w.result(key, limit_s=60)["status"] == "ok"
        assert ask(w, "stats", config=config)["letters"] == 0


@case("purge --all deletes what no letter that stays lies before", fleet=False, broker="real")
def purge_all(w):
    prefix = "swept"
    config = make_topics(w, prefix)
    put_letters(w, prefix, 40)
    letters = records.read(w.brokers, f"{prefix}.embed.dlq")
    by_partition = {}
    for letter in letters:
        by_partition.setdefault(letter.partition, []).append(letter)
    partition = max(by_partition, key=lambda p: len(by_partition[p]))
    kept = sorted(by_partition[partition], key=lambda letter: letter.offset)[2]
    assert ask(w, "park", place(kept), config=config)["parked"] == 1
    done = ask(w, "purge", "--all", "--yes", "--state", "open", "--by", "ann", config=config)
    behind = len(by_partition[partition]) - 3
    assert (done["purged"], done["deleted"], done["hidden"]) == (39, 39 - behind, behind), (done, behind)
    left = records.read(w.brokers, f"{prefix}.embed.dlq")
    assert len(left) == 1 + behind and place(kept) in map(place, left), left
    assert [row["at"] for row in ask(w, "ls", "--state", "open,parked,replayed", config=config)] == [place(kept)]
    state = states(w, prefix)
    assert len(state) == 40 and all(s[-1] and s[-1]["by"] for s in state.values())
    done = ask(w, "purge", "--all", "--yes", config=config)
    assert (done["purged"], done["deleted"], done["hidden"]) == (1, 1 + behind, 0), done
    assert records.read(w.brokers, f"{prefix}.embed.dlq") == []
    ask(w, "purge", "--all", "--yes", config=config)  # the states of letters that are long gone go, too
    assert all(s[-1] is None for s in states(w, prefix).values())
