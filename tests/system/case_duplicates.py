"""The same request twice costs once; another request under a used id is refused."""

import shapes
from records import text_hash
from servers import until
from world import case


@case("a duplicate is acknowledged without a second call, before and after the result")
def duplicates(w):
    text = "asked several times"
    w.stub.control(delay_ms=300)
    try:
        request_id = w.id("dup")
        request = {"id": request_id, "input": text, "model": "packed"}
        for partition in (0, 0, 1, 2):
            w.publish("embed", request, partition=partition)
        first = w.result(request_id)
    finally:
        w.stub.control(delay_ms=0)
    shapes.check_result(first, "embed", "ok", request_id)
    w.publish("embed", {**request, "timeout_ms": 20000, "metadata": {"not": "part of the fingerprint"}})
    w.ask("embed", {"input": "comes after it"})
    w.ask("embed", {"input": "comes after it"}, partition=0)
    assert w.stored(request_id) == first, "the result was written again"
    assert w.stub.calls().get(text_hash(text)) == 1, "the provider was asked more than once"


@case("a duplicate with a reply list gets its id pushed again")
def reply_again(w):
    request = {"id": w.id("list"), "input": "listed", "reply": "list"}
    for _ in range(2):
        w.publish("embed", request)
        assert w.redis.blpop(f"mr:{{default:{request['id']}}}:wait", timeout=10), "no id in the list"


@case("another payload under a used id is a conflict: a dead letter, the first result stays")
def conflict(w):
    first = w.ask("embed", {"input": "the first"})
    w.publish("embed", {"id": first["id"], "input": "the second"}, key="conflict-1")
    letter = w.letters_by_key("embed", ["conflict-1"])["conflict-1"]
    shapes.check_letter(letter, "data", "id_conflict")
    assert w.stored(first["id"]) == first
    w.publish("llm", {"id": first["id"], "messages": [{"role": "user", "content": "the same id, another kind"}]}, key="conflict-2")
    shapes.check_letter(w.letters_by_key("llm", ["conflict-2"])["conflict-2"], "data", "id_conflict")


@case("the same id of two tenants are two requests")
def two_tenants(w):
    request_id = w.id("shared")
    a = w.ask("embed", {"id": request_id, "tenant": "alpha", "input": "one", "model": "packed", "encoding": "base64"})
    b = w.ask("embed", {"id": request_id, "tenant": "beta", "input": "two", "model": "packed", "encoding": "base64"})
    assert a["result"]["embeddings"] != b["result"]["embeddings"]


@case("a final result is not overwritten by a record with more replays")
def final(w):
    first = w.ask("embed", {"input": "final"})
    w.publish("embed", {"id": first["id"], "input": "final"}, headers=[("mr-replays", "3")], partition=0)
    w.ask("embed", {"input": "behind it"}, partition=0)
    until("nothing", 1, lambda: True)
    assert w.stored(first["id"]) == first
