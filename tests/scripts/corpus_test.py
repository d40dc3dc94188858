"""scripts/corpus.py makes text of what Debian packages hold, and scripts/sample.py takes excerpts of text."""

import gzip
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import corpus  # noqa: E402

PAGE = """<?xml version="1.0"?><html><head><title>not this</title></head><body>
<div class="navheader"><div>nor this</div></div><ul class="docnav top"><li>nor that</li></ul>
<div><h2><a id="x"/>1. Boot
 the   machine</h2><p>Wait &lt;a moment&gt;.<br/>Then:</p><pre class="screen">$ ls  -l
total 0</pre><p>第一
 行</p></div></body></html>"""
MANUAL = r""".\" a comment
.de Sh
inner
..
.TH LS 1
.SH "名称 NAME"
\fBls\fR \- 列出目录
的内容
.TP
.B \-a
所有
"""


def r_strings(strings):
    data = b"X\n" + struct.pack(">iiii", 3, 0, 0, 5) + b"UTF-8" + struct.pack(">ii", 16, len(strings))
    for string in strings:
        data += struct.pack(">ii", 0x40009, len(string)) + string
    return struct.pack(">i", len(data)) + zlib.compress(data)


class Corpus(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.directory.name)
        self.addCleanup(self.directory.cleanup)

    def put(self, name, data):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def test_html_becomes_paragraphs_and_listings_without_navigation(self):
        text = corpus.text_of_html(self.put("page.html", PAGE))
        self.assertEqual(text, "1. Boot the machine\n\nWait <a moment>. Then:\n\n$ ls  -l\ntotal 0\n\n第一行")

    def test_manual_pages_lose_their_nroff(self):
        text = corpus.text_of_manual_page(self.put("ls.1.gz", gzip.compress(MANUAL.encode())))
        self.assertEqual(text, "名称 NAME\n\nls - 列出目录的内容\n\n-a 所有")

    def test_novels_are_cut_into_chapters(self):
        lines = [b"EMMA", b"", b"CHAPTER I", b"", b"Emma was", b"handsome.", b"", b"CHAPTER II", b"Mr. Weston"]
        self.put("janeaustenr/data/Rdata.rdb", r_strings(lines) + r_strings([b"second"]))
        self.assertEqual(list(corpus.novels(self.folder)),
                         ["EMMA", "CHAPTER I\n\nEmma was handsome.", "CHAPTER II Mr. Weston", "second"])

    def test_poems_lose_terminal_colours_and_tables(self):
        self.put("games/fortunes/tang", "\x1b[32m静夜思\x1b[m\n床前明月光\n%\n│ 表 │\n%\n春眠不觉晓")
        self.put("games/fortunes/tang.dat", b"\0")
        self.assertEqual(list(corpus.poems(self.folder)), ["静夜思\n床前明月光\n\n春眠不觉晓"])

    def test_long_texts_are_cut_at_empty_lines(self):
        text = "\n\n".join(f"{number} " + "x" * 20000 for number in range(7))
        parts = list(corpus.pieces(text))
        self.assertEqual("\n\n".join(parts), text)
        self.assertGreater(len(parts), 1)
        self.assertLessEqual(max(map(len, parts)), corpus.LARGEST_DOCUMENT)

    def test_held_out_documents_are_not_trained_on_and_stay_the_same(self):
        first = corpus.collect("code", self.folder)
        self.assertEqual(first, corpus.collect("code", self.folder))
        self.assertTrue(first[0] and first[1])
        self.assertFalse(set(first[0]) & set(first[1]))

    def test_a_domain_without_text_is_an_error_that_names_its_packages(self):
        command = [sys.executable, SCRIPTS / "corpus.py", "--packages", self.folder, "--output", self.folder / "text"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("r-cran-janeaustenr", done.stderr)

    def sample(self, path):
        return subprocess.run([sys.executable, SCRIPTS / "sample.py", path], capture_output=True, text=True, check=True,
                              cwd=SCRIPTS.parent).stdout

    def test_sample_reads_files_folders_and_json_lines(self):
        self.put("a/one.txt", "第一" * 1000)
        self.put("a/two.jsonl", json.dumps({"text": "second"}) + "\n")
        self.put("a/three.jsonl.zst", b"\x28\xb5")
        self.assertEqual(self.sample(self.folder / "a"), "第一" * 150 + "\n\nsecond\n")
        self.assertEqual(self.sample(self.folder / "a/two.jsonl"), "second\n")
        self.put("b/three.jsonl.zst", b"\x28\xb5")
        self.assertIn("dlcm", self.sample(self.folder / "b"))
