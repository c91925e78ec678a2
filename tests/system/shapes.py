"""The shapes of the contract, field by field. Each function raises AssertionError naming the field; fields that are not known are
let through, since the contract may add optional ones."""

import base64
import math
import re
import struct

KINDS = ("ingest", "embed", "retrieve", "rerank", "llm")
RFC3339_MS = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
ERRORS = {
    "data": {
        "invalid_json",
        "schema",
        "too_large",
        "too_deep",
        "invalid_utf8",
        "context_length",
        "unknown_collection",
        "id_conflict",
    },
    "model": {"not_found", "content_filter", "refusal", "bad_output", "dimension_mismatch", "not_finite"},
    "dependency": {"connect", "timeout", "rate_limited", "unavailable", "bad_response", "circuit_open", "auth", "quota"},
    "serving": {"deadline", "budget", "cancelled", "index_not_ready", "internal"},
}
RETRIABLE = {
    "bad_output",
    "connect",
    "timeout",
    "rate_limited",
    "unavailable",
    "bad_response",
    "circuit_open",
    "index_not_ready",
    "internal",
}


def field(holder, name, kind, where="result"):
    assert name in holder, f"{where} lacks {name}: has {sorted(holder)}"
    value = holder[name]
    good = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    assert good, f"{where}.{name} is {value!r}"
    return value


NUMBER = (int, float)


def check_usage(holder, where):
    usage = field(holder, "usage", dict, where)
    for name in ("input_tokens", "output_tokens", "cached_tokens"):
        assert field(usage, name, int, f"{where}.usage") >= 0
    cost = field(holder, "cost", dict, where)
    assert field(cost, "currency", str, f"{where}.cost") == "USD"
    assert field(cost, "amount", NUMBER, f"{where}.cost") >= 0


def check_embed(result):
    field(result, "model", str)
    dimensions = field(result, "dimensions", int)
    for vector in vectors_of(result):
        assert len(vector) == dimensions, f"{len(vector)} numbers, dimensions {dimensions}"
        assert all(math.isfinite(x) for x in vector)


def check_ingest(result):
    field(result, "collection", str)
    field(result, "document", str)
    assert field(result, "chunks", int) >= 0
    field(result, "version", int)
    for partition, offset in field(result, "positions", dict).items():
        assert partition.isdigit() and isinstance(offset, int) and offset >= 0, f"positions {partition}: {offset}"
    if "superseded" in result:
        field(result, "superseded", bool)


def check_retrieve(result, lag_known=True):
    field(result, "collection", str)
    field(result, "index_version", int)
    freshness = field(result, "freshness", dict)
    assert "lag_records" in freshness, "freshness lacks lag_records"
    if lag_known:  # who reads an index offline can't know how far the topic has gone on
        assert field(freshness, "lag_records", int, "freshness") >= 0
    assert "indexed_at" in freshness, "freshness lacks indexed_at"
    field(freshness, "positions", dict, "freshness")
    hits = field(result, "hits", list)
    for hit in hits:
        for name in ("id", "document", "title", "text"):
            field(hit, name, str, "hit")
        field(hit, "score", NUMBER, "hit")
        field(hit, "metadata", dict, "hit")
        assert hit["id"].rsplit("#", 1)[0] == hit["document"], hit["id"]
        ranks = field(hit, "ranks", dict, "hit")
        for side in ("dense", "sparse"):
            assert side in ranks, f"ranks lacks {side}"
            assert ranks[side] is None or (isinstance(ranks[side], int) and ranks[side] >= 1), f"rank {ranks[side]!r}"
    order = [(-hit["score"], hit["id"].encode()) for hit in hits]
    assert order == sorted(order), "hits are not in order of score, then id"


def check_rerank(result):
    results = field(result, "results", list)
    for row in results:
        field(row, "id", str, "rerank row")
        assert field(row, "index", int, "rerank row") >= 0
        field(row, "score", NUMBER, "rerank row")
        field(row, "text", str, "rerank row")
    scores = [row["score"] for row in results]
    assert scores == sorted(scores, reverse=True), "rerank results are not in order of score"


def check_llm(result):
    field(result, "text", str)
    field(result, "finish_reason", str)
    field(result, "insufficient", bool)
    for citation in field(result, "citations", list):
        field(citation, "marker", str, "citation")
        field(citation, "verified", bool, "citation")
        for name in ("chunk", "source_document", "page_number"):
            assert name in citation, f"citation lacks {name}"


CHECKS = {"embed": check_embed, "ingest": check_ingest, "retrieve": check_retrieve, "rerank": check_rerank, "llm": check_llm}


def check_error(error):
    category, code = field(error, "class", str, "error"), field(error, "code", str, "error")
    assert category in ERRORS and code in ERRORS[category], f"no such error: {category}.{code}"
    field(error, "message", str, "error")
    assert field(error, "retriable", bool, "error") == (code in RETRIABLE), f"{code}: retriable is {error['retriable']}"


def check_result(result, kind, status, request_id, tenant="default", last_kind=None):
    """A whole result record. last_kind: of a chain, the kind of its last step."""
    assert field(result, "v", int) == 1
    assert field(result, "id", str) == request_id, result["id"]
    assert field(result, "tenant", str) == tenant, result["tenant"]
    assert field(result, "kind", str) == kind, result["kind"]
    assert field(result, "status", str) == status, f"status {result['status']}, error {result.get('error')}"
    assert field(result, "attempts", int) >= 0
    assert field(result, "replays", int) >= 0
    field(result, "release", str)
    assert field(result, "served_from", str) in ("provider", "cache", "ledger", "fallback")
    assert all(isinstance(x, str) for x in field(result, "degraded", list))
    check_usage(result, "result")
    timings = field(result, "timings_ms", dict)
    for name in ("queued", "provider", "total"):
        assert field(timings, name, NUMBER, "timings_ms") >= 0
    source = field(result, "source", dict)
    field(source, "topic", str, "source")
    field(source, "partition", int, "source")
    field(source, "offset", int, "source")
    assert RFC3339_MS.match(field(result, "completed_at", str)), result["completed_at"]
    if status == "ok":
        assert "error" not in result
        if kind in ("embed", "rerank", "llm") or (kind == "ingest" and result["result"].get("chunks")):
            assert "/" in field(result, "model", str), f"model {result['model']!r} is not provider/model"
        CHECKS[last_kind or kind](field(result, "result", dict))
    else:
        assert "result" not in result
        if status != "cancelled":
            check_error(field(result, "error", dict))
    if last_kind and status == "ok":
        steps = field(result, "steps", list)
        for step in steps:
            assert field(step, "status", str, "step") == "ok", step
            field(step, "attempts", int, "step")
            check_usage(step, "step")
            CHECKS[field(step, "kind", str, "step")](field(step, "result", dict, "step"))
        assert steps[0]["kind"] == kind and steps[-1]["kind"] == last_kind, [step["kind"] for step in steps]
        assert result["result"] == steps[-1]["result"], "the result is not the last step's"
        total = sum(step["usage"]["input_tokens"] for step in steps)
        assert result["usage"]["input_tokens"] == total, f"usage {result['usage']} is not the sum of the steps, {total}"


def vectors_of(result):
    """The vectors of an embed result as lists of floats, whichever encoding they have."""
    vectors = []
    for value in field(result, "embeddings", list):
        if isinstance(value, str):
            raw = base64.b64decode(value, validate=True)
            value = struct.unpack(f"<{len(raw) // 4}f", raw)
        vectors.append(list(value))
    return vectors


DLQ_HEADERS = (
    "error-class",
    "error-code",
    "error-message",
    "attempts",
    "first-failed-at",
    "failed-at",
    "worker",
    "replays",
    "step",
    "original-topic",
    "original-partition",
    "original-offset",
    "original-timestamp",
)


def check_letter(letter, category, code):
    """A dead letter's own headers."""
    for name in DLQ_HEADERS:
        assert "mr-dlq-" + name in letter.headers, f"the letter lacks mr-dlq-{name}: has {sorted(letter.headers)}"
    found = f"{letter.headers['mr-dlq-error-class']}.{letter.headers['mr-dlq-error-code']}"
    codes = code if isinstance(code, tuple) else (code,)
    assert found in {f"{category}.{one}" for one in codes}, f"the letter says {found}: {letter.headers['mr-dlq-error-message']}"
    for name in ("attempts", "replays", "step", "original-partition", "original-offset", "original-timestamp"):
        assert letter.headers["mr-dlq-" + name].isdigit(), f"mr-dlq-{name} is {letter.headers['mr-dlq-' + name]!r}"
    for name in ("first-failed-at", "failed-at"):
        assert RFC3339_MS.match(letter.headers["mr-dlq-" + name]) or letter.headers["mr-dlq-" + name].isdigit()
