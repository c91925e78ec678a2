"""What a provider can do wrong, and what becomes of the request: class, code, attempts."""

import datetime
import time

import shapes
from records import text_hash
from servers import until
from world import case

ATTEMPTS = 3  # retry.attempts_max of the tests' configuration
# marker, class, codes, attempts
FAULTS = [
    ("400", "dependency", "bad_response", None),
    ("401", "dependency", "auth", 1),
    ("404", "model", "not_found", 1),
    ("413", "data", "too_large", 1),
    ("500", "dependency", "unavailable", ATTEMPTS),
    ("503", "dependency", "unavailable", ATTEMPTS),
    ("529", "dependency", "unavailable", ATTEMPTS),
    ("context", "data", "context_length", 1),
    ("filter", "model", "content_filter", 1),
    ("quota", "dependency", "quota", 1),
    ("hang", "dependency", "timeout", ATTEMPTS),
    ("garbage", "dependency", "bad_response", ATTEMPTS),
    ("truncated", "dependency", "bad_response", ATTEMPTS),
    ("empty", "dependency", "bad_response", ATTEMPTS),
    ("error200", "dependency", ("bad_response", "unavailable"), ATTEMPTS),
    ("missing", "dependency", "bad_response", ATTEMPTS),
    ("short", "model", "dimension_mismatch", 1),
    ("nan", "model", "not_finite", 1),
    ("huge", "model", "not_finite", 1),
    ("reset", "dependency", ("connect", "bad_response", "unavailable"), ATTEMPTS),
]


def check_faults(w, model):
    sent = {}
    for marker, *_ in FAULTS:
        text = f"{model} answers @@{marker}@@"
        sent[w.publish("embed", {"input": text, "model": model})] = text
    good = w.publish("embed", {"input": f"{model} unharmed", "model": model})
    shapes.check_result(w.result(good), "embed", "ok", good)
    letters = w.letters_by_key("embed", sent, limit_s=60)
    calls, faults = w.stub.calls(), []
    for (marker, category, codes, attempts), (request_id, text) in zip(FAULTS, sent.items()):
        try:
            letter, result = letters[request_id], w.result(request_id)
            shapes.check_letter(letter, category, codes)
            shapes.check_result(result, "embed", "failed", request_id)
            assert result["error"]["code"] == letter.headers["mr-dlq-error-code"]
            made = calls.get(text_hash(text), 0)
            burnt = result["attempts"]
            assert int(letter.headers["mr-dlq-attempts"]) == burnt, f"letter {letter.headers['mr-dlq-attempts']}, result {burnt}"
            assert attempts is None or burnt == attempts, f"{burnt} attempts, expected {attempts}"
            # libcurl itself asks anew when a connection that it had kept open is reset before an answer
            assert made == burnt or (marker == "reset" and made > burnt), f"{burnt} attempts, {made} calls"
        except AssertionError as e:
            faults.append(f"@@{marker}@@: {e}")
    assert not faults, "\n".join(faults)


@case("every fault of a provider gets its class, code and number of attempts: JSON numbers")
def faults_float(w):
    check_faults(w, "floats")


@case("every fault of a provider gets its class, code and number of attempts: base64")
def faults_base64(w):
    check_faults(w, "packed")


@case("one bad input of several names itself or fails all of them, never some silently")
def several(w):
    result = w.ask("embed", {"input": ["fine", "bad @@context@@", "fine too"], "model": "packed"}, status="failed")
    assert result["error"]["code"] == "context_length", result["error"]
    assert "input" not in result["error"] or result["error"]["input"] == 1, result["error"]


@case("a rate limit burns no attempt, and Retry-After is waited for")
def rate_limit(w):
    text = "limited at first"
    w.stub.control(p429=1, retry_after=1)
    try:
        begun = time.monotonic()
        request_id = w.publish("embed", {"input": text, "model": "packed"})
        time.sleep(0.7)
    finally:
        w.stub.control(p429=0)
    result = w.result(request_id)
    shapes.check_result(result, "embed", "ok", request_id)
    assert result["attempts"] == 1, f"{result['attempts']} attempts"
    assert time.monotonic() - begun >= 0.95, "Retry-After was not waited for"
    assert w.stub.calls()[text_hash(text)] >= 2


@case("a rate limit past the deadline ends as expired")
def rate_limit_deadline(w):
    w.stub.control(p429=1, retry_after=1)
    try:
        request_id = w.publish("embed", {"input": "limited for ever", "model": "packed", "timeout_ms": 2500})
        result = w.result(request_id)
    finally:
        w.stub.control(p429=0)
    assert result["status"] in ("expired", "failed") and result["attempts"] <= 1, result
    shapes.check_result(result, "embed", result["status"], request_id)


@case("a provider that recovers gets the request through")
def recovery(w):
    text = "at the second or third try"
    w.stub.control(p5xx=0.999999)
    try:
        request_id = w.publish("embed", {"input": text, "model": "packed"})
        until("the first call", 10, lambda: w.stub.calls().get(text_hash(text), 0) >= 1, pause_s=0.005)
    finally:
        w.stub.control(p5xx=0)
    result = w.result(request_id)
    shapes.check_result(result, "embed", "ok", request_id)
    assert result["attempts"] >= 2, result["attempts"]


@case("a provider that can't be reached: retriable, then a dead letter")
def unreachable(w):
    request_id = w.publish("embed", {"input": "to nowhere", "model": "lost"})
    letter = w.letters_by_key("embed", [request_id], limit_s=40)[request_id]
    shapes.check_letter(letter, "dependency", "connect")
    assert letter.headers["mr-dlq-attempts"] == str(ATTEMPTS), letter.headers
    result = w.result(request_id)
    shapes.check_result(result, "embed", "failed", request_id)
    assert result["error"]["retriable"] is True


@case("a deadline that has passed expires without a call, one that passes during a call does too")
def deadlines(w):
    text = "too late"
    past = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    request_id = w.publish("embed", {"input": text, "model": "packed", "deadline": past})
    result = w.result(request_id)
    shapes.check_result(result, "embed", "expired", request_id)
    assert result["error"]["code"] == "deadline", result["error"]
    assert text_hash(text) not in w.stub.calls(), "money was spent on a request past its deadline"
    shapes.check_letter(w.letters_by_key("embed", [request_id])[request_id], "serving", "deadline")
    slow = w.publish("embed", {"input": "hangs @@hang@@", "model": "packed", "timeout_ms": 700})
    shapes.check_result(w.result(slow, limit_s=10), "embed", "expired", slow)


@case("llm faults: a filtered prompt, a server error, a bad answer")
def llm_faults(w):
    for marker, category, codes in (
        ("filter", "model", "content_filter"),
        ("500", "dependency", "unavailable"),
        ("garbage", "dependency", "bad_response"),
    ):
        request_id = w.publish("llm", {"model": "echo", "messages": [{"role": "user", "content": f"please @@{marker}@@"}]})
        shapes.check_letter(w.letters_by_key("llm", [request_id], limit_s=40)[request_id], category, codes)
        shapes.check_result(w.result(request_id), "llm", "failed", request_id)
