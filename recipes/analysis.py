"""`dlcm analyze` on the runs of a recipe, and rank correlations."""

import pathlib
import subprocess

import common


def analyze(options, model, others, baseline=None):
    """Analyses a row's model on the held-out texts of options.texts; returns the folder of the CSV files."""
    folder = pathlib.Path(options.output) / f"analysis-{options.recipe}"
    command = [options.dlcm, "analyze", "--model", common.run_directory(options, model), "--output", folder]
    for other in others:
        command += ["--other", common.run_directory(options, other)]
    if baseline is not None:
        command += ["--baseline", common.run_directory(options, baseline)]
    for text in sorted(pathlib.Path(options.texts).glob("*/valid.txt")):
        command += ["--text", f"{text.parent.name}={text}"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return folder


def rank_correlation(a, b):
    """Spearman's; no ties are expected."""
    rank = lambda values: [sorted(values).index(value) for value in values]
    first, second, count = rank(a), rank(b), len(a)
    return 1 - 6 * sum((x - y) ** 2 for x, y in zip(first, second)) / (count * (count * count - 1))
