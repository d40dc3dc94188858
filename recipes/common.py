"""What the recipes share: arguments, sweeps whose rows are committed as they come, tables, charts, pages in docs/results.

A recipe trains with `dlcm sweep`, so it resumes by itself and repeats nothing that has a row; it only needs a data directory
(`dlcm data build`) and, where it analyses texts, a folder with NAME/valid.txt for each kind of content.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"


def arguments(recipe, expected, data=True, texts=False, items=False, rows_suffice=False, more=None):
    """The command line of every recipe. `expected` says how long it takes on 2 cores, more(parser) adds options; where
    `rows_suffice` for the page, it can be written again without a training."""
    parser = argparse.ArgumentParser(prog=f"recipes/{recipe}.py", description=f"Expected time on 2 cores: {expected}.")
    needed = [parser.add_argument("--data", help="directory that `dlcm data build` wrote")] if data else []
    parser.set_defaults(page_only=False)
    if rows_suffice:
        parser.add_argument("--page-only", action="store_true", help="train nothing: write the page again from the rows in docs/results")
    if texts:
        parser.add_argument("--texts", required=True, help="folder with NAME/valid.txt for each kind of content")
    if items:
        parser.add_argument("--items", required=True, help="folder with NAME.jsonl, the items of each benchmark")
    parser.add_argument("--output", default=str(ROOT / "recipes-run"), help="where runs and rows go; recipes may share it")
    parser.add_argument("--dlcm", default=str(ROOT / "build/release/dlcm"), help="the program")
    parser.add_argument("--budget", type=float, default=2.0, help="hours after which no further run starts (default 2)")
    parser.add_argument("--runs-at-once", type=int, default=2, help="runs at once, a thread each (default 2)")
    parser.add_argument("--no-commit", action="store_true", help="write docs/results without committing it")
    if more is not None:
        needed.append(more(parser))
    options = parser.parse_args()
    for argument in needed:
        if not options.page_only and getattr(options, argument.dest) is None:
            parser.error(f"{argument.option_strings[0]} is needed: {argument.help}")
    options.recipe = recipe
    options.begin = time.time()
    print(f"{recipe}: expected {expected} on 2 cores", file=sys.stderr)
    return options


def commit(options, message, *paths):
    """Commits these files alone, where something in them changed."""
    if options.no_commit:
        return
    names = [str(path) for path in paths]
    subprocess.run(["git", "-C", ROOT, "add", "--", *names], check=True)
    if subprocess.run(["git", "-C", ROOT, "diff", "--cached", "--quiet", "--", *names]).returncode:
        subprocess.run(["git", "-C", ROOT, "commit", "-q", "-m", message, "--", *names], check=True)


def axes_of(sweep_file):
    with open(sweep_file, "rb") as file:
        spec = tomllib.load(file)
    return {axis.get("name", axis.get("key")) for axis in spec["axis"]}


def read_lines(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_rows(options, name, rows):
    path = RESULTS / "rows" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        commit(options, f"Rows of {name}: {len(rows)} runs", path)


def sweep(options, name, fill=None):
    """Runs recipes/sweeps/NAME.toml; its rows are committed to docs/results/rows/NAME.jsonl as runs end. Returns them.

    `fill` = (labels, values) of the sweep's first axis, where a recipe finds them: the sweep that is run is then written
    beside the rows. With --page-only nothing runs, and the committed rows are what there is."""
    if options.page_only:
        return read_lines(RESULTS / "rows" / f"{name}.jsonl")
    file = ROOT / "recipes" / "sweeps" / f"{name}.toml"
    if fill is not None:
        text = file.read_text(encoding="utf-8").replace("../../configs", str(ROOT / "configs"))
        for key, values in zip(("labels", "values"), fill):
            text = text.replace(f"{key} = []", f"{key} = {json.dumps(values)}", 1)
        file = pathlib.Path(options.output).resolve() / f"{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    left = options.budget - (time.time() - options.begin) / 3600
    command = [options.dlcm, "sweep", file, "--data", options.data, "--output", options.output, "--json",
               "--hours", f"{max(left, 1e-6):.6f}", "--runs-at-once", str(options.runs_at_once)]
    axes = axes_of(file)
    printed = tempfile.TemporaryFile("w+", encoding="utf-8")
    process = subprocess.Popen([str(part) for part in command], stdout=printed)
    while process.poll() is None:
        time.sleep(2)
        rows = read_lines(pathlib.Path(options.output) / "rows.jsonl")
        so_far = [row for row in rows if set(row["axes"]) == axes]
        if so_far:
            write_rows(options, name, so_far)
    if process.returncode:
        sys.exit(f"{options.recipe}: dlcm sweep ended with status {process.returncode}; the same command goes on")
    printed.seek(0)
    rows = [json.loads(line) for line in printed]
    write_rows(options, name, rows)
    return rows


def run_directory(options, row):
    return pathlib.Path(options.output) / row["run"]


def metrics(options, row):
    return read_lines(run_directory(options, row) / "metrics.jsonl")


def mean(values):
    return sum(values) / len(values)


# What another seed changes in the last validation loss of runs of this size, nats a token (the standard deviation in main_comparison
# is 0.003 to 0.016): single runs nearer than this are ties.
SEED_NOISE = 0.01

# Student's t, 95 %, of 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def paired(first, second):
    """Of two {seed: value}: mean difference over the seeds they share and the half-width of its 95 % interval (Student's t);
    without a second seed the half-width is None."""
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(differences) < 2:
        return (differences[0] if differences else None), None
    centre = mean(differences)
    error = math.sqrt(sum((d - centre) ** 2 for d in differences) / (len(differences) - 1) / len(differences))
    return centre, STUDENT[min(len(differences) - 2, len(STUDENT) - 1)] * error


def by_axis(rows, axis):
    return {row["axes"][axis]: row for row in rows}


def table(headings, rows):
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def sizes(rows):
    """A sentence about what was trained."""
    models = sorted({(round(row["parameters"], -4), round(row["non_embedding"], -4)) for row in rows})
    tokens = sorted({row["tokens"] for row in rows})
    seeds = sorted({row["seed"] for row in rows})
    ends = models if len(models) <= 3 else [models[0], models[-1]]
    shown = (", " if len(models) <= 3 else " to ").join(
        f"{total / 1e6:.2f}M parameters ({hidden / 1e6:.2f}M without embedding and head)" for total, hidden in ends)
    return (f"{len(rows)} runs of {shown}; {', '.join(f'{count / 1e6:.2f}M' for count in tokens)} tokens each; "
            f"seeds {', '.join(map(str, seeds))}.")


COLOURS = ["#2a63a8", "#b8561a", "#237a50", "#7a4ba6", "#b0325f", "#73640f", "#4a7f8c", "#666666"]


def marks_of(low, high):
    """Round numbers from at most `low` to at least `high`, four to nine of them."""
    size = 10 ** math.floor(math.log10(high - low))
    step = next(size * part for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if (high - low) / (size * part) <= 7)
    first = math.floor(low / step + 1e-9)
    return [step * i for i in range(first, first + math.ceil((high - step * first) / step - 1e-9) + 1)]


def chart(path, title, x_label, y_label, series, dashed=(), y_range=None, logarithmic=False):
    """Lines as an SVG file: `series` is {name: [(x, y) or (x, y, half-width of its interval), ...]}; names in `dashed` are drawn so;
    `logarithmic` is the x axis, whose marks then are the points' own."""
    width, height, left, right, top, bottom = 760, 400, 62, 24, 34, 64 + 18 * ((len(series) + 2) // 3)
    series = {name: [(x, y, error[0] if error and error[0] else 0) for x, y, *error in line if y is not None] for name, line in series.items()}
    points = [point for line in series.values() for point in line]
    low_x, high_x = min(x for x, *_ in points), max(x for x, *_ in points)
    low_y, high_y = y_range or (min(y - error for _, y, error in points), max(y + error for _, y, error in points))
    high_x, high_y = (high_x if high_x > low_x else low_x + 1), (high_y if high_y > low_y else low_y + 1)
    y_marks = marks_of(low_y, high_y)
    low_y, high_y = y_marks[0], y_marks[-1]
    x_marks = sorted({x for x, *_ in points}) if logarithmic else [x for x in marks_of(low_x, high_x) if low_x <= x <= high_x]
    scale = math.log if logarithmic else float
    place_x = lambda x: left + (scale(x) - scale(low_x)) / (scale(high_x) - scale(low_x)) * (width - left - right)
    place_y = lambda y: height - bottom - (min(max(y, low_y), high_y) - low_y) / (high_y - low_y) * (height - top - bottom)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
             f'<text x="{left}" y="20" font-size="14" font-weight="600" fill="#1d2126">{title}</text>']
    for x in x_marks:
        parts.append(f'<text x="{place_x(x):.1f}" y="{height - bottom + 16}" text-anchor="middle" fill="#5b636d">{x:.3g}</text>')
    for y in y_marks:
        shade = "#8a929b" if abs(y) < 1e-9 and low_y < 0 else "#dfe2e5"
        parts.append(f'<path d="M{left} {place_y(y):.1f}H{width - right}" stroke="{shade}"/>'
                     f'<text x="{left - 6}" y="{place_y(y) + 4:.1f}" text-anchor="end" fill="#5b636d">{y:.4g}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - bottom + 34}" text-anchor="middle" fill="#5b636d">{x_label}</text>'
                 f'<text transform="translate(14 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#5b636d">{y_label}</text>')
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        dash = ' stroke-dasharray="6 4"' if name in dashed else ""
        parts.append('<polyline fill="none" stroke-width="1.8" stroke="%s"%s points="%s"/>' % (
            colour, dash, " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y, _ in line)))
        for x, y, error in line:
            if error:
                centre = place_x(x) + 3 * (index - (len(series) - 1) / 2)
                parts.append(f'<path d="M{centre:.1f} {place_y(y - error):.1f}V{place_y(y + error):.1f}" stroke="{colour}" stroke-width="1.2"/>')
        x, y = left + (index % 3) * 230, height - bottom + 54 + 18 * (index // 3)
        parts.append(f'<path d="M{x} {y - 4}h18" stroke="{colour}" stroke-width="3"{dash}/><text x="{x + 24}" y="{y}" fill="#1d2126">{name}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n</svg>\n", encoding="utf-8")


def page(options, title, claim, body, verdict, rows_of, has_chart=True):
    """Writes and commits docs/results/RECIPE.md: the claim, ours beside the paper's, the verdict."""
    assert verdict.split(":")[0] in ("agrees", "differs", "cannot tell")
    commit_of = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    rows = ", ".join(f"[rows/{name}.jsonl](rows/{name}.jsonl)" for name in rows_of)
    text = f"# {title}\n\n**The paper.** {claim}\n\n**Verdict: {verdict}**\n\n"
    text += f"![chart]({options.recipe}.svg)\n\n" if has_chart else ""
    text += body.rstrip("\n") + "\n\n"
    text += (f"Written by `recipes/{options.recipe}.py`, last at commit {commit_of}. Configuration, seed and results of each run: "
             f"{rows}; the runs' metrics come again with the recipe.\n")
    path = RESULTS / f"{options.recipe}.md"
    path.write_text(text, encoding="utf-8")
    commit(options, f"Results of {options.recipe}", path, *([path.with_suffix(".svg")] if has_chart else []))
    print(f"{options.recipe}: {verdict}\n{path.relative_to(ROOT)}", file=sys.stderr)
