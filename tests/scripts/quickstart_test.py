"""./quickstart from text to report on a tiny budget."""

import json
import math
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIELDS = {"step", "tokens", "seconds", "loss", "grad_norm", "lr", "tokens_per_second", "mfu"}
CONCEPT_FIELDS = {"aux_loss", "ratio", "ratio_eval"}


def quickstart(*arguments):
    return subprocess.run([REPOSITORY / "quickstart", *arguments], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)


class Quickstart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        folder = pathlib.Path(cls.directory.name)
        # The repository's own sources and pages, some hundred documents.
        for number, path in enumerate(sorted([*REPOSITORY.glob("dlcm/*/*.h"), *REPOSITORY.glob("docs/*.md")])):
            (folder / "text").mkdir(exist_ok=True)
            (folder / "text" / f"{number}.txt").write_bytes(path.read_bytes())
        cls.text, cls.output = folder / "text", folder / "run"
        cls.arguments = ["--text", cls.text, "--minutes", "0.2", "--output", cls.output]
        cls.done = quickstart(*cls.arguments)

    def lines(self, name):
        return [json.loads(line) for line in (self.output / name / "metrics.jsonl").read_text().splitlines()]

    def test_runs_to_the_end_and_says_what_is_next(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout + self.done.stderr)
        self.assertIn("report.html", self.done.stdout)
        self.assertIn("Try next", self.done.stdout)

    def test_both_models_take_the_same_steps_and_learn(self):
        steps = int((self.output / "steps").read_text())
        for name in ("small", "small-llama"):
            logged = [line for line in self.lines(name) if "loss" in line]
            self.assertEqual([line["step"] for line in logged], list(range(1, steps + 1)))
            self.assertTrue(all(math.isfinite(line["loss"]) for line in logged))
            self.assertLess(logged[-1]["loss"], logged[0]["loss"])

    def test_metrics_have_their_fields(self):
        for name, fields in (("small", FIELDS | CONCEPT_FIELDS), ("small-llama", FIELDS)):
            lines = self.lines(name)
            self.assertLessEqual(fields, set().union(*(line.keys() for line in lines if "loss" in line)))
            self.assertTrue(any(line.get("val_bits_per_byte", 0) > 0 for line in lines))

    def test_report_needs_nothing_from_outside(self):
        page = (self.output / "report.html").read_text()
        self.assertGreater(len(page), 10000)
        self.assertEqual(re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//[^"' >]*""", page), [])

    def test_segmentation_and_generated_text_are_there(self):
        self.assertIn("</html>", (self.output / "segmentation.html").read_text())
        self.assertGreater(len((self.output / "generated.txt").read_bytes()), 10)

    def test_second_run_takes_seconds_and_trains_nothing(self):
        before = (self.output / "small" / "metrics.jsonl").stat().st_mtime_ns
        started = time.monotonic()
        again = quickstart(*self.arguments)
        self.assertEqual(again.returncode, 0, again.stdout + again.stderr)
        self.assertLess(time.monotonic() - started, 20)
        self.assertEqual((self.output / "small" / "metrics.jsonl").stat().st_mtime_ns, before)

    def test_a_folder_of_another_length_is_not_overwritten(self):
        done = quickstart("--text", self.text, "--minutes", "3", "--output", self.output)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--output", done.stderr)

    def test_build_only_stops_at_the_binary(self):
        done = quickstart("--build-only", "--output", str(self.output) + "-none")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue((REPOSITORY / "build/release/dlcm").exists())
        self.assertFalse(pathlib.Path(str(self.output) + "-none").exists())
