#!/usr/bin/env python3
"""Makes a large corpus out of a small one, to measure `dlcm data build` with: every document again and again, each time
with some words exchanged, and some times as it is, so that there are exact duplicates too.

    scripts/large_corpus.py --bytes 2000000000 OUTPUT NAME=FILE...

FILE is text whose documents end at lines that are <|endoftext|>; NAME becomes the field "source". OUTPUT/NAME-N.* are
JSON lines, plain, gzip or zstd (where the program zstd is there) by turns, and text."""

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import zlib

DUPLICATES = 0.05  # share of documents that stay as they are


def documents_of(path):
    with open(path, encoding="utf-8") as file:
        return [text for text in file.read().split("\n<|endoftext|>\n") if text]


def mutated(text, words, draw):
    """About one word in fifty becomes another word of the corpus, white space stays; in Chinese, characters change."""
    if draw.random() < DUPLICATES:
        return text
    parts = text.split(" ")
    gap = " "
    if len(parts) * 20 < len(text):
        parts, gap = list(text), ""
    for _ in range(1 + len(parts) // 50):
        word = draw.choice(words)
        parts[draw.randrange(len(parts))] = word if gap else draw.choice(word or "x")
    return gap.join(parts)


class Sink:
    """One output file of the format that `number` asks for."""

    def __init__(self, folder, name, number):
        kinds = ["jsonl", "jsonl.gz", "jsonl.zst", "txt"]
        kind = kinds[number % len(kinds)]
        if kind == "jsonl.zst" and not shutil.which("zstd"):
            kind = "jsonl"
        path = os.path.join(folder, f"{name}-{number:03}.{kind}")
        self.is_text = kind == "txt"
        self.name = name
        self.process = None
        if kind == "jsonl.gz":
            self.file = gzip.open(path, "wb", compresslevel=1)
        elif kind == "jsonl.zst":
            self.process = subprocess.Popen(["zstd", "-q", "-f", "-o", path], stdin=subprocess.PIPE)
            self.file = self.process.stdin
        else:
            self.file = open(path, "wb")

    def write(self, text):
        if self.is_text:
            self.file.write((text + "\n<|endoftext|>\n").encode())
        else:
            record = {"id": zlib.crc32(text.encode()), "text": text, "source": self.name}
            self.file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())

    def close(self):
        self.file.close()
        if self.process and self.process.wait() != 0:
            sys.exit("zstd failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, required=True, help="of text in all")
    parser.add_argument("output")
    parser.add_argument("sources", nargs="+", metavar="NAME=FILE")
    arguments = parser.parse_args()
    os.makedirs(arguments.output)
    draw = random.Random(1)
    sources = [source.split("=", 1) for source in arguments.sources]
    documents = {name: documents_of(path) for name, path in sources}
    words = {name: " ".join(texts[:2000]).split(" ") for name, texts in documents.items()}
    written, number = 0, 0
    while written < arguments.bytes:
        for name, texts in documents.items():
            sink = Sink(arguments.output, name, number)
            for text in texts:
                text = mutated(text, words[name], draw)
                sink.write(text)
                written += len(text.encode())
            sink.close()
        number += 1
    print(f"{written} bytes of text in {arguments.output}")


if __name__ == "__main__":
    main()
