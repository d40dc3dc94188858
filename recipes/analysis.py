"""`dlcm analyze` on the runs of a recipe, and rank correlations."""

import pathlib
import statistics
import subprocess

import common

APART = {"wiki_en"}  # which is none of the paper's contents: shown, but not counted in "all"


def analyze(options, model, others, baseline=None):
    """Analyses a row's model on the held-out texts of options.texts; returns the folder of the CSV files."""
    folder = pathlib.Path(options.output) / f"analysis-{options.recipe}"
    command = [options.dlcm, "analyze", "--model", common.run_directory(options, model), "--output", folder]
    for other in others:
        command += ["--other", common.run_directory(options, other)]
    if baseline is not None:
        command += ["--baseline", common.run_directory(options, baseline)]
    for text in sorted(pathlib.Path(options.texts).glob("*/valid.txt")):
        command += ["--apart" if text.parent.name in APART else "--text", f"{text.parent.name}={text}"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return folder


def rank_correlation(a, b):
    """Spearman's: Pearson's correlation of the ranks, ties sharing the mean of theirs."""
    def ranks(values):
        ordered = sorted(values)
        return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]

    return statistics.correlation(ranks(a), ranks(b))
