#!/usr/bin/env python3
"""dlcm beside PyPI's `tokenizers`, on tokenizer.json files: the same ids, and how fast.

    bench/peers/tokenizers_compare.py --dlcm build/release/dlcm --tokenizer FILE... --text FILE... [--random 100000]
        [--mutated 10000] [--code-points] [--speed] [--threads 1 2]

Ids are compared on
  - every text: whole, in documents of some KiB, with and without special tokens found and added;
  - random strings of all planes, controls, combining marks, white space and pieces of special tokens;
  - lines of the texts with random bytes changed. The reference takes UTF-8 only: it gets them with U+FFFD in place of
    what is not, dlcm gets the bytes as they are, through `dlcm data build`;
  - with --code-points, every code point among letters, digits and spaces.
decode(encode(x)) is compared with the reference's and with x. Exits with 1 where anything differs.

Speed is that of `dlcm bench tokenizer` and of encode_batch_fast on the same documents, in turns; medians, MB/s.
Needs a Python with tokenizers.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

DOCUMENT_BYTES = 4096


def documents_of(text: bytes) -> list[str]:
    """As `dlcm bench tokenizer` cuts: after the first line end behind DOCUMENT_BYTES bytes."""
    documents = []
    while text:
        end = text.find(b"\n", DOCUMENT_BYTES) + 1 or len(text)
        documents.append(text[:end].decode("utf-8", "replace"))
        text = text[end:]
    return documents


def run_jsonl(dlcm, verb, tokenizer, values, *options):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    command = [dlcm, "tokenizer", verb, "--tokenizer", tokenizer, "--jsonl", *options]
    output = subprocess.run(command, input=lines.encode(), check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in output.split(b"\n")[:-1]]


class Comparison:
    def __init__(self, dlcm, path):
        import tokenizers
        self.dlcm, self.path = dlcm, path
        self.reference = tokenizers.Tokenizer.from_file(path)
        self.normalizes = self.reference.normalizer is not None
        self.specials = [token.content for token in self.reference.get_added_tokens_decoder().values()]
        self.different = 0

    def report(self, what, count, different, example=None):
        self.different += different
        shown = f", first: {example[:200]!a}" if example is not None else ""
        print(f"{self.path}: {what}: {count} texts, {different} differ{shown}", flush=True)

    def ids(self, what, texts, add_special_tokens=False):
        options = ["--add-special-tokens"] if add_special_tokens else []
        ours = run_jsonl(self.dlcm, "encode", self.path, texts, *options)
        theirs = [encoding.ids for encoding in self.reference.encode_batch_fast(texts, add_special_tokens=add_special_tokens)]
        wrong = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
        self.report(what, len(texts), len(wrong), wrong[0] if wrong else None)
        return wrong

    def round_trip(self, what, texts):
        """decode(encode(x)): as the reference's, and x itself where no token takes white space with it."""
        ids = run_jsonl(self.dlcm, "encode", self.path, texts)
        ours = run_jsonl(self.dlcm, "decode", self.path, ids)
        theirs = self.reference.decode_batch(ids, skip_special_tokens=False)
        wrong = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
        self.report(what + ", decoded as the reference", len(texts), len(wrong), wrong[0] if wrong else None)
        expected = [self.normalized(text) for text in texts]
        strips = [token.content for token in self.reference.get_added_tokens_decoder().values() if token.lstrip or token.rstrip]
        wrong = [text for text, a, b in zip(texts, ours, expected, strict=True) if a != b and not any(s in text for s in strips)]
        self.report(what + ", decoded to themselves", len(texts), len(wrong), wrong[0] if wrong else None)

    def normalized(self, text):
        """Special tokens are found first, so that nothing joins them."""
        if not self.normalizes:
            return text
        parts = re.split("(" + "|".join(map(re.escape, sorted(self.specials, key=len, reverse=True))) + ")", text)
        return "".join(self.reference.normalizer.normalize_str(part) for part in parts)

    def as_text(self, what, lines):
        """Lines of any bytes through `dlcm data build`, where special tokens are text, as encode_special_tokens has it."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "lines.txt").write_bytes(b"\n<|endoftext|>\n".join(lines))
            subprocess.run([self.dlcm, "data", "build", "--tokenizer", self.path, "--input", str(folder / "lines.txt"),
                            "--output", str(folder / "data"), "--validation-fraction", "0"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ours = collections.Counter(tuple(document[1:-1]) for document in documents_of_shards(folder / "data"))
        texts = [line.decode("utf-8", "replace") for line in lines]
        self.reference.encode_special_tokens = True
        encodings = self.reference.encode_batch_fast(texts, add_special_tokens=False)
        self.reference.encode_special_tokens = False
        theirs = collections.Counter(tuple(encoding.ids) for encoding in encodings)
        self.report(what, len(lines), (theirs - ours).total() + (ours - theirs).total())


def documents_of_shards(folder):
    """The ids of each document, as docs/formats.md describes shards."""
    for path in sorted(folder.glob("*.shard")):
        content = path.read_bytes()
        id_bytes = struct.unpack_from("<I", content, 12)[0]
        documents, count = struct.unpack_from("<QQ", content, 24)
        ids = struct.unpack_from(f"<{count}{'H' if id_bytes == 2 else 'I'}", content, 256)
        offsets = struct.unpack_from(f"<{documents + 1}Q", content, 256 + (id_bytes * count + 7) // 8 * 8)
        yield from (ids[begin:end] for begin, end in zip(offsets, offsets[1:]))


def random_texts(count, specials, seed):
    generator = random.Random(seed)
    combining = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]
    spaces = [chr(c) for c in range(0x3001) if chr(c).isspace()] + ["\r\n", "\n\n", "  ", "   "]
    words = ["'s", "'S", "'ll", "'RE", "\u017f", "'\u017f", "don't", "中文", "カタ", "ひら", "naïve", "e\u0301", "3.14", "x_1", "١٢٣", "①", "½"]
    ranges = [(0, 0x7F), (0, 0x2FF), (0x300, 0x36F), (0x370, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF),
              (0x20000, 0x3FFFF), (0x40000, 0x10FFFF), (0xAC00, 0xD7A3), (0x1100, 0x11FF)]

    def part():
        kind = generator.randrange(10)
        if kind < 5:
            return chr(generator.randint(*generator.choice(ranges)))
        if kind == 5:
            return generator.choice(combining)
        if kind == 6:
            return generator.choice(spaces)
        if kind == 7:
            return generator.choice(words)
        if kind == 8:
            return chr(generator.randrange(32))
        special = generator.choice(specials) if specials else "<|x|>"
        return special if generator.random() < 0.5 else special[generator.randrange(len(special)):]

    return ["".join(part() for _ in range(generator.randint(1, 30))).replace("\ud800", "") for _ in range(count)]


def mutated_lines(texts, count, seed):
    generator = random.Random(seed)
    lines = [line for text in texts for line in text.split(b"\n") if 20 < len(line) < 2000]
    result = []
    while len(result) < count:
        line = bytearray(generator.choice(lines))
        for _ in range(generator.randint(1, 6)):
            at = generator.randrange(len(line))
            kind = generator.randrange(4)
            if kind == 0:
                line[at] = generator.randrange(256)
            elif kind == 1:
                del line[at]
            elif kind == 2:
                line.insert(at, generator.randrange(256))
            else:
                line[at:at] = generator.choice([b"\xed\xa0\x80", b"\xf0\x9f", b"\xc0\x80", b"\xff\xfe", b"\xf4\x90\x80\x80", b"\xe2\x80"])
        result.append(bytes(line).replace(b"\n", b" ") + b".")  # never empty, nor the line that ends a document
    return result


def compare_speed(arguments, path, text):
    import tokenizers
    reference = tokenizers.Tokenizer.from_file(path)
    content = pathlib.Path(text).read_bytes()
    documents = documents_of(content)
    ours, theirs = [], []
    for _ in range(arguments.repeats + 1):
        command = [arguments.dlcm, "bench", "tokenizer", "--json", "--repeats", "9", "--threads", str(arguments.thread),
                   "--tokenizer", path, "--text", text]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        ours.append(json.loads(output)["seconds"])
        start = time.perf_counter()
        encodings = reference.encode_batch_fast(documents, add_special_tokens=False)
        theirs.append(time.perf_counter() - start)
    del encodings
    rates = [len(content) / 1e6 / statistics.median(seconds[1:]) for seconds in (ours, theirs)]
    print(json.dumps({"tokenizer": path, "text": text, "threads": arguments.thread, "bytes": len(content),
                      "dlcm_megabytes_per_second": round(rates[0], 2), "tokenizers_megabytes_per_second": round(rates[1], 2),
                      "times": round(rates[0] / rates[1], 2)}), flush=True)


def compare_ids(arguments):
    texts = [pathlib.Path(path).read_bytes() for path in arguments.text]
    different = 0
    for path in arguments.tokenizer:
        comparison = Comparison(arguments.dlcm, path)
        for name, text in zip(arguments.text, texts):
            comparison.ids(f"{name} in one piece", [text.decode("utf-8", "replace")])
            documents = documents_of(text)
            comparison.ids(f"{name} in documents", documents)
            comparison.ids(f"{name} with special tokens added", documents, add_special_tokens=True)
            comparison.round_trip(name, documents)
        if arguments.random:
            strings = random_texts(arguments.random, comparison.specials, seed=1)
            comparison.ids("random strings", strings)
            comparison.round_trip("random strings", strings)
        if arguments.mutated:
            lines = mutated_lines(texts, arguments.mutated, seed=2)
            comparison.as_text("mutated lines as bytes", lines)
            replaced = [line.decode("utf-8", "replace") for line in lines]
            comparison.ids("mutated lines after replacement", replaced)
            comparison.round_trip("mutated lines after replacement", replaced)
        if arguments.code_points:
            codes = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
            for begin in range(0, len(codes), 100000):
                batch = [f"a{c}b {c}1{c}{c} \u0301{c}\u0334" for c in codes[begin:begin + 100000]]
                comparison.ids(f"code points from {ord(codes[begin]):#x}", batch)
        different += comparison.different
    print(f"{different} differences")
    return 1 if different else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True, help="the binary")
    parser.add_argument("--tokenizer", nargs="+", required=True, help="tokenizer.json files")
    parser.add_argument("--text", nargs="+", required=True, help="text files")
    parser.add_argument("--random", type=int, default=0, help="how many random strings")
    parser.add_argument("--mutated", type=int, default=0, help="how many lines with changed bytes")
    parser.add_argument("--code-points", action="store_true", help="every code point, too")
    parser.add_argument("--speed", action="store_true", help="compare speed instead of ids")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--thread", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.thread is not None:
        for path in arguments.tokenizer:
            for text in arguments.text:
                compare_speed(arguments, path, text)
        return 0
    if arguments.speed:
        for threads in arguments.threads:  # the reference reads its number of threads when it starts
            environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": str(threads > 1).lower()}
            subprocess.run([sys.executable, *sys.argv, "--thread", str(threads)], env=environment, check=True)
        return 0
    return compare_ids(arguments)


if __name__ == "__main__":
    sys.exit(main())
