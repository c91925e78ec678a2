"""A dead letter is the original record and where, when and why it failed."""

import shapes
from servers import until
from world import case


@case("a letter keeps key, value and headers, and says where it came from")
def whole(w):
    value = b'{"id": "letter-1",\t"tenant" :"acme",  "input":"x", "unknown": "\xc5\xbc"}'
    w.publish_raw("embed", value, key="a key", lane="bulk", partition=2, headers=[("x-mine", "1,2"), ("traceparent", "00-abc")])
    letter = w.letters_by_key("embed", ["a key"])["a key"]
    shapes.check_letter(letter, "data", "schema")
    assert letter.key == b"a key" and letter.value == value, letter
    assert letter.headers["x-mine"] == "1,2" and letter.headers["traceparent"] == "00-abc", letter.headers
    headers = letter.headers
    assert headers["mr-dlq-original-topic"] == w.topic("embed", "bulk") and headers["mr-dlq-original-partition"] == "2"
    result = w.result("letter-1", "acme")
    shapes.check_result(result, "embed", "failed", "letter-1", "acme")
    assert str(result["source"]["offset"]) == headers["mr-dlq-original-offset"], (result["source"], headers)
    assert result["source"]["topic"] == w.topic("embed", "bulk") and result["source"]["partition"] == 2
    assert headers["mr-dlq-replays"] == "0" and headers["mr-dlq-step"] == "0", headers
    assert abs(int(headers["mr-dlq-original-timestamp"]) - letter.timestamp) < 60000, headers


@case("a letter of a later step of a chain lies with the first kind and names the step")
def chain_step(w):
    positions = w.ingest([{"id": "lone", "text": "the lone document about otters @@400@@"}])
    request_id = w.publish(
        "retrieve", {"collection": "docs", "query": "otters", "at_least": positions, "then": [{"kind": "llm", "model": "echo"}]}
    )
    letter = w.letters_by_key("retrieve", [request_id], limit_s=40)[request_id]
    shapes.check_letter(letter, "dependency", "bad_response")
    assert letter.headers["mr-dlq-step"] == "1", letter.headers
    shapes.check_result(w.result(request_id), "retrieve", "failed", request_id)


@case("a replayed letter is worked on anew and betters the failure")
def replay(w):
    text = "will pass the second time"
    w.stub.control(p5xx=1)
    try:
        request_id = w.publish("embed", {"input": text, "model": "packed"})
        shapes.check_result(w.result(request_id, limit_s=40), "embed", "failed", request_id)
    finally:
        w.stub.control(p5xx=0)
    letter = w.letters_by_key("embed", [request_id])[request_id]
    shapes.check_letter(letter, "dependency", "unavailable")
    assert letter.headers["mr-dlq-attempts"] == "3", letter.headers
    w.publish_raw("embed", letter.value, key=request_id, headers=[("mr-replays", "1")])

    def bettered():
        result = w.stored(request_id)
        return result if result["status"] == "ok" else None

    result = until("the replay's result", 20, bettered)
    shapes.check_result(result, "embed", "ok", request_id)
    assert result["replays"] == 1, result["replays"]
