#!/usr/bin/env python3
"""Makes documents.jsonl from an unpacked copy of the SQLite documentation (HTML).

    python3 convert.py DOC_DIR > documents.jsonl      # DOC_DIR holds wal.html, c3ref/ and so on

Standard library only; the same input always gives the same bytes. One section of a page becomes one
document; see SOURCE.md for where the pages come from and for everything this changes in them.
"""
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

BYTES_MAX = 12_000       # a longer section is cut at its sub-headings, then at paragraphs
BYTES_MIN = 700          # a shorter section stays with the one before it
BYTES_CUT = 4_500        # the size aimed at when a section has to be cut
PAGE_BYTES_WHOLE = 3_000 # a page up to this size is not split at all
RELEASE_DATE = "2022-12-28"  # SQLite 3.40.1; for pages that bear no date of their own

PARTS_MAX = {"fts5": 12}  # what follows is for those who extend it

PAGES = {
    "about": "about arch copyright different features footprint fullsql "
             "howitworks lts onefile quirks selfcontained serverless versionnumbers whentouse zeroconf",
    "concurrency": "isolation lockingv3 sharedcache threadsafe unlock_notify wal",
    "durability": "atomiccommit backup howtocorrupt psow recovery tempfiles transactional",
    "data types": "autoinc datatype3 floatingpoint nulls rowidtable stricttables withoutrowid",
    "sql language": "lang_aggfunc lang_altertable lang_analyze lang_attach lang_conflict lang_corefunc "
                    "lang_createindex lang_createtrigger lang_createview lang_datefunc lang_delete lang_detach "
                    "lang_droptable lang_explain lang_indexedby lang_insert lang_reindex lang_returning "
                    "lang_savepoint lang_transaction lang_update lang_upsert lang_vacuum rowvalue "
                    "foreignkeys gencol windowfunctions",
    "query planner": "eqp expridx optoverview partialindex queryplanner",
    "limits": "limits",
    "performance": "intern-v-extern-blob mmap useovernet",
    "operations": "cli csv inmemorydb uri",
    "extensions": "fts5 json1 loadext",
    "faq": "faq",
    "security": "security",
    "errors": "rescode",
    "configuration": "pragma",
    "c interface": "c3ref/backup_finish c3ref/bind_blob c3ref/blob_open c3ref/busy_handler c3ref/busy_timeout "
                   "c3ref/changes c3ref/close c3ref/column_blob c3ref/commit_hook c3ref/db_config "
                   "c3ref/deserialize c3ref/errcode c3ref/exec c3ref/finalize c3ref/interrupt "
                   "c3ref/last_insert_rowid c3ref/limit c3ref/open c3ref/prepare c3ref/progress_handler "
                   "c3ref/reset c3ref/serialize c3ref/set_authorizer c3ref/step c3ref/total_changes "
                   "c3ref/trace_v2 c3ref/update_hook c3ref/wal_checkpoint_v2",
}

SKIPPED_TAGS = {"script", "style", "svg", "button", "form", "title", "head"}
SKIPPED_CLASSES = {"nosearch", "imgcontainer", "fancy_toc", "menu", "rightsidebar"}
BLOCK_TAGS = {"p", "div", "blockquote", "center", "body", "html", "hr", "dl", "dd", "table", "tbody", "thead", "form"}
HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}


class Page(HTMLParser):
    """Flattens one page to a list of blocks: (kind, level, text); kind is head, para, item, code, row."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks = []
        self.words = []
        self.lists = []            # "ul" or the next number of an "ol"
        self.skip_tag = None       # inside a part that is dropped: its tag and depth
        self.skip_depth = 0
        self.pre = 0
        self.kind = ("para", 0)
        self.row = None
        self.fancy = False
        self.title_tag = ""
        self.in_title = False
        self.date = ""

    def flush(self):
        text = "".join(self.words)
        self.words = []
        if self.pre:
            text = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
        else:
            text = re.sub(r"\s+", " ", text).strip()
        if text.strip("` "):
            kind, level = self.kind
            self.blocks.append((kind, level, text))
            if kind == "item":
                self.kind = ("cont", level)
        return text

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        classes = set((attrs.get("class") or "").split())
        if tag == "title":
            self.in_title = True
        if "fancy" in classes and tag == "div":
            self.fancy = True
        if self.skip_tag:
            if tag == self.skip_tag:
                self.skip_depth += 1
            return
        if tag == "button":                     # "hide" beside the name of a syntax diagram: both go
            self.words = []
        if tag in SKIPPED_TAGS or (tag == "div" and classes & SKIPPED_CLASSES):
            if tag != "button":
                self.flush()
            self.skip_tag, self.skip_depth = tag, 1
        elif tag in HEADINGS:
            self.flush()
            self.lists = []
            self.kind = ("head", HEADINGS[tag])
        elif tag == "pre":
            self.flush()
            self.kind = ("code", len(self.lists))
            self.pre += 1
        elif tag in ("ul", "ol"):
            self.flush()
            self.lists.append("ul" if tag == "ul" else 1)
            self.kind = ("cont", len(self.lists))
        elif tag == "li":
            self.flush()
            self.kind = ("item", max(len(self.lists), 1))
        elif tag == "dt":
            self.flush()
            self.kind = ("term", 0)
        elif tag == "tr":
            self.flush()
            self.row = []
        elif tag in ("td", "th"):
            self.end_cell()
        elif tag == "br":
            self.words.append("\n" if self.pre else " ")
        elif tag in ("tt", "code") and not self.pre:
            self.words.append("`")
        elif tag == "sup" and not self.pre:
            self.words.append("^")
        elif tag in BLOCK_TAGS and self.row is None and not self.pre:
            self.flush()
            if self.kind[0] not in ("item", "cont"):
                self.kind = ("para", 0)

    def end_cell(self):
        if self.row is not None:
            text = re.sub(r"\s+", " ", "".join(self.words)).strip()
            self.words = []
            if text:
                self.row.append(text)

    def handle_endtag(self, tag):
        if tag == "title":
            self.in_title = False
        if self.skip_tag:
            if tag == self.skip_tag:
                self.skip_depth -= 1
                if self.skip_depth == 0:
                    self.skip_tag = None
            return
        if tag in HEADINGS:
            self.flush()
            self.kind = ("para", 0)
        elif tag == "pre":
            if self.row is None:
                self.flush()
                self.kind = ("cont", len(self.lists)) if self.lists else ("para", 0)
            self.pre = max(0, self.pre - 1)
        elif tag in ("ul", "ol"):
            self.flush()
            if self.lists:
                self.lists.pop()
            self.kind = ("cont", len(self.lists)) if self.lists else ("para", 0)
        elif tag in ("li", "dt"):
            self.flush()
            self.kind = ("para", 0)
        elif tag in ("tr", "table"):
            self.end_cell()
            if self.row:
                self.blocks.append(("row", 0, " | ".join(self.row)))
            self.row = None
        elif tag in ("td", "th"):
            self.end_cell()
        elif tag in ("tt", "code") and not self.pre:
            self.words.append("`")
        elif tag in BLOCK_TAGS and self.row is None and not self.pre:
            self.flush()

    def handle_data(self, data):
        if self.in_title:
            self.title_tag += data
        if not self.skip_tag:
            self.words.append(data)


def clean(text):
    text = text.replace("\u00a0", " ").replace("\r", "").replace("\x00", "").replace("\u200b", "")
    return re.sub(r"``", "", text)


def heading(text):
    """A heading without its number: "3.1. Foo" -> "Foo"."""
    return re.sub(r"^\(?\d+(\.\s?\d+)*[.)]?\s+", "", text).strip().rstrip(":")


def read_page(path):
    """Returns (title, date, [(level, heading, [rendered block, ...]), ...]); level 2 is a section."""
    source = path.read_text(encoding="utf-8", errors="replace")
    dated = re.search(r"This page last modified on\s*(?:<a[^>]*>)?\s*(\d{4}-\d\d-\d\d)", source)
    source = re.sub(r"(?s)<p align=\"center\"><small><i>This page last modified on.*?</p>", "", source)
    # The cross-links below each C interface page.
    source = re.sub(r"(?s)<p>See also lists of\s.*?</p>", "", source)
    # Headings that the pages mark up as something else.
    if path.name == "faq.html":
        source = re.sub(r"(?s)<ol class=nounderline>.*?</ol>", "", source)
        source = re.sub(r"(?s)<p><b>(\(\d+\) .*?)</b></p>", r"<h3>\1</h3>", source)
    elif path.name == "pragma.html":
        source = re.sub(r"(?s)<h _id=[^>]*>(.*?)</h>", r"<h3>\1</h3>", source)
        source = re.sub(r"<br>\s*PRAGMA", "<p>PRAGMA", source)
    elif path.name == "limits.html":
        source = re.sub(r"(?s)<li>\s*<p><b>(Maximum .*?)</b></p>", r"<h3>\1</h3>", source)
    elif path.name in ("lang_corefunc.html", "lang_aggfunc.html"):
        source = re.sub(r"(?s)<dt><p><b>(.*?)</b></dt>", r"<h3>\1</h3>", source)
    page = Page()
    page.feed(source)
    page.close()
    page.flush()

    title = re.sub(r"\s+", " ", page.title_tag).strip()
    fancy = "fancy_title" in source
    blocks = page.blocks
    if not fancy and blocks and blocks[0][0] == "head":      # the page's own title
        blocks = blocks[1:]
    levels = [b[1] for b in blocks if b[0] == "head"]
    top = 1 if fancy else min(levels, default=2)

    sections, number = [(2, "", [])], {}
    last = None
    for kind, level, text in blocks:
        text = clean(text)
        if kind == "head":
            sections.append((level - top + 2, heading(text), []))
        elif kind == "code":
            sections[-1][2].append("```\n" + text + "\n```")
        elif kind == "item":
            sections[-1][2].append("  " * (level - 1) + "- " + text)
        elif kind == "term":
            sections[-1][2].append("**" + text + "**")
        elif kind == "row":
            sections[-1][2].append("| " + text + " |")
        elif kind == "cont" and level:
            sections[-1][2].append("  " * level + text if last in ("item", "cont") else text)
        else:
            sections[-1][2].append(text)
        last = kind
    return title, (dated.group(1) if dated else RELEASE_DATE), sections


def render(sections):
    parts = []
    for level, name, blocks in sections:
        if name:
            parts.append("#" * min(level, 6) + " " + name)
        parts.extend(blocks)
    return "\n\n".join(p for p in [tight(parts)] if p)


def tight(parts):
    out, previous = "", ""
    for part in parts:
        if previous:
            listed = re.match(r" *- ", part) and re.match(r" *- ", previous)
            rows = part.startswith("| ") and previous.startswith("| ")
            out += "\n" if listed or rows else "\n\n"
        out += part
        previous = part
    return out


def size(sections):
    return len(render(sections).encode())


def halves(section):
    """Cuts one heading's blocks into runs of at most BYTES_MAX."""
    level, name, blocks = section
    runs, run = [], []
    for block in blocks:
        if run and size([(level, name, run + [block])]) > BYTES_MAX:
            runs.append((level, name, run))
            run = []
        run.append(block)
    return runs + [(level, name, run)]


def split(sections):
    """Groups a page's headings into documents: [[section, ...], ...]."""
    if size(sections) <= PAGE_BYTES_WHOLE:
        return [sections]
    parts = []
    for section in sections:
        if section[0] <= 2 or not parts:
            parts.append([section])
        else:
            parts[-1].append(section)
    fitting = []
    for part in parts:
        if size(part) <= BYTES_MAX:
            fitting.append(part)
            continue
        run = []
        for section in part:
            for piece in halves(section):
                if run and size(run + [piece]) > BYTES_CUT:
                    fitting.append(run)
                    run = []
                run.append(piece)
        fitting.append(run)
    merged = []
    for part in fitting:
        if merged and size(part) < BYTES_MIN and size(merged[-1] + part) <= BYTES_MAX:
            merged[-1] = merged[-1] + part
        elif merged and size(merged[-1]) < BYTES_MIN and size(merged[-1] + part) <= BYTES_MAX:
            merged[-1] = merged[-1] + part
        else:
            merged.append(part)
    return merged


def without_empty(sections):
    """Drops headings that hold nothing (their syntax diagram went) and no deeper heading."""
    kept = []
    for i, (level, name, blocks) in enumerate(sections):
        deeper = i + 1 < len(sections) and sections[i + 1][0] > level
        if blocks or (deeper and name):
            kept.append((level, name, blocks))
    return kept


def documents(root):
    for topic, names in PAGES.items():
        for name in names.split():
            title, date, sections = read_page(root / (name + ".html"))
            parts = split(without_empty(sections))[:PARTS_MAX.get(name)]
            for number, part in enumerate(parts, 1):
                first = next((s[1] for s in part if s[1]), title)
                yield {
                    "id": name.replace("/", ".") + ":" + str(number),
                    "title": title if number == 1 or first == title else title + ": " + first,
                    "format": "markdown",
                    "text": render(part) + "\n",
                    "metadata": {
                        "source_document": "sqlite.org/" + name + ".html",
                        "page_number": number,
                        "section_heading": first,
                        "date_created": date,
                        "topic": topic,
                    },
                }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for document in documents(Path(sys.argv[1])):
        print(json.dumps(document, ensure_ascii=False))


if __name__ == "__main__":
    main()
