"""The sum that ./test prints counts what it should."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SUMMARY = pathlib.Path(__file__).resolve().parents[1] / "summary.py"
CTEST = '<testsuite><testcase name="io" classname="io" status="{}"/><testcase name="rest" status="run"/></testsuite>'
BINARY = '<testsuites><testsuite><testcase name="A" classname="Io" status="run"/>{}</testsuite></testsuites>'
FAILED = '<testcase name="B" classname="Io" status="run"><failure message="x"/></testcase>'
SKIPPED = '<testcase name="C" classname="Io" status="run" result="skipped"><skipped message="x"/></testcase>'
CHECKS = '<testsuite><testcase name="D"/></testsuite>'


class Summary(unittest.TestCase):
    def sum_of(self, **files):
        """(exit status, last line) for a folder that holds these files."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (pathlib.Path(folder) / f"{name}.xml").write_text(text)
            done = subprocess.run([sys.executable, SUMMARY, folder], capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()[-1]

    def test_counts_the_cases_inside_a_binary(self):
        found = self.sum_of(ctest=CTEST.format("run"), test_io=BINARY.format(SKIPPED), checks=CHECKS)
        self.assertEqual(found, (0, "3 passed, 0 failed, 1 skipped"))

    def test_a_failed_case_counts_once(self):
        found = self.sum_of(ctest=CTEST.format("fail"), test_io=BINARY.format(FAILED), checks=CHECKS)
        self.assertEqual(found, (1, "3 passed, 1 failed, 0 skipped"))

    def test_a_binary_that_crashed_after_its_cases_is_a_failure(self):
        found = self.sum_of(ctest=CTEST.format("fail"), test_io=BINARY.format(""), checks=CHECKS)
        self.assertEqual(found, (1, "3 passed, 1 failed, 0 skipped"))

    def test_a_binary_that_wrote_nothing_is_a_failure(self):
        found = self.sum_of(ctest=CTEST.format("fail"), checks=CHECKS)
        self.assertEqual(found, (1, "2 passed, 1 failed, 0 skipped"))

    def test_results_that_are_missing_are_failures(self):
        self.assertEqual(self.sum_of(), (1, "0 passed, 2 failed, 0 skipped"))
