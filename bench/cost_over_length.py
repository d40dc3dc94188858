#!/usr/bin/env python3
"""Time per token of the backbone and the cross-attention over the context, beside their counted FLOPs.

Runs `dlcm bench train` with one micro-batch of the longest context's tokens at each context, and writes a chart and a
table: OUTPUT.svg and OUTPUT.md.

    bench/cost_over_length.py --dlcm build/release/dlcm --config configs/base.toml --output docs/results/cost_over_length

Needs a Python with matplotlib.
"""
import argparse
import json
import os
import subprocess

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COMPONENTS = ("backbone", "cross-attention")


def measure(arguments, context, longest):
    command = [arguments.dlcm, "bench", "train", "--json", "--repeats", str(arguments.repeats), "--config", arguments.config,
               "--threads", str(arguments.threads), "--set", "train.precision=fp32", "--set", f"train.context={context}",
               "--set", f"train.micro_batch_tokens={longest}", "--set", f"train.tokens_per_step={longest}"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    lines = {line["component"]: line for line in map(json.loads, output.splitlines())}
    return {name: (lines[name]["seconds"] / longest, lines[name]["flops"] / longest) for name in COMPONENTS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True, help="the binary")
    parser.add_argument("--config", required=True, help="TOML file")
    parser.add_argument("--output", required=True, help="where the chart and the table go, without an ending")
    parser.add_argument("--contexts", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    longest = max(arguments.contexts)
    measured = {context: measure(arguments, context, longest) for context in arguments.contexts}
    first = arguments.contexts[0]

    rows = ["| context | component | ns a token | FLOPs a token | time, × the first | FLOPs, × the first |", "|---|---|---|---|---|---|"]
    figure, axes = plt.subplots(1, len(COMPONENTS), figsize=(9, 3.6), sharex=True)
    for axis, name in zip(axes, COMPONENTS):
        seconds = [measured[context][name][0] for context in arguments.contexts]
        flops = [measured[context][name][1] for context in arguments.contexts]
        axis.plot(arguments.contexts, [value / seconds[0] for value in seconds], "o-", label="measured time a token")
        axis.plot(arguments.contexts, [value / flops[0] for value in flops], "s--", label="counted FLOPs a token")
        axis.set(title=name, xlabel="context (tokens)", ylabel=f"relative to {first:,} tokens", xscale="log", ylim=0)
        axis.set_xticks(arguments.contexts, [f"{context // 1024}K" for context in arguments.contexts])
        axis.minorticks_off()
        axis.legend()
        for context, time, work in zip(arguments.contexts, seconds, flops):
            rows.append(f"| {context:,} | {name} | {1e9 * time:,.0f} | {work:,.0f} | {time / seconds[0]:.2f} | {work / flops[0]:.2f} |")
    figure.tight_layout()
    figure.savefig(arguments.output + ".svg")
    with open(arguments.output + ".md", "w", encoding="utf-8") as file:
        file.write("# Cost over length\n\n"
                   f"Forward and backward pass of the backbone and of the cross-attention of `{os.path.relpath(arguments.config)}`, {longest:,} tokens "
                   f"in windows of one context each, fp32, {arguments.threads} threads, medians of {arguments.repeats} rounds "
                   "(`bench/cost_over_length.py`).\n\n"
                   f"![time and FLOPs a token over the context]({os.path.basename(arguments.output)}.svg)\n\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
