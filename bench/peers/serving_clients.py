#!/usr/bin/env python3
"""The openai package and lm-evaluation-harness against `dlcm serve`, beside `dlcm generate`, `score` and `eval`.

Starts a server, asks it with both clients, unchanged, and compares: texts with those of `dlcm generate`, log-probabilities
with those of `dlcm score` (to the last bit, both ways of asking), accuracies and rolling bits per byte with those of
`dlcm eval`. Needs the PyPI packages openai and lm_eval[api]; no network. Exit status 1 where anything differs.

    bench/peers/serving_clients.py --dlcm build/release/dlcm --model RUN --items FOLDER --text FILE
"""
import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import jinja2
import lm_eval
import openai
import requests
import yaml

STOCK = pathlib.Path(lm_eval.__file__).parent / "tasks"
TASKS = {"piqa": "piqa/piqa.yaml", "hellaswag": "hellaswag/hellaswag.yaml", "arc_easy": "arc/arc_easy.yaml",
         "winogrande": "winogrande/default.yaml", "openbookqa": "openbookqa/openbookqa.yaml"}
failures = []


def check(what, holds, shown=""):
    print(f"{'equal' if holds else 'DIFFERENT'}: {what}{': ' if shown else ''}{shown}", flush=True)
    if not holds:
        failures.append(what)


def start(dlcm, model):
    process = subprocess.Popen([dlcm, "serve", "--model", model, "--port", "0"], stderr=subprocess.PIPE, text=True)
    port = re.search(r":(\d+)/", process.stderr.readline()).group(1)
    print(process.stderr.readline().strip())
    return process, f"http://127.0.0.1:{port}"


def dlcm_json(dlcm, *arguments, text=None):
    done = subprocess.run([dlcm, *arguments], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare_openai(dlcm, model, base):
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="any")
    name = client.models.list().data[0].id
    check("models.retrieve", client.models.retrieve(name).id == name, name)
    prompt = "It is a truth universally acknowledged, that"
    generated = dlcm_json(dlcm, "generate", "--model", model, "--prompt", prompt, "--max-tokens", "60", "--temperature", "0.8",
                          "--seed", "7", "--json")[0]
    wanted = dict(model=name, prompt=prompt, max_tokens=60, temperature=0.8, seed=7)
    reply = client.completions.create(**wanted)
    check("completions.create writes what dlcm generate does", reply.choices[0].text == generated["text"])
    streamed = client.completions.create(**wanted, stream=True, stream_options={"include_usage": True})
    events = list(streamed)
    text = "".join(event.choices[0].text for event in events if event.choices)
    check("and streams it", text == generated["text"] and events[-1].usage.completion_tokens == reply.usage.completion_tokens)
    stop = generated["text"][20:24]
    stopped = client.completions.create(**wanted, stop=["never there", stop])
    check("stop", stopped.choices[0].text == generated["text"].split(stop)[0] and stopped.choices[0].finish_reason == "stop")
    several = client.completions.create(**wanted, n=3)
    check("n", len(several.choices) == 3 and several.choices[0].text == generated["text"] and
          len({choice.text for choice in several.choices}) == 3)
    concepts = list(client.completions.create(**wanted, stream=True, extra_body={"return_concepts": True}))
    probs = [p for event in concepts for p in (event.choices[0].model_extra.get("concepts") or {}).get("boundary_prob", [])]
    if generated["boundary_prob"]:
        check("boundary scores", [p for p in probs if p is not None] == generated["boundary_prob"])

    scored = dlcm_json(dlcm, "score", "--model", model, "--jsonl", text=json.dumps(prompt) + "\n")[0]
    echoed = client.completions.create(model=name, prompt=prompt, echo=True, max_tokens=0, logprobs=2).choices[0]
    check("logprobs are dlcm score's", echoed.logprobs.token_logprobs[1:] == scored["logprobs"][1:])
    check("the most likely ones are", [logprob == max(top.values()) for logprob, top in
                                       zip(echoed.logprobs.token_logprobs[1:], echoed.logprobs.top_logprobs[1:])] ==
          scored["greedy"][1:])
    check("the arrays tell the text", all(echoed.text[offset:].startswith(token) for token, offset in
                                          zip(echoed.logprobs.tokens[1:], echoed.logprobs.text_offset[1:])
                                          if not token.startswith("bytes:")))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a truth?"}]
    chat = client.chat.completions.create(model=name, messages=messages, max_tokens=20, seed=1, logprobs=True, top_logprobs=2)
    template = jinja2.Environment().from_string(requests.get(f"{base}/tokenizer_info").json()["chat_template"])
    ids = requests.post(f"{base}/tokenize", json={"prompt": template.render(messages=messages, add_generation_prompt=True)})
    check("the chat template is what chat prompts are made by", len(ids.json()["tokens"]) == chat.usage.prompt_tokens)
    parts = client.chat.completions.create(model=name, messages=messages, max_tokens=20, seed=1, stream=True)
    check("chat streams its answer", "".join(part.choices[0].delta.content or "" for part in parts) ==
          chat.choices[0].message.content)
    try:
        client.completions.create(model=name, prompt="a", temperature=-1)
        check("a bad request raises", False)
    except openai.BadRequestError as error:
        check("a bad request raises openai.BadRequestError", error.param == "temperature", error.message)


def write_tasks(folder, items, limit, bos):
    for task, stock in TASKS.items():
        if not (items / f"{task}.jsonl").exists():
            continue
        lines = (items / f"{task}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        data = folder / f"{task}.jsonl"
        data.write_text("".join(lines[:limit]), encoding="utf-8")
        config = {"include": str(STOCK / stock), "task": f"served_{task}", "dataset_path": "json", "dataset_name": None,
                  "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
                  "training_split": None, "validation_split": None, "fewshot_split": None, "description": bos,
                  "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]}
        (folder / f"served_{task}.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        yield task


def run_harness(base, folder, tasks, context):
    arguments = (f"model=served,base_url={base}/v1/completions,tokenizer_backend=remote,num_concurrent=4,"
                 f"max_length={context + 2}")  # it takes 2 off for a window: dlcm eval's then predict `context` tokens, too
    arguments = arguments.replace("model=served", f"model={requests.get(f'{base}/v1/models').json()['data'][0]['id']}")
    command = [str(pathlib.Path(sys.executable).parent / "lm_eval"), "--model", "local-completions", "--model_args", arguments, "--batch_size", "8",
               "--tasks", ",".join(tasks), "--include_path", str(folder), "--output_path", str(folder / "out")]
    print("$", " ".join(command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    print(done.stdout[done.stdout.find("|"):])
    return json.loads(next((folder / "out").rglob("results_*.json")).read_text())["results"]


def compare_harness(dlcm, model, base, items, limit, text):
    tokenizer = requests.get(f"{base}/tokenizer_info").json()
    checkpoint = pathlib.Path(model)
    configs = sorted(checkpoint.glob("step-*/config.toml")) or [checkpoint / "config.toml"]
    context = int(re.search(r"^context = (\d+)", configs[-1].read_text(), re.M).group(1))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tasks = list(write_tasks(folder, items, limit, tokenizer["bos_token"]))
        document = folder / "text.jsonl"
        # A special token's name is that token in a prompt, and plain text in a document of `dlcm eval`.
        plain = text.read_text(encoding="utf-8").replace(tokenizer["eos_token"], "").replace(tokenizer["bos_token"], "")
        document.write_text(json.dumps({"text": plain}) + "\n", encoding="utf-8")
        rolling = {"task": "served_text", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(document)}},
                   "test_split": "test", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
                   "metric_list": [{"metric": "bits_per_byte"}]}
        (folder / "served_text.yaml").write_text(yaml.safe_dump(rolling), encoding="utf-8")
        results = run_harness(base, folder, [f"served_{task}" for task in tasks] + ["served_text"], context)
        for task in tasks:
            own = dlcm_json(dlcm, "eval", "--model", model, "--tasks", f"{task}={folder / task}.jsonl", "--json")[0]
            served = results[f"served_{task}"]
            for metric in ("acc", "acc_norm"):
                check(f"{task} {metric}", served[f"{metric},none"] == own[metric], f"{served[f'{metric},none']} {own[metric]}")
        own = dlcm_json(dlcm, "eval", "--model", model, "--text", str(document), "--json")[0]["bits_per_byte"]
        served = results["served_text"]["bits_per_byte,none"]
        check("rolling bits per byte", math.isclose(own, served, rel_tol=1e-12), f"{served} {own}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--items", required=True, type=pathlib.Path, help="folder with TASK.jsonl")
    parser.add_argument("--limit", type=int, default=100, help="items of each task")
    parser.add_argument("--text", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    process, base = start(arguments.dlcm, arguments.model)
    try:
        compare_openai(arguments.dlcm, arguments.model, base)
        compare_harness(arguments.dlcm, arguments.model, base, arguments.items, arguments.limit, arguments.text)
    finally:
        process.terminate()
        status = process.wait()
    check("the server ended with status 143", status == 143, str(status))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
