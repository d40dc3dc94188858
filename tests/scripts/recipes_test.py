"""What the recipes compute of their rows: statistics, tables, charts, pages."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml
from unittest import mock

RECIPES = pathlib.Path(__file__).resolve().parents[2] / "recipes"
sys.path.insert(0, str(RECIPES))

import analysis
import common
import paper_gaps
import tokens_per_parameter


class Statistics(unittest.TestCase):
    def test_a_paired_difference_and_its_interval_are_students(self):
        centre, half_width = common.paired({1: 2.0, 2: 2.2, 3: 2.4}, {1: 1.9, 2: 1.9, 3: 1.9, 4: 7.0})
        # Differences 0.1, 0.3, 0.5: mean 0.3, standard error 0.2 / sqrt 3; t of two degrees of freedom 4.303.
        self.assertAlmostEqual(centre, 0.3)
        self.assertAlmostEqual(half_width, 4.303 * 0.2 / 3**0.5, places=3)

    def test_one_seed_has_no_interval_and_none_no_difference(self):
        self.assertEqual(common.paired({1: 3.0}, {1: 1.0, 2: 9.0}), (2.0, None))
        self.assertEqual(common.paired({1: 3.0}, {2: 1.0}), (None, None))

    def test_many_seeds_have_the_interval_of_their_number(self):
        differences = {seed: float(seed % 2) for seed in range(6)}
        centre, half_width = common.paired(differences, dict.fromkeys(differences, 0.0))
        self.assertAlmostEqual(centre, 0.5)
        self.assertAlmostEqual(half_width, 2.571 * 0.3**0.5 / 6**0.5, places=3)

    def test_the_noise_of_a_seed_is_pooled_over_both_models(self):
        # DLCM 1 and 3 about 2, the plain transformer 1 and 5 about 3: squares 2 and 8, one degree of freedom each.
        deviation, freedom = tokens_per_parameter.deviation_of({1: {False: 1.0, True: 5.0}, 2: {False: 3.0, True: 1.0}})
        self.assertAlmostEqual(deviation, 5**0.5)
        self.assertEqual(freedom, 2)

    def test_ranks_that_tie_share_their_mean(self):
        self.assertAlmostEqual(analysis.rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]), 1.0)
        self.assertAlmostEqual(analysis.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]), -1.0)
        # Ranks 0 1 2 3 and 0.5 0.5 2 3: covariance 4.5, variances 5 and 4.5.
        self.assertAlmostEqual(analysis.rank_correlation([1, 2, 3, 4], [7, 7, 8, 9]), 4.5 / (5.0 * 4.5) ** 0.5)


class Charts(unittest.TestCase):
    def test_marks_are_round_and_hold_the_range(self):
        for low, high in ((0.0, 1.0), (0.0, 8.0), (0.0, 9.99), (0.0, 7.01), (-0.034, 0.091), (4.77, 5.24), (12.0, 1300.0), (0.3, 0.30001)):
            marks = common.marks_of(low, high)
            steps = [b - a for a, b in zip(marks, marks[1:])]
            self.assertLessEqual(marks[0], low + 1e-9)
            self.assertGreaterEqual(marks[-1], high - 1e-9)
            self.assertTrue(4 <= len(marks) <= 9, marks)
            self.assertLess(max(steps) - min(steps), 1e-9 * max(1.0, high))

    def test_a_chart_is_an_svg_with_a_line_a_series_and_a_bar_an_interval(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "chart.svg"
            common.chart(path, "title", "x", "y", {"a": [(1, 2.0, 0.5), (10, 3.0, None), (100, None)], "b": [(1, 1.0)]}, logarithmic=True)
            drawn = xml.parse(path).getroot()
        lines = drawn.findall("{*}polyline")
        self.assertEqual([len(line.get("points").split()) for line in lines], [2, 1])
        bars = [path for path in drawn.findall("{*}path") if path.get("stroke-width") == "1.2"]
        self.assertEqual(len(bars), 1)


class Pages(unittest.TestCase):
    def write(self, rows, *arguments):
        """The page of paper_gaps for these rows, in a folder of its own."""
        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder) / "docs" / "results"
            (results / "rows").mkdir(parents=True)
            (results / "rows" / "paper_gaps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            with (mock.patch.object(common, "RESULTS", results), mock.patch.object(common, "ROOT", pathlib.Path(folder)),
                  mock.patch.object(sys, "argv", ["paper_gaps.py", *arguments]), contextlib.redirect_stderr(io.StringIO())):
                paper_gaps.main()
            return (results / "paper_gaps.md").read_text(encoding="utf-8")

    def rows(self, gain):
        for index in range(13):
            for seed in (1, 2, 3):
                bits = 2.0 + 0.01 * seed + (gain + 0.0001 * seed if index == 5 else 0.0)
                yield {"axes": {"choice": "as it is" if index == 0 else f"choice {index}", "train.seed": str(seed)}, "status": "done", "seed": seed,
                       "parameters": 1000000, "non_embedding": 600000, "tokens": 1000, "val_bits_per_byte": bits, "val_ratio": 4.0, "val_ratio_half": 4.1}

    def test_the_verdict_follows_the_rows(self):
        self.assertIn("Verdict: differs: choice 5 would have been better", self.write(list(self.rows(-0.1)), "--page-only", "--no-commit"))
        tie = self.write(list(self.rows(0.0001)), "--page-only", "--no-commit")
        self.assertIn("Verdict: agrees", tie)
        self.assertIn("worse: choice 5", self.write(list(self.rows(0.1)), "--page-only", "--no-commit"))

    def test_a_partial_sweep_is_said_to_be_one(self):
        page = self.write(list(self.rows(0.0))[:20], "--page-only", "--no-commit")
        self.assertIn("Verdict: cannot tell: the sweep is not complete", page)
        self.assertIn("**Partial: 20 of 39 runs.**", page)

    def test_a_training_needs_its_data(self):
        with self.assertRaises(SystemExit) as ended:
            self.write([], "--no-commit")
        self.assertEqual(ended.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
