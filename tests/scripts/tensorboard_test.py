"""TensorBoard reads what dlcm writes (tests/io/tensorboard_check.py)."""

import pathlib
import subprocess
import sys
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class TensorBoard(unittest.TestCase):
    def test_reads_the_event_files_of_a_resumed_run(self):
        program = [sys.executable, REPOSITORY / "tests/io/tensorboard_check.py", REPOSITORY / "build/release/tests/test_io"]
        done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
