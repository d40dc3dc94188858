"""TensorBoard itself reads the event files of a run that was resumed.

    python tests/io/tensorboard_check.py build/release/tests/test_io

runs the test that writes them and needs the Python package tensorboard.
"""

import os
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator


def main():
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [sys.argv[1], "--gtest_brief=1", "--gtest_filter=EventFile.WritesARunWithAResume"],
            env={**os.environ, "DLCM_EVENT_DIRECTORY": directory},
            check=True,
        )
        plain = event_accumulator.EventAccumulator(directory)
        plain.Reload()
        found = [(event.step, event.wall_time, event.value) for event in plain.Scalars("train/loss")]
        shown = plugin_event_accumulator.EventAccumulator(directory)
        shown.Reload()
        shown_values = [
            (event.step, event.wall_time, event.tensor_proto.float_val[0]) for event in shown.Tensors("train/loss")
        ]

    expected = [(step, 1000 + step, 10 / step) for step in range(1, 7)]
    expected += [(step, 2000 + step, 20 / step) for step in range(7, 13)]
    for values in (found, shown_values):
        # Each step once: those behind the checkpoint are the second file's.
        assert [value[:2] for value in values] == [value[:2] for value in expected], values
        assert all(abs(value[2] - wanted[2]) < 1e-6 for value, wanted in zip(values, expected)), values
    print("TensorBoard reads the event files: steps behind the resume are replaced")


if __name__ == "__main__":
    main()
