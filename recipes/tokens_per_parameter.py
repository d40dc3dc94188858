#!/usr/bin/env python3
"""Does DLCM pay where parameters are few and tokens many? DLCM minus a plain transformer of the same FLOPs over tokens per
parameter, at two sizes. Expected time on 2 cores: 60 minutes for 0.13M parameters, 60 for 0.34M."""

import math

import common

PLAIN = ("plain", "micro-llama")

# What the difference of two single runs may be by chance, 95 %.
BY_CHANCE = 2 * math.sqrt(2) * common.SEED_NOISE


def pairs_of(rows, model_axis):
    """{tokens per parameter: (row of DLCM, row of the plain transformer)} where both runs ended."""
    points = {}
    for row in rows:
        if row["status"] == "done":
            points.setdefault(int(row["axes"]["tokens per parameter"]), {})[row["axes"][model_axis] in PLAIN] = row
    return {point: (pair[False], pair[True]) for point, pair in sorted(points.items()) if len(pair) == 2}


def main():
    options = common.arguments("tokens_per_parameter", "120 minutes", rows_suffice=True)
    nano = common.sweep(options, "tokens_per_parameter")
    micro = common.sweep(options, "tokens_per_parameter_micro")
    rows, wanted = nano + micro, 20
    sizes = {"0.13M parameters": pairs_of(nano, "model"), "0.34M parameters": pairs_of(micro, "micro or its control")}
    gaps = {size: {point: dlcm["val_loss"] - plain["val_loss"] for point, (dlcm, plain) in pairs.items()} for size, pairs in sizes.items()}
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of {wanted} runs.**" if len(rows) < wanted else "") + "\n\n" + common.table(
        ["DLCM, without embedding and head", "tokens per parameter", "million tokens", "DLCM, nats a token", "plain", "DLCM minus plain",
         "DLCM, bits per byte", "plain"],
        [[size, point, f"{dlcm['tokens'] / 1e6:.1f}", f"{dlcm['val_loss']:.4f}", f"{plain['val_loss']:.4f}", f"{gaps[size][point]:+.4f}",
          f"{dlcm['val_bits_per_byte']:.4f}", f"{plain['val_bits_per_byte']:.4f}"]
         for size, pairs in sizes.items() for point, (dlcm, plain) in pairs.items()])
    body += ("\nTokens are counted per parameter of the DLCM without embedding and head. At equal FLOPs the plain transformer has a half or less of them, "
             "which is what should tell when tokens are many. Each point is a run of its own with its own decay; one seed (main_comparison has "
             "the noise of seeds at these sizes). The corpus is read several times at the largest points.\n")
    told, last_gaps = [], []
    for size, of in gaps.items():
        if len(of) > 1:
            (first, before), *_, (last, after) = of.items()
            last_gaps.append(after)
            told.append(f"at {size} the gap goes from {before:+.4f} nats at {first} tokens per parameter to {after:+.4f} at {last}")
    if not told:
        verdict = "cannot tell: fewer than two points are trained"
    elif len(rows) < wanted:
        verdict = "cannot tell: not complete; " + "; ".join(told)
    elif all(gap < -BY_CHANCE for gap in last_gaps):
        verdict = "agrees: " + "; ".join(told)
    elif any(gap < -BY_CHANCE for gap in last_gaps):
        verdict = "cannot tell: the sizes differ; " + "; ".join(told)
    else:
        verdict = f"differs: at the most tokens DLCM is nowhere ahead by more than two single runs differ by chance ({BY_CHANCE:.3f} nats); " + "; ".join(told)
    if told:
        common.chart(common.RESULTS / "tokens_per_parameter.svg", "DLCM minus plain transformer of equal FLOPs", "tokens per parameter", "nats per token",
                     {size: list(of.items()) for size, of in gaps.items() if len(of) > 1}, logarithmic=True)
    common.page(options, "Few parameters, many tokens", "DLCM buys parameters at equal FLOPs; the paper trains 2.3B parameters on 1T tokens, 430 tokens per "
                "parameter.", body, verdict, ["tokens_per_parameter", "tokens_per_parameter_micro"], has_chart=bool(told))


if __name__ == "__main__":
    main()
