"""Kafka records by kcat, a client that is not ours, and the few formulas that a test needs to judge them."""

import json
import re
import struct
import subprocess
import tempfile
from collections import namedtuple

KCAT_LIMIT_S = 30
Record = namedtuple("Record", "topic partition offset timestamp key value headers")
# kcat prints headers as a=b,c=d without escapes: a new one begins only where one of these names does
HEADER = re.compile(r"(?:^|,)(mr-[a-z-]+|ce_[a-z]+|x-[a-z]+|traceparent)=")
END = "\n--record--\n"


class KcatError(Exception):
    pass


def kcat(brokers, *arguments, stdin=b""):
    done = subprocess.run(["kcat", "-b", brokers, *arguments], input=stdin, capture_output=True, timeout=KCAT_LIMIT_S)
    if done.returncode != 0:
        raise KcatError(f"kcat {' '.join(arguments)}: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout


def publish(brokers, topic, value, key=None, headers=(), partition=None):
    """One record. value: bytes, a str, an object that becomes JSON, or None for a null value."""
    if isinstance(value, str):
        value = value.encode()
    elif value is not None and not isinstance(value, bytes):
        value = json.dumps(value, ensure_ascii=False).encode()
    arguments = ["-P", "-t", topic]
    if partition is not None:
        arguments += ["-p", str(partition)]
    for name, text in headers:
        arguments += ["-H", f"{name}={text}"]
    if not value:  # kcat passes over empty files: a key and nothing behind it, from its standard input
        kcat(brokers, *arguments, "-K:", *(["-Z"] if value is None else []), stdin=(key or "k").encode() + b":\n")
        return
    if key is not None:
        arguments += ["-k", key]
    with tempfile.NamedTemporaryFile() as file:
        file.write(value)
        file.flush()
        kcat(brokers, *arguments, file.name)


def publish_many(brokers, topic, values, partition=None):
    """Many records of one line each, JSON, keyed by their id, in order."""
    lines = "".join(f"{value['id']}\t{json.dumps(value)}\n" for value in values)
    kcat(brokers, "-P", "-t", topic, "-K\t", *(["-p", str(partition)] if partition is not None else []), stdin=lines.encode())


def parse_headers(text):
    found = list(HEADER.finditer(text))
    return {m.group(1): text[m.end() : found[i + 1].start() if i + 1 < len(found) else len(text)] for i, m in enumerate(found)}


def read(brokers, topic):
    """Every record that a topic holds now, partition by partition."""
    out = kcat(
        brokers,
        "-C",
        "-t",
        topic,
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%t\t%p\t%o\t%T\t%K\t%S\n%k%s\n%h" + END.replace("\n", r"\n"),
    )
    records = []
    at = 0
    while at < len(out):
        line_end = out.index(b"\n", at)
        name, partition, offset, timestamp, key_len, value_len = out[at:line_end].decode().split("\t")
        key_len, value_len = int(key_len), int(value_len)
        at = line_end + 1
        key = out[at : at + key_len] if key_len >= 0 else None
        at += max(key_len, 0)
        value = out[at : at + value_len] if value_len >= 0 else None
        at += max(value_len, 0)
        end = out.index(END.encode(), at)
        headers = parse_headers(out[at + 1 : end].decode(errors="replace"))
        records.append(Record(name, int(partition), int(offset), int(timestamp), key, value, headers))
        at = end + len(END)
    return records


def murmur2(data):
    """Kafka's hash of a key, as its Java client computes it, made positive."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def text_hash(text):
    """The provider stub's name for a text, as it stands in its journal."""
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def stub_vector(text, dimensions=384):
    """What the provider stub answers for a text (its head has the formula), as float32 values."""
    mask = 0xFFFFFFFFFFFFFFFF
    seed, raw = text_hash(text), []
    for i in range(dimensions):
        z = seed + (i + 1) * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        raw.append(((z ^ z >> 31) >> 40) / 2**23 - 1.0)
    square = 0.0
    for x in raw:
        square += x * x
    scale = 1.0 / square**0.5
    return struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(x * scale for x in raw)))
