"""Bad input gets a dead letter with its class and code and, where id and tenant can be read, a failed result; its
neighbours are not harmed."""

import json

import shapes
from records import publish
from world import PAYLOAD_MAX, case


def with_id(name, **fields):
    return {"id": f"bad-{name}", "input": "x", **fields}


def nested(depth):
    return b'{"id":"bad-deep","input":"x","metadata":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


def filter_of(depth):
    return json.loads('{"operator":"AND","conditions":[' * depth + '{"field":"a","operator":"==","value":1}' + "]}" * depth)


# name, kind, value, class, code (or several); None as third member of a row's tail: no result is asked for, since no id can be read
LETTER_ONLY, RESULT = False, True
TABLE = [
    # no JSON
    ("cut", "embed", b'{"id":"bad-cut","input":"x"', "data", "invalid_json", LETTER_ONLY),
    ("not-json", "embed", b"hello", "data", "invalid_json", LETTER_ONLY),
    ("empty", "embed", b"", "data", "invalid_json", LETTER_ONLY),
    ("null-value", "embed", None, "data", "invalid_json", LETTER_ONLY),
    ("white-space", "embed", b"  \n\t ", "data", "invalid_json", LETTER_ONLY),
    ("bom", "embed", b'\xef\xbb\xbf{"id":"bad-bom","input":"x"}', "data", "invalid_json", LETTER_ONLY),
    ("duplicate-key", "embed", b'{"id":"bad-dup","input":"x","input":"y"}', "data", "invalid_json", LETTER_ONLY),
    ("duplicate-deep", "embed", b'{"id":"bad-dup2","input":"x","metadata":{"a":1,"a":2}}', "data", "invalid_json", LETTER_ONLY),
    ("nan", "embed", b'{"id":"bad-nan","input":"x","metadata":{"a":NaN}}', "data", "invalid_json", LETTER_ONLY),
    ("infinity", "embed", b'{"id":"bad-inf","input":"x","metadata":{"a":-Infinity}}', "data", "invalid_json", LETTER_ONLY),
    ("overflow", "embed", b'{"id":"bad-1e999","input":"x","metadata":{"a":1e999}}', "data", "invalid_json", LETTER_ONLY),
    ("raw-nul", "embed", b'{"id":"bad-nul","input":"a\x00b"}', "data", "invalid_json", LETTER_ONLY),
    ("escaped-nul", "embed", b'{"id":"bad-nul2","input":"a\\u0000b"}', "data", "invalid_json", LETTER_ONLY),
    ("surrogate", "embed", b'{"id":"bad-sur","input":"a\\ud800b"}', "data", "invalid_json", LETTER_ONLY),
    ("trailing", "embed", b'{"id":"bad-trail","input":"x"} {}', "data", "invalid_json", LETTER_ONLY),
    ("control-character", "embed", b'{"id":"bad-ctl","input":"a\nb"}', "data", "invalid_json", LETTER_ONLY),
    # no UTF-8; checked first
    ("utf8", "embed", b'{"id":"bad-utf8","input":"\xff\xfe"}', "data", "invalid_utf8", LETTER_ONLY),
    ("overlong-utf8", "embed", b'{"id":"bad-utf8b","input":"\xc0\xaf"}', "data", "invalid_utf8", LETTER_ONLY),
    ("surrogate-utf8", "embed", b'{"id":"bad-utf8c","input":"\xed\xa0\x80"}', "data", "invalid_utf8", LETTER_ONLY),
    ("utf8-before-json", "embed", b'{"id":"bad-utf8d", broken \xff', "data", "invalid_utf8", LETTER_ONLY),
    # too much
    ("deep", "embed", nested(40), "data", "too_deep", LETTER_ONLY),
    ("very-deep", "embed", b"[" * 100000, "data", ("too_deep", "invalid_json"), LETTER_ONLY),
    ("huge", "embed", {"id": "bad-huge", "input": "x" * (PAYLOAD_MAX - 200) + "y" * 400}, "data", "too_large", LETTER_ONLY),
    ("metadata-large", "embed", with_id("metadata-large", metadata={"a": "x" * 5000}), "data", "too_large", RESULT),
    ("inputs-many", "embed", with_id("inputs-many", input=["x"] * 2049), "data", ("schema", "too_large"), RESULT),
    # the wrong shape
    ("array", "embed", b'["id"]', "data", "schema", LETTER_ONLY),
    ("no-id", "embed", {"input": "x"}, "data", "schema", LETTER_ONLY),
    ("id-number", "embed", {"id": 7, "input": "x"}, "data", "schema", LETTER_ONLY),
    ("id-empty", "embed", {"id": "", "input": "x"}, "data", "schema", LETTER_ONLY),
    ("id-long", "embed", {"id": "a" * 129, "input": "x"}, "data", "schema", LETTER_ONLY),
    ("id-alphabet", "embed", {"id": "a/b", "input": "x"}, "data", "schema", LETTER_ONLY),
    ("tenant-alphabet", "embed", {"id": "bad-tenant", "tenant": "ACME", "input": "x"}, "data", "schema", LETTER_ONLY),
    ("tenant-long", "embed", {"id": "bad-tenant2", "tenant": "a" * 65, "input": "x"}, "data", "schema", LETTER_ONLY),
    ("unknown-field", "embed", with_id("unknown-field", inptu="y"), "data", "schema", RESULT),
    (
        "unknown-deep",
        "ingest",
        {"id": "bad-unknown-deep", "collection": "docs", "document": {"id": "d", "text": "x", "titel": "y"}},
        "data",
        "schema",
        RESULT,
    ),
    ("ill-typed", "embed", with_id("ill-typed", input=7), "data", "schema", RESULT),
    ("ill-typed-element", "embed", with_id("ill-typed-element", input=["x", 7]), "data", "schema", RESULT),
    ("ill-typed-number", "embed", with_id("ill-typed-number", dimensions="384"), "data", "schema", RESULT),
    ("ill-typed-metadata", "embed", with_id("ill-typed-metadata", metadata=[]), "data", "schema", RESULT),
    ("encoding", "embed", with_id("encoding", encoding="hex"), "data", "schema", RESULT),
    ("deadline", "embed", with_id("deadline", deadline="tomorrow"), "data", "schema", RESULT),
    ("input-empty", "embed", with_id("input-empty", input=""), "data", "schema", RESULT),
    ("input-none", "embed", with_id("input-none", input=[]), "data", "schema", RESULT),
    ("input-missing", "embed", {"id": "bad-input-missing"}, "data", "schema", RESULT),
    ("query-empty", "retrieve", {"id": "bad-query-empty", "collection": "docs", "query": ""}, "data", "schema", RESULT),
    ("top-k", "retrieve", {"id": "bad-top-k", "collection": "docs", "query": "x", "top_k": 1001}, "data", "schema", RESULT),
    ("top-k-zero", "retrieve", {"id": "bad-top-k-zero", "collection": "docs", "query": "x", "top_k": 0}, "data", "schema", RESULT),
    (
        "filter-operator",
        "retrieve",
        {"id": "bad-filter-operator", "collection": "docs", "query": "x", "filter": {"field": "a", "operator": "~", "value": 1}},
        "data",
        "schema",
        RESULT,
    ),
    (
        "filter-not-two",
        "retrieve",
        {
            "id": "bad-filter-not-two",
            "collection": "docs",
            "query": "x",
            "filter": {"operator": "NOT", "conditions": [{"field": "a", "operator": "==", "value": 1}] * 2},
        },
        "data",
        "schema",
        RESULT,
    ),
    (
        "filter-deep",
        "retrieve",
        {"id": "bad-filter-deep", "collection": "docs", "query": "x", "filter": filter_of(17)},
        "data",
        ("schema", "too_deep"),
        LETTER_ONLY,
    ),
    ("documents-empty", "rerank", {"id": "bad-documents-empty", "query": "x", "documents": []}, "data", "schema", RESULT),
    ("messages-role", "llm", {"id": "bad-messages-role", "messages": [{"role": "king", "content": "x"}]}, "data", "schema", RESULT),
    (
        "step-unknown",
        "retrieve",
        {"id": "bad-step-unknown", "collection": "docs", "query": "x", "then": [{"kind": "dance"}]},
        "data",
        "schema",
        RESULT,
    ),
    (
        "step-order",
        "rerank",
        {"id": "bad-step-order", "query": "x", "documents": [{"id": "a", "text": "b"}], "then": [{"kind": "retrieve"}]},
        "data",
        "schema",
        RESULT,
    ),
    (
        "steps-many",
        "retrieve",
        {"id": "bad-steps-many", "collection": "docs", "query": "x", "then": [{"kind": "rerank"}] * 9},
        "data",
        "schema",
        RESULT,
    ),
    # what isn't there
    (
        "collection",
        "retrieve",
        {"id": "bad-collection", "collection": "nowhere", "query": "x"},
        "data",
        "unknown_collection",
        RESULT,
    ),
    (
        "collection-ingest",
        "ingest",
        {"id": "bad-collection-ingest", "collection": "nowhere", "document": {"id": "d", "text": "x"}},
        "data",
        "unknown_collection",
        RESULT,
    ),
    ("model", "embed", with_id("model", model="gpt-17"), "model", "not_found", RESULT),
    ("model-kind", "embed", with_id("model-kind", model="local-answer"), "model", "not_found", RESULT),
]


def publish_table(w):
    """Bad and good records in turn on one partition of each kind. Keys are the rows' names."""
    goods = []
    for name, kind, value, *_ in TABLE:
        w.publish_raw(kind, value, key=name, partition=0)
        if kind == "embed":
            goods.append(w.publish("embed", {"input": f"the good neighbour of {name}"}, partition=0))
    return goods


@case("every bad input gets its dead letter, and a result where it can; good neighbours get ok")
def table(w):
    goods = publish_table(w)
    for request_id in goods:
        shapes.check_result(w.result(request_id, limit_s=60), "embed", "ok", request_id)
    faults = []
    letters = {}
    for kind in sorted({row[1] for row in TABLE}):
        letters.update(w.letters_by_key(kind, [row[0] for row in TABLE if row[1] == kind]))
    for name, kind, value, category, code, has_result in TABLE:
        try:
            letter = letters[name]
            shapes.check_letter(letter, category, code)
            sent = value if isinstance(value, bytes) or value is None else json.dumps(value, ensure_ascii=False).encode()
            assert letter.value == sent or (letter.value or b"") == (sent or b""), "the letter's value is not the producer's"
            assert letter.headers["mr-dlq-original-topic"] == w.topic(kind), letter.headers
            if has_result:
                result = w.result(f"bad-{name}", limit_s=5)
                shapes.check_result(result, kind, "failed", f"bad-{name}")
                assert result["error"]["code"] == letter.headers["mr-dlq-error-code"], result["error"]
        except AssertionError as e:
            faults.append(f"{name}: {e}")
    assert not faults, "\n".join(faults)


@case("a record whose ce_type names another kind is refused")
def wrong_type(w):
    w.publish_raw("embed", {"id": "bad-ce-type", "input": "x"}, key="ce-type", headers=[("ce_type", "millrace.dance.v1")])
    shapes.check_letter(w.letters_by_key("embed", ["ce-type"])["ce-type"], "data", "schema")
    shapes.check_result(w.result("bad-ce-type"), "embed", "failed", "bad-ce-type")


@case("a letter's message holds nothing of the payload")
def no_payload(w):
    canary = "zanzibar-4711"
    for name, value in {
        "leak-json": b'{"id":"x","input":' + canary.encode(),
        "leak-type": json.dumps({"id": canary, "input": {"a": canary}}).encode(),
        "leak-model": json.dumps({"id": "bad-leak-model", "input": canary, "metadata": canary}).encode(),
    }.items():
        publish(w.brokers, w.topic("embed"), value, key=name)
    for letter in w.letters_by_key("embed", ["leak-json", "leak-type", "leak-model"]).values():
        assert canary not in letter.headers["mr-dlq-error-message"], letter.headers["mr-dlq-error-message"]
