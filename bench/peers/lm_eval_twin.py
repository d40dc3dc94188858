#!/usr/bin/env python3
"""The same checkpoint, the same items: `dlcm eval` beside lm-evaluation-harness.

The harness builds its prompts from its own task files, of which only the data's place (local JSON lines) and the list of
metrics (acc and acc_norm for all) are replaced; it gets log-likelihoods from `dlcm score`, one sequence at a time, and
tokens from `dlcm tokenizer encode`. Compared are contexts and continuations byte for byte, the answer of every item, and
the figures with their standard errors; with --text, bits per byte over rolling windows. Needs the PyPI package lm_eval;
no network. Exit status 1 where anything differs.

    bench/peers/lm_eval_twin.py --dlcm build/release/dlcm --model RUN --items FOLDER [--shots 5 --shots-from FOLDER]
"""
import argparse
import collections
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import lm_eval
import yaml
from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

STOCK = pathlib.Path(lm_eval.__file__).parent / "tasks"
TASKS = {
    "commonsense_qa": "commonsense_qa/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "piqa": "piqa/piqa.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "mmlu": "mmlu/default/mmlu_{}.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "race": "race/race.yaml",
    "ceval": "ceval/ceval-valid_{}.yaml",
    "cmmlu": "cmmlu/cmmlu_{}.yaml",
    "lambada": "lambada/lambada_openai.yaml",
}


class Lines:
    """A program that answers each JSON line with one."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, value):
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"dlcm ended with status {self.process.wait()}")
        return json.loads(line)


class Dlcm(TemplateLM):
    """The harness's model: every number comes from `dlcm score`."""

    def __init__(self, dlcm, checkpoint, options):
        super().__init__()
        self.score = Lines(dlcm, "score", "--model", str(checkpoint), "--jsonl", *options)
        self.tokenizer_lines = Lines(dlcm, "tokenizer", "encode", "--tokenizer", str(checkpoint / "tokenizer"), "--jsonl")
        self.max_length = tomllib.loads((checkpoint / "config.toml").read_text())["train"]["context"]
        self.bos = self.score.ask("")["ids"][0]
        self.known = {}
        self.seconds = 0.0

    @property
    def eot_token_id(self):
        return self.bos

    def tok_encode(self, string, add_special_tokens=None, **_):
        ids = self.tokenizer_lines.ask(string)
        return ids if add_special_tokens is False else [self.bos] + ids

    def logprobs(self, ids):
        key = tuple(ids)
        if key not in self.known:
            begin = time.monotonic()
            answer = self.score.ask(ids)
            self.seconds += time.monotonic() - begin
            self.known[key] = (answer["logprobs"], answer["greedy"])
        return self.known[key]

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, **_):
        answers = []
        for _, context, continuation in requests:
            assert 0 < len(continuation) <= self.max_length
            logprobs, greedy = self.logprobs((context + continuation)[-(self.max_length + 1) :])
            count = len(continuation)
            answers.append((math.fsum(logprobs[-count:]), all(greedy[-count:])))
        return answers

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        sums = []
        for request in requests:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = [(None, *utils.make_disjoint_window(window)) for window in windows]
            sums.append(math.fsum(logprob for logprob, _ in self._loglikelihood_tokens(pairs)))
        return sums

    def generate_until(self, requests, disable_tqdm=False):
        raise NotImplementedError


def read_lines(path):
    return [json.loads(line) for line in open(path, encoding="utf-8") if line.strip()]


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def write_task(folder, name, stock, items, shots, last_word=False):
    """One leaf task of the harness: the stock file with local data."""
    data = write_lines(folder / f"{name}.jsonl", items)
    config = {"include": str(STOCK / stock), "task": name, "dataset_path": "json", "dataset_name": None}
    if shots is None:  # examples from the items themselves
        config |= {"dataset_kwargs": {"data_files": {"test": data}}, "test_split": "test", "fewshot_split": "test"}
        config |= {"training_split": None, "validation_split": None}
    else:
        examples = write_lines(folder / f"{name}.shots.jsonl", shots)
        files = {"train": examples, "dev": examples, "validation": data, "val": data, "test": data}
        config |= {"dataset_kwargs": {"data_files": files}}
    if not last_word:
        metrics = ["acc", "acc_norm"]
        config["metric_list"] = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def write_group(folder, name, tasks):
    group = {"group": name, "task": tasks, "metadata": {"version": 1}}
    group["aggregate_metric_list"] = [{"metric": m, "weight_by_size": True} for m in ("acc", "acc_norm")]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")


def subjects_of(records):
    subjects = collections.defaultdict(list)
    for record in records:
        subjects[record["subject"]].append(record)
    return subjects


def prepare(folder, task, items, shots):
    """Writes the harness's files of one benchmark; returns the leaf tasks with their subjects."""
    name = f"twin_{task}"
    if "{}" not in TASKS[task]:
        write_task(folder, name, TASKS[task], items, shots, last_word=task == "lambada")
        return name, {name: None}
    leaves, categories = {}, collections.defaultdict(list)
    examples = None if shots is None else subjects_of(shots)
    for subject, records in subjects_of(items).items():
        leaf = f"{name}_{subject}"
        stock = TASKS[task].format(subject)
        write_task(folder, leaf, stock, records, None if shots is None else examples[subject])
        leaves[leaf] = subject
        category = yaml.safe_load((STOCK / stock).read_text(encoding="utf-8")).get("tag", "")
        categories[category.removeprefix("mmlu_").removesuffix("_tasks")].append(leaf)
    for category, members in categories.items():
        if category:
            write_group(folder, f"{name}__{category}", members)
    write_group(folder, name, [f"{name}__{category}" if category else leaf for category in sorted(categories)
                               for leaf in (categories[category] if not category else [category])])
    return name, leaves


class Differences:
    def __init__(self):
        self.count = 0

    def expect(self, equal, text):
        if equal:
            return
        self.count += 1
        if self.count <= 20:
            print(f"DIFFERENT: {text}", file=sys.stderr)


def close(ours, theirs):
    if ours is None or theirs is None or theirs == "N/A":
        return ours is None and theirs in (None, "N/A")
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)


def compare_items(task, leaves, samples, log, differences):
    """Prompts and answers of every item; returns the harness's prompts in the file's order and the largest difference
    of a sum."""
    by_subject = collections.defaultdict(list)
    for item in log:
        by_subject[item["subject"]].append(item)
    prompts, largest = {}, 0.0
    for leaf, subject in leaves.items():
        theirs = sorted(samples[leaf], key=lambda sample: sample["doc_id"])
        differences.expect(len(theirs) == len(by_subject[subject]), f"{leaf}: number of items")
        for ours, sample in zip(by_subject[subject], theirs):
            where = f"{task}, line {ours['line']}"
            count = len(ours["logprobs"])
            contexts = ours["contexts"] * (count if len(ours["contexts"]) == 1 else 1)
            continuations = ours["continuations"] * (count if len(ours["continuations"]) == 1 else 1)
            arguments = [tuple(pair) for pair in sample["arguments"]]
            prompts[ours["line"]] = arguments
            differences.expect(list(zip(contexts, continuations)) == arguments,
                               f"{where}: prompts {contexts[:1]!r} {continuations!r} and {arguments!r}")
            for logprob, greedy, (their_logprob, their_greedy) in zip(ours["logprobs"], ours["greedy"],
                                                                     sample["filtered_resps"]):
                largest = max(largest, abs(logprob - float(their_logprob)))
                differences.expect(greedy == (str(their_greedy) == "True"), f"{where}: greedy")
            for metric in ("acc", "acc_norm"):
                if metric in sample and ours[metric] is not None:
                    differences.expect(ours[metric] == sample[metric], f"{where}: {metric}")
    return [prompts[line] for line in sorted(prompts)], largest


def compare_figures(task, ours, theirs, differences):
    for metric in ("acc", "acc_norm", "perplexity"):
        if f"{metric},none" not in theirs or ours[metric] is None:
            continue
        differences.expect(close(ours[metric], theirs[f"{metric},none"]) or
                           (metric == "perplexity" and math.isclose(ours[metric], theirs["perplexity,none"], rel_tol=1e-5)),
                           f"{task}: {metric} {ours[metric]} and {theirs[f'{metric},none']}")
        if metric == "perplexity":
            continue  # the harness's error of it is a bootstrap
        error = theirs.get(f"{metric}_stderr,none")
        differences.expect(close(ours[f"{metric}_stderr"], error),
                           f"{task}: {metric}_stderr {ours[f'{metric}_stderr']} and {error}")


def run_dlcm(arguments):
    finished = subprocess.run(arguments, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        sys.exit(f"{' '.join(arguments)} ended with status {finished.returncode}")
    return [json.loads(line) for line in finished.stdout.splitlines()]


def twin_tasks(options, model, folder, differences):
    given = [str(options.model), "--tasks", ",".join(options.tasks), "--items", str(options.items)]
    given += ["--shots", str(options.shots)]
    if options.shots_from:
        given += ["--shots-from", ",".join(f"{t}={options.shots_from / f'{t}.jsonl'}" for t in options.tasks)]
    log = folder / "items.log"
    ours = run_dlcm([options.dlcm, "eval", "--model", *given, "--item-log", str(log), "--json", *options.options])
    logged = collections.defaultdict(list)
    for item in read_lines(log):
        logged[item["task"]].append(item)
    groups = {}
    for task in options.tasks:
        shots = read_lines(options.shots_from / f"{task}.jsonl") if options.shots_from else None
        groups[task] = prepare(folder, task, read_lines(options.items / f"{task}.jsonl"), shots)
    results = lm_eval.simple_evaluate(
        model=model,
        tasks=[name for name, _ in groups.values()],
        num_fewshot=options.shots,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        log_samples=True,
        bootstrap_iters=100,
    )
    print(f"{'task':16} {'items':>6} {'prompts':>8} {'acc':>8} {'lm_eval':>8} {'acc_norm':>8} {'lm_eval':>8} "
          f"{'stderr':>8} {'lm_eval':>8} {'largest difference of a sum':>28} {'items/s':>8}")
    for figures in ours:
        task = figures["task"]
        name, leaves = groups[task]
        prompts, largest = compare_items(task, leaves, results["samples"], logged[task], differences)
        if options.prompts:
            record = {"task": task, "shots": options.shots, "shots_from_file": bool(options.shots_from), "prompts": prompts}
            with open(options.prompts, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        theirs = results["results"].get(name) or results["groups"][name]
        compare_figures(task, figures, theirs, differences)
        for subject in figures["subjects"] or []:
            compare_figures(f"{task} {subject['subject']}", subject,
                            results["results"][f"{name}_{subject['subject']}"], differences)
        for category in figures["categories"] or []:
            compare_figures(f"{task} {category['category']}", category,
                            results["groups"][f"{name}__{category['category']}"], differences)
        shown = [figures["acc"], theirs["acc,none"], figures["acc_norm"], theirs.get("acc_norm,none"),
                 figures["acc_stderr"], theirs["acc_stderr,none"]]
        print(f"{task:16} {figures['items']:6} {sum(map(len, prompts)):8} "
              + " ".join("       -" if value is None or value == "N/A" else f"{value:8.4f}" for value in shown)
              + f" {largest:28.2e} {figures['items_per_second']:8.1f}")


def twin_texts(options, model, folder, differences):
    for number, path in enumerate(options.text):
        ours = run_dlcm([options.dlcm, "eval", "--model", str(options.model), "--text", str(path), "--json",
                         *options.options])[0]
        name = f"twin_text{number}"
        config = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}},
                  "output_type": "loglikelihood_rolling", "test_split": "test", "doc_to_text": "",
                  "doc_to_target": "{{text}}", "metric_list": [{"metric": "bits_per_byte"}]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        results = lm_eval.simple_evaluate(model=model, tasks=[name], bootstrap_iters=0,
                                          task_manager=TaskManager(include_path=str(folder), include_defaults=False))
        theirs = results["results"][name]["bits_per_byte,none"]
        differences.expect(math.isclose(ours["bits_per_byte"], theirs, rel_tol=1e-6), f"{path}: bits per byte")
        print(f"{path}: bits per byte {ours['bits_per_byte']:.8f}, lm_eval {theirs:.8f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dlcm", required=True, help="the binary")
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a checkpoint (RUN/step-NNNNNNNN)")
    parser.add_argument("--items", type=pathlib.Path, help="folder of TASK.jsonl")
    parser.add_argument("--tasks", help="NAME,... (all that the folder has)")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--shots-from", type=pathlib.Path, help="folder of TASK.jsonl with examples (the items themselves)")
    parser.add_argument("--prompts", type=pathlib.Path, help="append what the harness asked, one task a line")
    parser.add_argument("--text", nargs="*", default=[], type=pathlib.Path, help=".jsonl files, field \"text\"")
    parser.add_argument("options", nargs="*", help="behind --: options for dlcm, such as --ratio 8")
    options = parser.parse_args()
    differences = Differences()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        model = Dlcm(options.dlcm, options.model, options.options)
        if options.items:
            found = [task for task in TASKS if (options.items / f"{task}.jsonl").exists()]
            options.tasks = options.tasks.split(",") if options.tasks else found
            twin_tasks(options, model, folder, differences)
        twin_texts(options, model, folder, differences)
        print(f"{model.seconds:.1f} s in dlcm score for lm_eval, {len(model.known)} sequences")
    print(f"{differences.count} differences")
    return 1 if differences.count else 0


if __name__ == "__main__":
    sys.exit(main())
