"""What a run leaves behind, read from outside and brought into plain rows that the judge understands:

    records   every record of every request, retry and dead-letter topic
    commits   every offset commit there ever was, from __consumer_offsets, in order within a group's partition
    results   every result ever stored, in order, from Redis' append-only file (fsynced before each answer, never rewritten)
    calls     every call to the provider, from the stub's journal

Times are Unix milliseconds; all of it happened on one machine."""

import base64
import calendar
import glob
import json
import os
import struct
import time
import urllib.request
import zlib
from collections import namedtuple

import redis

import chaos_plan

import records

OFFSETS_FORMAT = r"%p\t%o\t%T\t%K\t%S\n%k%s\n"
RESULT_KEY = b"}:result"
Commit = namedtuple("Commit", "group topic partition offset at_ms order metadata")


# ---- __consumer_offsets


def short_string(data, at):
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


def compact_string(data, at):
    length = shift = 0
    while True:
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return data[at : at + length - 1].decode(errors="replace"), at + length - 1


def decode_commit(key, value, timestamp, order):
    """A record of __consumer_offsets; None for one that is no commit (a group's members), and for a deleted one (offset None)."""
    if len(key) < 2 or struct.unpack_from(">h", key)[0] not in (0, 1):
        return None
    group, at = short_string(key, 2)
    topic, at = short_string(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    if value is None:
        return Commit(group, topic, partition, None, timestamp, order, "")
    version, offset = struct.unpack_from(">hq", value)
    at = 10 + (4 if version >= 3 else 0)
    metadata, at = compact_string(value, at) if version >= 4 else short_string(value, at)
    return Commit(group, topic, partition, offset, struct.unpack_from(">q", value, at)[0], order, metadata)


class CommitStream:
    """kcat's output in OFFSETS_FORMAT, as it comes."""

    def __init__(self):
        self.rest, self.order = b"", 0

    def feed(self, data):
        self.rest += data
        found, at = [], 0
        while (line_end := self.rest.find(b"\n", at)) >= 0:
            _, _, timestamp, key_len, value_len = map(int, self.rest[at:line_end].split(b"\t"))
            begin = line_end + 1
            middle = begin + max(key_len, 0)
            end = middle + max(value_len, 0)
            if end + 1 > len(self.rest):
                break
            self.order += 1
            commit = decode_commit(
                self.rest[begin:middle], self.rest[middle:end] if value_len >= 0 else None, timestamp, self.order
            )
            found += [commit] if commit else []
            at = end + 1
        self.rest = self.rest[at:]
        return found


def read_commits(brokers):
    out = records.kcat(brokers, "-C", "-t", "__consumer_offsets", "-o", "beginning", "-e", "-q", "-f", OFFSETS_FORMAT)
    return [commit._asdict() for commit in CommitStream().feed(out)]


# ---- records


def number(headers, name, default=None):
    return int(headers[name]) if name in headers else default


def read_records(brokers, prefix):
    """Rows of all topics of the prefix but the index's, and {topic: {partition: end}} of those that a group reads."""
    listed = json.loads(records.kcat(brokers, "-L", "-J"))["topics"]
    rows, ends = [], {}
    for topic in sorted(t["topic"] for t in listed if t["topic"].startswith(f"{prefix}.")):
        role = topic[len(prefix) + 1 :].split(".")
        if role[0] == "index" or len(role) < 2 or topic.endswith(".dlq.state"):
            continue
        role = "letter" if role[1] == "dlq" else "retry" if role[1] == "retry" else "request"
        for r in records.read(brokers, topic):
            rows.append(row_of(role, r))
            if role != "letter":
                ends.setdefault(topic, {})[str(r.partition)] = r.offset + 1
    return rows, ends


def row_of(role, r):
    h = r.headers
    value = json.loads(r.value) if r.value else {}
    origin = "mr-dlq-original-" if role == "letter" else "mr-origin-"
    row = {
        "role": role,
        "topic": r.topic,
        "partition": r.partition,
        "offset": r.offset,
        "at_ms": r.timestamp,
        "id": value.get("id"),
    }
    row |= {"tenant": value.get("tenant", "default"), "timeout_ms": value.get("timeout_ms"), "headers": len(h)}
    row["payload"] = zlib.crc32(r.value or b"")
    row |= {"attempts": number(h, "mr-dlq-attempts" if role == "letter" else "mr-attempts", 0)}
    row |= {"replays": number(h, "mr-dlq-replays" if role == "letter" else "mr-replays", 0)}
    if f"{origin}topic" in h:
        row["origin"] = [h[f"{origin}topic"], number(h, f"{origin}partition"), number(h, f"{origin}offset")]
        row["origin_at_ms"] = number(h, f"{origin}timestamp")
        row["role"] = "hop" if role == "request" else role
    else:
        row["origin"] = [r.topic, r.partition, r.offset]
        row["origin_at_ms"] = r.timestamp
    if role == "letter":
        row["error"] = f"{h.get('mr-dlq-error-class')}.{h.get('mr-dlq-error-code')}"
    return row


# ---- results


def aof_files(folder):
    """The parts of the append-only file in the order of writing."""
    return sorted(glob.glob(f"{folder}/appendonlydir/*.incr.aof"), key=lambda path: int(path.split(".")[-3]))


def aof_commands(path):
    """(Unix seconds of writing, [arguments]) of each command. A torn tail ends it."""
    at_s = 0
    with open(path, "rb") as file:
        while line := file.readline():
            if line.startswith(b"#TS:"):
                at_s = int(line[4:])
            elif line.startswith(b"*"):
                arguments = []
                for _ in range(int(line[1:])):
                    size = file.readline()
                    if not size.startswith(b"$"):
                        return
                    arguments.append(file.read(int(size[1:])))
                    file.read(2)
                yield at_s, arguments


def read_results(folder, prefix, texts):
    """texts: {id: the text whose answer is right}. Every SET of a result key."""
    rows = []
    for path in aof_files(folder):
        for at_s, arguments in aof_commands(path):
            if (
                len(arguments) < 3
                or not arguments[1].endswith(RESULT_KEY)
                or not arguments[1].startswith(prefix.encode() + b":{")
            ):
                continue
            if arguments[0].upper() != b"SET":
                rows.append({"key": arguments[1].decode(), "command": arguments[0].decode()})
                continue
            rows.append(result_row(at_s, arguments[1].decode(), json.loads(arguments[2]), texts))
    return rows


def result_row(at_s, key, result, texts):
    row = {"command": "SET", "key": key, "id": result["id"], "tenant": result["tenant"], "status": result["status"]}
    row |= {
        "replays": result["replays"],
        "attempts": result["attempts"],
        "from_ms": at_s * 1000,
        "until_ms": at_s * 1000 + 1000,
    }
    source = result["source"]
    row["source"] = [source["topic"], source["partition"], source["offset"]]
    row["completed_ms"] = rfc3339_ms(result["completed_at"])
    error = result.get("error")
    row["error"] = f"{error['class']}.{error['code']}" if error else None
    row["right"] = result["status"] != "ok" or is_right(result, texts.get(result["id"]))
    return row


def rfc3339_ms(text):
    seconds, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 1000 + int((fraction + "000")[:3])


def is_right(result, text):
    """The answer to this request and no other."""
    value = result["result"]
    if text is None:
        return False
    if result["kind"] == "embed":
        (vector,) = value["embeddings"]
        if isinstance(vector, str):
            raw = base64.b64decode(vector)
            vector = struct.unpack(f"<{len(raw) // 4}f", raw)
        wanted = records.stub_vector(text, len(vector))
        return max(abs(a - b) for a, b in zip(vector, wanted)) < 1e-6
    if result["kind"] == "ingest":
        return value["document"] == f"doc-{result['id']}" and value["chunks"] == 1
    return text in value["text"]  # the stub's echo


# ---- calls


def read_calls(path):
    """The stub's clock is CLOCK_MONOTONIC."""
    shift_ms = (time.time() - time.monotonic()) * 1000
    rows = []
    with open(path) as journal:
        for line in journal:
            at_us, _, status, fault, _, _, tags = line.split()
            ids = [] if tags == "-" else sorted(set(tags.split(",")))
            rows.append({"at_ms": int(at_us) / 1000 + shift_ms, "status": int(status), "fault": fault, "ids": ids})
    return rows


# ---- all of it


def text_of(value):
    """What the answer of a request must speak of."""
    if "messages" in value:
        return value["messages"][0]["content"]
    return value.get("input") or value.get("query") or ""


def collect(fleet, planned):
    """planned: the requests that were published, in order. JSON from here on."""
    texts = {}
    for request in planned:  # of a used id the first one counts
        texts.setdefault(request.value["id"], text_of(request.value))
    rows, ends = read_records(fleet.kafka.address, fleet.prefix)
    stored = {}
    ids = sorted({(request.value["tenant"], request.value["id"]) for request in planned})
    client = redis.Redis(port=fleet.redis.port, socket_timeout=30)
    for begin in range(0, len(ids), 1000):
        part = ids[begin : begin + 1000]
        for (_, request_id), text in zip(part, client.mget([f"mr:{{{tenant}:{name}}}:result" for tenant, name in part])):
            if text:
                result = json.loads(text)
                stored[request_id] = [result["status"], result["replays"], result["completed_at"]]
    return {
        "planned": [{"id": r.value["id"], "topic": r.topic, "doom": chaos_plan.doom_of(r.value)} for r in planned],
        "records": rows,
        "ends": ends,
        "commits": read_commits(fleet.kafka.address),
        "results": read_results(fleet.redis.folder, "mr", texts),
        "stored": stored,
        "calls": read_calls(fleet.stub.journal_path),
        "strikes": fleet.strikes,
        "abandoned": stub_stats(fleet)["abandoned"],
    }


def stub_stats(fleet):
    with urllib.request.urlopen(f"http://{fleet.stub.address}/stats", timeout=10) as answer:
        return json.load(answer)


def save(evidence, path):
    with open(f"{path}.part", "w") as file:
        json.dump(evidence, file)
    os.rename(f"{path}.part", path)
