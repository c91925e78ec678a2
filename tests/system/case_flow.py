"""The main flow: all five kinds through their topics, chains, and what every result must hold."""

import math

import servers
import shapes
from records import stub_vector
from world import case, packed

CORPUS = [
    {
        "id": "wal",
        "title": "Write-ahead logging",
        "format": "markdown",
        "metadata": {"source_document": "wal.md", "page_number": 3, "topic": "storage", "year": 2010},
        "text": "# Write-ahead logging\n\nThe write-ahead log keeps changes in a separate file until a checkpoint "
        "moves them into the database. Readers do not block writers, and writers do not block readers.\n\n"
        "## Checkpoints\n\nA checkpoint runs when the log reaches a thousand pages.",
    },
    {
        "id": "vacuum",
        "title": "Vacuum",
        "format": "text",
        "metadata": {"source_document": "vacuum.txt", "page_number": 1, "topic": "storage", "year": 2015},
        "text": "The vacuum command rebuilds the database file and gives unused pages back to the file system. "
        "It needs twice the space of the original file.",
    },
    {
        "id": "triggers",
        "title": "Triggers",
        "format": "html",
        "metadata": {"source_document": "triggers.html", "topic": "language", "year": 2004},
        "text": "<html><body><h1>Triggers</h1><p>"
        "A trigger runs statements when rows of a table are inserted, updated or deleted.</p>"
        "<script>var hidden = 'zebra';</script></body></html>",
    },
    {
        "id": "collation",
        "title": "Collation",
        "metadata": {"source_document": "collation.txt", "topic": "language", "year": 2004},
        "text": "Collating functions decide how two strings compare. The built-in ones are binary, nocase and rtrim.",
    },
]


def close(a, b):
    return len(a) == len(b) and all(abs(x - y) <= 1e-6 for x, y in zip(a, b))


@case("an embed request with JSON numbers gets the provider's very vector")
def embed_floats(w):
    text = "a text of plain words, and żółć"
    result = w.ask("embed", {"input": text, "model": "floats", "encoding": "float"})
    assert result["result"]["dimensions"] == 384
    assert isinstance(result["result"]["embeddings"][0], list), "float must come as numbers"
    assert close(result["result"]["embeddings"][0], stub_vector(text)), "the vector is another text's"
    assert result["attempts"] == 1 and result["served_from"] == "provider"
    tokens = max(1, len(text.encode()) // 4)
    assert result["usage"]["input_tokens"] == tokens, result["usage"]
    assert math.isclose(result["cost"]["amount"], tokens * 0.02 / 1e6, rel_tol=1e-6), result["cost"]
    assert result["source"]["topic"] == w.topic("embed")


@case("base64 vectors come through bit for bit, in either direction")
def embed_base64(w):
    for model in ("packed", "floats"):
        text = f"packed by {model}"
        result = w.ask("embed", {"input": text, "model": model, "encoding": "base64"})
        assert result["result"]["embeddings"] == [packed(stub_vector(text))], f"{model}: not the vector's bytes"
    result = w.ask("embed", {"input": "unpacked", "model": "packed", "encoding": "float"})
    assert close(result["result"]["embeddings"][0], stub_vector("unpacked"))


@case("several inputs come back in their order, on the bulk lane too")
def embed_several(w):
    texts = [f"input number {i}" for i in range(40)]
    result = w.ask("embed", {"input": texts, "model": "packed", "encoding": "float"}, lane="bulk")
    vectors = shapes.vectors_of(result["result"])
    assert len(vectors) == 40
    assert all(close(vector, stub_vector(text)) for vector, text in zip(vectors, texts))
    assert result["source"]["topic"] == w.topic("embed", "bulk")


@case("the local model embeds without a provider, the same text the same way")
def embed_local(w):
    first, again = (w.ask("embed", {"input": "the local model"}) for _ in range(2))
    assert first["result"]["embeddings"] == again["result"]["embeddings"]
    assert len(shapes.vectors_of(first["result"])[0]) == 384 and first["cost"]["amount"] == 0


@case("metadata, traceparent, time to live, reply list and announcement are as asked")
def delivery(w):
    request_id, metadata = w.id(), {"a": [1, {"b": "ż"}], "n": None}
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    listener = w.redis.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("mr:done:acme")
    listener.get_message(timeout=5)
    result = w.ask(
        "embed",
        {
            "id": request_id,
            "tenant": "acme",
            "input": "x",
            "metadata": metadata,
            "reply": "list",
            "result_ttl_s": 600,
            "traceparent": traceparent,
        },
    )
    assert result["metadata"] == metadata and result["traceparent"].split("-")[1] == traceparent.split("-")[1]
    assert 500 < w.redis.ttl(f"mr:{{acme:{request_id}}}:result") <= 600
    assert w.redis.blpop(f"mr:{{acme:{request_id}}}:wait", timeout=5)[1].decode() == request_id
    message = servers.until("the announcement", 5, lambda: listener.get_message(timeout=1))
    assert message["data"].decode() == request_id
    listener.close()


@case("a CloudEvents record in binary mode lends its id")
def cloud_event(w):
    request_id = w.id("ce")
    w.publish_raw(
        "embed", {"input": "x"}, key="k", headers=[("ce_id", request_id), ("ce_type", "millrace.embed.v1"), ("ce_source", "tests")]
    )
    shapes.check_result(w.result(request_id), "embed", "ok", request_id)


@case("documents are ingested and found: hybrid, dense and sparse, each hit whole")
def retrieve_modes(w):
    positions = w.ingest(CORPUS)
    assert positions, "no positions"
    for mode in ("hybrid", "dense", "sparse"):
        result = w.ask(
            "retrieve",
            {"collection": "docs", "query": "how does a checkpoint move the write-ahead log", "mode": mode, "at_least": positions},
        )
        hits = result["result"]["hits"]
        assert hits and hits[0]["document"] == "wal", f"{mode}: {[hit['id'] for hit in hits]}"
        assert hits[0]["metadata"]["source_document"] == "wal.md" and hits[0]["metadata"]["page_number"] == 3
        ranks = hits[0]["ranks"]
        assert (ranks["dense"] is None) == (mode == "sparse") and (ranks["sparse"] is None) == (mode == "dense"), f"{mode}: {ranks}"
        assert result["degraded"] == [], result["degraded"]
    hidden = w.ask("retrieve", {"collection": "docs", "query": "zebra", "mode": "sparse"})
    assert hidden["result"]["hits"] == [], "a script's text was indexed"


@case("filters, top_k, collapse and a ready query vector")
def retrieve_options(w):
    positions = w.ingest(CORPUS)
    base = {"collection": "docs", "query": "database file rows strings readers", "at_least": positions}
    found = {
        hit["document"]
        for hit in w.ask("retrieve", {**base, "filter": {"field": "topic", "operator": "==", "value": "language"}})["result"][
            "hits"
        ]
    }
    assert found == {"triggers", "collation"}, found
    old = {
        "operator": "AND",
        "conditions": [
            {"field": "year", "operator": "<", "value": 2012},
            {"operator": "NOT", "conditions": [{"field": "topic", "operator": "in", "value": ["language"]}]},
        ],
    }
    found = {hit["document"] for hit in w.ask("retrieve", {**base, "filter": old})["result"]["hits"]}
    assert found == {"wal"}, found
    assert len(w.ask("retrieve", {**base, "top_k": 1})["result"]["hits"]) == 1
    documents = [hit["document"] for hit in w.ask("retrieve", {**base, "collapse": True})["result"]["hits"]]
    assert len(documents) == len(set(documents)), documents
    vector = shapes.vectors_of(w.ask("embed", {"input": "Vacuum " + CORPUS[1]["text"], "input_type": "document"})["result"])[0]
    hits = w.ask("retrieve", {**base, "mode": "dense", "query_vector": vector})["result"]["hits"]
    assert hits[0]["document"] == "vacuum", [hit["id"] for hit in hits]


@case("tenants don't see one another's documents")
def tenants(w):
    positions = w.ingest([{"id": "secret", "text": "The platypus budget is 7 million."}], tenant="alpha")
    mine = w.ask("retrieve", {"collection": "docs", "query": "platypus budget", "tenant": "alpha", "at_least": positions})
    other = w.ask("retrieve", {"collection": "docs", "query": "platypus budget", "tenant": "beta", "at_least": positions})
    assert [hit["document"] for hit in mine["result"]["hits"]] == ["secret"]
    assert all(hit["document"] != "secret" for hit in other["result"]["hits"])


@case("a new version replaces a document, an older one is superseded, a delete removes it")
def versions(w):
    def hits(positions):
        return [
            hit["text"]
            for hit in w.ask("retrieve", {"collection": "docs", "query": "walrus", "mode": "sparse", "at_least": positions})[
                "result"
            ]["hits"]
        ]

    positions = w.ingest([{"id": "animal", "version": 5, "text": "The walrus sleeps."}])
    assert hits(positions) == ["The walrus sleeps."]
    positions = w.ingest([{"id": "animal", "version": 6, "text": "The walrus wakes."}])
    assert hits(positions) == ["The walrus wakes."]
    late = w.ask("ingest", {"collection": "docs", "document": {"id": "animal", "version": 5, "text": "The walrus is late."}})
    assert late["result"]["superseded"] is True, late["result"]
    assert hits(positions) == ["The walrus wakes."]
    gone = w.ask("ingest", {"collection": "docs", "document": {"id": "animal", "version": 7}, "delete": True})
    assert hits(gone["result"]["positions"]) == []


@case("a collection on a provider's model is searched by that model's vectors, of title and text")
def provider_collection(w):
    positions = w.ingest(
        [
            {"id": "one", "title": "First", "text": "alpha beta gamma"},
            {"id": "two", "title": "Second", "text": "delta epsilon zeta"},
        ],
        "packed",
    )
    query = {"collection": "packed", "query": "delta", "at_least": positions}
    hits = w.ask("retrieve", {**query, "mode": "dense", "query_vector": list(stub_vector("Second delta epsilon zeta"))})["result"][
        "hits"
    ]
    assert hits[0]["document"] == "two" and hits[0]["score"] > 0.999, [(hit["id"], hit["score"]) for hit in hits]
    hits = w.ask("retrieve", {**query, "mode": "sparse"})["result"]["hits"]
    assert [hit["document"] for hit in hits] == ["two"], [hit["id"] for hit in hits]
    assert w.ask("retrieve", query)["degraded"] == []


@case("rerank orders documents by the query and keeps top_n")
def rerank(w):
    documents = [
        {"id": "a", "text": "bread and butter"},
        {"id": "b", "text": "a checkpoint of the write-ahead log"},
        {"id": "c", "text": "rain"},
        {"id": "d", "text": "the log"},
    ]
    result = w.ask("rerank", {"query": "write-ahead log checkpoint", "documents": documents, "top_n": 2})["result"]
    assert [row["id"] for row in result["results"]] == ["b", "d"], result["results"]
    assert result["results"][0]["index"] == 1 and result["results"][0]["text"] == documents[1]["text"]


@case("llm answers by provider, with usage and cost")
def llm(w):
    result = w.ask(
        "llm", {"model": "echo", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "say ż"}]}
    )
    assert result["result"]["text"] == "echo: say ż" and result["result"]["finish_reason"] == "stop"
    usage = result["usage"]
    assert usage["input_tokens"] == 3 and usage["output_tokens"] == 3, usage
    assert math.isclose(result["cost"]["amount"], (3 * 0.15 + 3 * 0.6) / 1e6, rel_tol=1e-6), result["cost"]


CHAIN = [{"kind": "rerank", "top_n": 2}, {"kind": "llm"}]


def check_chain(w, positions):
    result = w.ask("retrieve", {"collection": "docs", "query": "When does a checkpoint run?", "at_least": positions, "then": CHAIN})
    assert [step["kind"] for step in result["steps"]] == ["retrieve", "rerank", "llm"]
    assert len(result["steps"][1]["result"]["results"]) <= 2
    answer = result["result"]
    assert not answer["insufficient"] and "checkpoint" in answer["text"].lower(), answer
    assert answer["citations"] and all(citation["verified"] for citation in answer["citations"]), answer
    assert any(
        citation["source_document"] == "wal.md" and citation["page_number"] == 3 for citation in answer["citations"]
    ), answer["citations"]
    none = w.ask("retrieve", {"collection": "docs", "query": "Who won the chess olympiad in Budapest?", "then": CHAIN})
    assert none["result"]["insufficient"] and none["result"]["text"] == "I don't have enough information.", none["result"]
    return result


@case("a chain retrieves, reranks and answers with verified citations, or says that it can't")
def chain(w):
    check_chain(w, w.ingest(CORPUS))


@case("chains may leave out a step: retrieve to llm, rerank to llm")
def short_chains(w):
    positions = w.ingest(CORPUS)
    result = w.ask(
        "retrieve", {"collection": "docs", "query": "When does a checkpoint run?", "at_least": positions, "then": [{"kind": "llm"}]}
    )
    assert "checkpoint" in result["result"]["text"].lower()
    documents = [{"id": "a", "text": "A checkpoint runs when the log reaches a thousand pages."}, {"id": "b", "text": "Rain."}]
    result = w.ask("rerank", {"query": "When does a checkpoint run?", "documents": documents, "then": [{"kind": "llm"}]})
    assert "thousand pages" in result["result"]["text"], result["result"]


@case("a chain over workers that share the kinds is handed over through the topics", broker="real", fleet=False)
def split_chain(w):
    with w.worker("--kinds", "ingest,embed,retrieve"), w.worker("--kinds", "rerank"), w.worker("--kinds", "llm"):
        result = check_chain(w, w.ingest(CORPUS))
        assert result["kind"] == "retrieve" and result["source"]["topic"] == w.topic("retrieve"), result["source"]
