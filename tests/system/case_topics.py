"""Topics are made as the contract says, and the index topic holds what a stranger could build an index from."""

import base64
import json

from records import murmur2, read
from servers import until
from world import PARTITIONS, case

DAY_MS = 86400000


@case("a worker makes all its topics, with their partitions and policies", broker="real")
def topics(w):
    found = w.kafka.topics()
    names = [
        w.topic(kind, lane)
        for kind in ("ingest", "embed", "retrieve", "rerank", "llm")
        for lane in ("interactive", "bulk", "retry.1s", "retry.2s", "dlq")
    ]
    missing = [
        name for name in names + [f"{w.prefix}.dlq.state", f"{w.prefix}.control", f"{w.prefix}.index.docs.v1"] if name not in found
    ]
    assert not missing, f"missing: {missing}; there are {sorted(found)}"
    for name in names:
        assert found[name]["partitions"] == PARTITIONS, f"{name}: {found[name]}"
        assert "compact" not in found[name]["configs"].get("cleanup.policy", "delete"), f"{name}: {found[name]}"
    for kind in ("ingest", "embed", "retrieve", "rerank", "llm"):
        assert int(found[f"{w.prefix}.{kind}.dlq"]["configs"]["retention.ms"]) == 30 * DAY_MS, found[f"{w.prefix}.{kind}.dlq"]
    for name in ("dlq.state", "control", "index.docs.v1"):
        assert found[f"{w.prefix}.{name}"]["configs"].get("cleanup.policy") == "compact", found[f"{w.prefix}.{name}"]
    index = found[f"{w.prefix}.index.docs.v1"]["configs"]
    assert int(index["delete.retention.ms"]) == 7 * DAY_MS and int(index["max.compaction.lag.ms"]) == DAY_MS, index


def of_document(w, tenant, document):
    prefix = f"{tenant}/{document}".encode()
    return [r for r in read(w.brokers, f"{w.prefix}.index.docs.v1") if r.key == prefix or (r.key or b"").startswith(prefix + b"#")]


@case("chunk and document records are keyed, placed and filled as the contract says")
def index_records(w):
    text = "\n\n".join(f"Paragraph {i}: " + " ".join(f"word{i}x{j}" for j in range(60)) + "." for i in range(8))
    document = {
        "id": "book:1",
        "title": "A Book",
        "text": text,
        "version": 9,
        "metadata": {"source_document": "book.txt", "shelf": "ż"},
    }
    request = {
        "collection": "docs",
        "tenant": "acme",
        "document": document,
        "chunking": {"strategy": "recursive", "size": 100, "overlap": 10},
    }
    result = w.ask("ingest", request)["result"]
    count = result["chunks"]
    assert count >= 4 and result["version"] == 9 and result["document"] == "book:1" and result["collection"] == "docs", result
    found = of_document(w, "acme", "book:1")
    partitions = 1 + max(r.partition for r in read(w.brokers, f"{w.prefix}.index.docs.v1"))
    assert len({r.partition for r in found}) == 1, "one document's records are spread over partitions"
    if w.kafka:
        assert found[0].partition == murmur2(b"acme/book:1") % PARTITIONS, f"partition {found[0].partition} of {partitions}"
    assert found[-1].key == b"acme/book:1", "the document record is not the last"
    assert [r.key.decode() for r in found[:-1]] == [f"acme/book:1#{n}" for n in range(count)], [r.key for r in found]
    assert result["positions"] == {str(found[-1].partition): found[-1].offset + 1}, result["positions"]
    head = json.loads(found[-1].value)
    assert (head["v"], head["tenant"], head["document"], head["version"], head["chunks"]) == (1, "acme", "book:1", 9, count), head
    source, end = text.encode(), 0
    for n, record in enumerate(found[:-1]):
        chunk = json.loads(record.value)
        assert (chunk["v"], chunk["tenant"], chunk["document"], chunk["n"], chunk["version"], chunk["title"]) == (
            1,
            "acme",
            "book:1",
            n,
            9,
            "A Book",
        ), chunk
        start, stop = chunk["span"]
        assert 0 <= start < stop <= len(source), chunk["span"]
        assert chunk["text"].split() == source[start:stop].decode().split(), "the text is not that of the span"
        assert start <= end or not source[end:start].strip(), f"bytes {end} to {start} are in no chunk"
        end = stop
        assert chunk["metadata"]["source_document"] == "book.txt" and chunk["metadata"]["shelf"] == "ż", chunk["metadata"]
        assert len(base64.b64decode(chunk["vector"], validate=True)) == 384 * 4 and isinstance(chunk["embedder"], str)
    assert not source[end:].strip(), "the end of the text is in no chunk"


@case("a shorter version deletes the chunks that it no longer has; a delete leaves only nulls")
def tombstones(w):
    def ingest(version, **fields):
        return w.ask(
            "ingest",
            {"collection": "docs", "document": {"id": "shrinks", "version": version, **fields.pop("document", {})}, **fields},
        )["result"]

    long = " ".join(f"sentence number {i} stands here." for i in range(60))
    chunking = {"strategy": "sentence", "size": 20, "overlap": 0}
    many = ingest(1, document={"text": long}, chunking=chunking)["chunks"]
    few = ingest(2, document={"text": "sentence number 0 stands here."}, chunking=chunking)["chunks"]
    assert many > few == 1, (many, few)

    def live():
        last = {}
        for r in of_document(w, "default", "shrinks"):
            last[r.key.decode()] = r.value
        return {key for key, value in last.items() if value is not None}

    until("the nulls of the old chunks", 10, lambda: live() == {"default/shrinks", "default/shrinks#0"}, pause_s=0.3)
    ingest(3, **{"delete": True})
    until("the nulls of all of it", 10, lambda: not live(), pause_s=0.3)
