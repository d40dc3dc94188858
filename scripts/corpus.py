"""Turns documentation that Debian packages into the plain text ./quickstart trains on.

Four domains of about equal size: prose (Jane Austen's novels), technical (Debian's manuals in English), chinese
(Debian's manuals, manual pages and classical poems in Chinese) and code (Python's standard library). Each domain
becomes OUTPUT/train/DOMAIN.txt and OUTPUT/held-out/DOMAIN.txt, documents separated by a line <|endoftext|>; which
documents are held out is decided by a hash of their text, so that every run of this program makes the same files.
"""

import argparse
import gzip
import hashlib
import html.parser
import pathlib
import re
import struct
import sys
import sysconfig
import zlib

SEPARATOR = "<|endoftext|>"
DOMAIN_BYTES = 3_500_000
HELD_OUT_BYTES = 60_000
LARGEST_DOCUMENT = 60_000
SMALLEST_DOCUMENT = 200
LEAST_SHARE = 0.1
# The packages each domain is made of; the code comes with Python itself.
PACKAGES = {
    "prose": ["r-cran-janeaustenr"],
    "technical": ["debian-handbook", "debian-reference-en", "debian-policy", "developers-reference", "debian-faq"],
    "chinese": ["debian-handbook", "debian-reference-zh-cn", "maint-guide-zh-cn", "fortunes-zh", "manpages-zh"],
    "code": [],
}

CJK = "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef"
BETWEEN_CJK = re.compile(f"(?<=[{CJK}])[ \\n](?=[{CJK}])")


class HtmlText(html.parser.HTMLParser):
    """The running text of a manual's page: paragraphs apart by an empty line, listings as they are."""

    VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
    BLOCKS = {"p", "div", "li", "dt", "dd", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table", "ul", "ol", "dl"}
    SKIPPED_TAGS = {"head", "script", "style", "nav"}
    SKIPPED_CLASSES = {"toc", "navheader", "navfooter", "docnav", "footer", "related", "sphinxsidebar", "headerlink"}
    SKIPPED_IDS = {"banner", "title"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.paragraphs = []
        self.words = []
        self.open_skipped = []
        self.listing = 0

    def handle_starttag(self, tag, attributes):
        if tag in self.VOID:
            if tag == "br":
                self.words.append("\n" if self.listing else " ")
            return
        attributes = dict(attributes)
        classes = set((attributes.get("class") or "").split())
        if self.open_skipped:
            if tag == self.open_skipped[-1]:
                self.open_skipped.append(tag)
        elif tag in self.SKIPPED_TAGS or classes & self.SKIPPED_CLASSES or attributes.get("id") in self.SKIPPED_IDS:
            self.open_skipped.append(tag)
        if tag in self.BLOCKS:
            self.end_paragraph()
        if tag == "pre":
            self.listing += 1

    def handle_endtag(self, tag):
        if tag in self.BLOCKS:
            self.end_paragraph()
        if tag == "pre":
            self.listing = max(0, self.listing - 1)
        if self.open_skipped and tag == self.open_skipped[-1]:
            self.open_skipped.pop()

    def handle_data(self, data):
        if not self.open_skipped:
            self.words.append(data)

    def end_paragraph(self):
        text = "".join(self.words)
        self.words = []
        text = text.strip("\n").rstrip() if self.listing else BETWEEN_CJK.sub("", " ".join(text.split()))
        if text.strip():
            self.paragraphs.append(text)


def text_of_html(path):
    parser = HtmlText()
    parser.feed(path.read_text(encoding="utf-8", errors="ignore"))
    parser.close()
    parser.end_paragraph()
    return "\n\n".join(parser.paragraphs)


def text_of_manual_page(path):
    """A manual page without its nroff: headings and paragraphs; requests that carry no text are dropped."""
    lines = []
    in_definition = False
    for line in gzip.decompress(path.read_bytes()).decode("utf-8", errors="ignore").splitlines():
        if line.startswith((".de", ".ig", ".TS")):
            in_definition = True
        elif line.startswith(("..", ".TE")):
            in_definition = False
        elif in_definition or line.startswith(('.\\"', "'", '\\"')):
            continue
        elif line.startswith("."):
            request, _, rest = line[1:].strip().partition(" ")
            if request in ("SH", "SS", "Sh", "Ss"):
                lines += ["", rest.replace('"', ""), ""]
            elif request in ("B", "I", "BR", "BI", "IR", "RB", "RI", "IB", "SB", "SM"):
                lines.append(rest.replace('"', ""))
            elif request in ("PP", "P", "LP", "TP", "IP", "HP", "sp", "Pp", "br"):
                lines.append("")
        else:
            lines.append(line)
    text = "\n".join(lines)
    text = re.sub(r"\\f(\(..|\[[^]]*\]|.)|\\s[-+]?\d|\\[&|^/,!]|\\\*(\(..|\[[^]]*\]|.)", "", text)
    text = re.sub(r"\\(-| |e|\(..|\[[^]]*\])", lambda m: {"-": "-", " ": " ", "e": "\\"}.get(m[1], ""), text)
    paragraphs = (BETWEEN_CJK.sub("", " ".join(part.split())) for part in re.split(r"\n\s*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def is_chinese(text):
    return len(re.findall("[\u4e00-\u9fff]", text)) > 0.25 * len(text)


def strings_of_r(blob):
    """The character vectors of an R lazy-load database: length, then a zlib stream of R's XDR serialisation."""
    position = 0
    while position < len(blob):
        stream = zlib.decompressobj()
        data = stream.decompress(blob[position + 4:])
        position = len(blob) - len(stream.unused_data)
        if data[:6] != b"X\n\0\0\0\3":
            raise ValueError("an R serialisation of version 3 was expected")
        at = 18 + struct.unpack_from(">i", data, 14)[0]
        kind, count = struct.unpack_from(">ii", data, at)
        at += 8
        if kind & 0xFF != 16:
            continue
        strings = []
        for _ in range(count):
            length = struct.unpack_from(">i", data, at + 4)[0]
            strings.append(data[at + 8:at + 8 + max(length, 0)].decode("utf-8", errors="ignore"))
            at += 8 + max(length, 0)
        yield strings


def novels(root):
    """One document a chapter; the lines of a paragraph joined."""
    for path in sorted(root.rglob("janeaustenr/data/Rdata.rdb")):
        for lines in strings_of_r(path.read_bytes()):
            text = "\n".join(line.rstrip() for line in lines)
            for chapter in re.split(r"\n(?=(?:CHAPTER|Chapter) (?:[IVXLC]+|\d+)\b)", text):
                yield "\n\n".join(" ".join(part.split()) for part in re.split(r"\n{2,}", chapter) if part.strip())


def poems(root):
    """Short entries of a fortune file without their terminal colours, some forty to a document."""
    for path in sorted(root.rglob("games/fortunes/*")):
        if path.suffix or not path.is_file():
            continue
        text = re.sub("\x1b\\[[0-9;]*m+", "", path.read_text(encoding="utf-8", errors="ignore"))
        entries = [entry.strip("\n") for entry in text.split("\n%\n")]
        entries = [entry for entry in entries if len(entry) < 600 and not re.search("[\u2500-\u257f\x1b]", entry)]
        for first in range(0, len(entries), 40):
            yield "\n\n".join(entries[first:first + 40])


def pages(root, pattern):
    for path in sorted(root.glob(pattern)):
        yield text_of_html(path)


def manual_pages(root):
    for path in sorted(root.glob("usr/share/man/zh_CN/man*/*.gz")):
        if not path.is_symlink():
            yield text_of_manual_page(path)


def modules():
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        parts = set(path.relative_to(library).parts)
        if not parts & {"test", "tests", "idle_test", "dist-packages", "site-packages", "encodings", "pydoc_data"}:
            yield path.read_text(encoding="utf-8", errors="ignore")


def documents(domain, packages):
    def root(name):
        return packages / name

    if domain == "prose":
        yield from novels(root("r-cran-janeaustenr"))
    elif domain == "technical":
        yield from pages(root("debian-handbook"), "usr/share/doc/debian-handbook/html/en-US/*.html")
        yield from pages(root("debian-reference-en"), "usr/share/debian-reference/*.html")
        yield from pages(root("debian-policy"), "usr/share/doc/debian-policy/policy.html/*.html")
        yield from pages(root("developers-reference"), "usr/share/developers-reference/[!d]*.html")
        yield from pages(root("debian-faq"), "usr/share/doc/debian/FAQ/*.en.html")
    elif domain == "chinese":
        yield from filter(is_chinese, pages(root("debian-handbook"), "usr/share/doc/debian-handbook/html/zh-CN/*.html"))
        yield from filter(is_chinese, pages(root("debian-reference-zh-cn"), "usr/share/debian-reference/*.html"))
        yield from filter(is_chinese, pages(root("maint-guide-zh-cn"), "usr/share/doc/maint-guide-zh-cn/html/*.html"))
        yield from filter(is_chinese, poems(root("fortunes-zh")))
        yield from filter(is_chinese, manual_pages(root("manpages-zh")))
    else:
        yield from modules()


def pieces(text):
    """The text, cut at empty lines into parts of at most some LARGEST_DOCUMENT characters."""
    part = []
    size = 0
    for paragraph in text.split("\n\n"):
        if part and size + len(paragraph) > LARGEST_DOCUMENT:
            yield "\n\n".join(part)
            part, size = [], 0
        part.append(paragraph)
        size += len(paragraph) + 2
    yield "\n\n".join(part)


def collect(domain, packages):
    """(held out, kept) documents of a domain, in an order decided by their hashes."""
    ordered = {}
    for document in documents(domain, packages):
        for text in pieces(document):
            text = text.replace(SEPARATOR, "").strip("\n")
            if len(text) >= SMALLEST_DOCUMENT:
                ordered[hashlib.sha256(text.encode()).digest()] = text
    held_out, kept = [], []
    sizes = [0, 0]
    for _, text in sorted(ordered.items()):
        size = len(text.encode())
        if sizes[0] + size <= HELD_OUT_BYTES:
            held_out.append(text)
            sizes[0] += size
        elif sizes[1] + size <= DOMAIN_BYTES:
            kept.append(text)
            sizes[1] += size
    return held_out, kept


def write(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = f"\n{SEPARATOR}\n".join(texts) + "\n"
    path.write_text(data, encoding="utf-8")
    return len(data.encode())


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--packages", type=pathlib.Path, help="folder that holds each package unpacked as NAME/")
    arguments.add_argument("--output", type=pathlib.Path, help="where the text goes")
    arguments.add_argument("--list", action="store_true", help="print the names of the packages and stop")
    options = arguments.parse_args()
    if options.list:
        print(*sorted({name for names in PACKAGES.values() for name in names}), sep="\n")
        return
    sizes = {}
    for domain in PACKAGES:
        held_out, kept = collect(domain, options.packages)
        write(options.output / "held-out" / f"{domain}.txt", held_out)
        sizes[domain] = write(options.output / "train" / f"{domain}.txt", kept)
        print(f"  {domain:10} {sizes[domain] / 1e6:5.2f} MB in {len(kept)} documents, {len(held_out)} more held out")
    for domain, size in sizes.items():
        if size < LEAST_SHARE * sum(sizes.values()):
            names = ", ".join(PACKAGES[domain]) or "the Python standard library"
            sys.exit(f"corpus.py: {domain} text is only {size} of {sum(sizes.values())} bytes, at least "
                     f"{LEAST_SHARE:.0%} was expected: check {names}, or train on your own text with --text PATH")


if __name__ == "__main__":
    main()
