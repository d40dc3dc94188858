#!/usr/bin/env python3
"""PyTorch's FlexAttention, compiled, as a peer for `dlcm bench attention` (forward only: it has no backward on CPUs).

Both programs take the same shapes: a place every 6 tokens, one in 4 at random, and causal attention. Their rounds take
turns, and medians count.

    bench/peers/flex_attention.py --dlcm build/release/dlcm [--tokens 2048 4096 ...] [--threads N]

Needs a Python with torch and a C++ compiler.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True, help="the binary")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--head-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    for tokens in arguments.tokens:
        # Static shapes: with dynamic ones the CPU code of PyTorch 2.13 does not compile.
        torch.compiler.reset()
        compiled = torch.compile(flex_attention, dynamic=False)
        cases = {}
        for name, opens in (("every 6", torch.arange(tokens) % 6 == 0), ("R = 4", torch.rand(tokens) < 1 / 4),
                            ("causal", torch.ones(tokens, dtype=torch.bool))):
            opens[0] = True
            place, places = opens.cumsum(0) - 1, int(opens.sum())
            shape = lambda rows: (1, arguments.heads, rows, arguments.head_size)
            query, key, value = torch.randn(shape(tokens)), torch.randn(shape(places)), torch.randn(shape(places))
            mask = create_block_mask(lambda b, h, q, k, place=place: k <= place[q], None, None, tokens, places, device="cpu")
            cases[name] = lambda compiled=compiled, query=query, key=key, value=value, mask=mask: compiled(query, key, value, block_mask=mask)
        theirs, ours = {name: [] for name in cases}, {name: [] for name in cases}
        with torch.no_grad():
            for run in cases.values():
                run()
            for _ in range(arguments.repeats):
                for name, run in cases.items():
                    start = time.perf_counter()
                    run()
                    theirs[name].append(time.perf_counter() - start)
                command = [arguments.dlcm, "bench", "attention", "--alone", "--json", "--repeats", "1", "--tokens", str(tokens),
                           "--heads", str(arguments.heads), "--kv-heads", str(arguments.heads), "--head-size",
                           str(arguments.head_size), "--threads", str(arguments.threads)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                for line in map(json.loads, output.stdout.splitlines()):
                    if line["pass"] == "forward" and line["ranges"] in ours:
                        ours[line["ranges"]].append(line["seconds"])
        for name in cases:
            flex, range_attention = statistics.median(theirs[name]), statistics.median(ours[name])
            print(json.dumps({"ranges": name, "tokens": tokens, "threads": arguments.threads, "flex_seconds": flex,
                              "range_attention_seconds": range_attention, "times_range_attention": flex / range_attention}),
                  flush=True)


if __name__ == "__main__":
    main()
