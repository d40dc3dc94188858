"""The grid behind Figures 4, 5 and 6, and its fit."""

import json
import pathlib
import subprocess

import common


def fit(options, rows, file):
    """What `dlcm fit` says of the finished ones of these runs, as an object; its file is `file`."""
    command = [options.dlcm, "fit", *[common.run_directory(options, row) for row in rows if row["status"] == "done"], "--output", file,
               "--page", file.with_suffix(".html"), "--json"]
    return json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)


def fitted(options):
    """Trains the grid, its repeated seeds and its plain transformers; returns their rows and the fit as an object."""
    grid = common.sweep(options, "fig4_scaling")
    seeds = common.sweep(options, "fig4_seeds")
    plain = common.sweep(options, "fig4_baseline")
    file = pathlib.Path(options.output) / "scaling-fit.json"
    return grid, seeds, plain, fit(options, grid + seeds + plain, file), file


def partial(grid, wanted=27):
    return f" **Partial: {len(grid)} of {wanted} runs of the grid.**" if len(grid) < wanted else ""
