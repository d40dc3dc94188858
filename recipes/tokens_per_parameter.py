#!/usr/bin/env python3
"""Does DLCM pay where parameters are few and tokens many? DLCM minus a plain transformer of the same FLOPs over tokens per
parameter, at two sizes. Expected time on 2 cores: 60 minutes for 0.13M parameters, 90 for 0.34M."""

import math

import common

PLAIN = ("plain", "micro-llama")

# The point of 0.34M parameters that is trained with a second seed.
AGAIN = 100


def by_chance(deviation):
    """What the difference of two single runs may be by chance, 95 %, from a seed's standard deviation."""
    return 2 * math.sqrt(2) * deviation


def pairs_of(rows, model_axis):
    """{tokens per parameter: (row of DLCM, row of the plain transformer)} where both runs ended."""
    points = {}
    for row in rows:
        if row["status"] == "done":
            points.setdefault(int(row["axes"]["tokens per parameter"]), {})[row["axes"][model_axis] in PLAIN] = row
    return {point: (pair[False], pair[True]) for point, pair in sorted(points.items()) if len(pair) == 2}


def seeds_at_again(rows, again):
    """{seed: {is plain: loss}} of 0.34M parameters at AGAIN tokens per parameter."""
    losses = {}
    for row in rows + again:
        points = [row["axes"].get("tokens per parameter"), row["axes"].get("tokens per parameter, seed 2")]
        if row["status"] == "done" and str(AGAIN) in points:
            losses.setdefault(row["seed"], {})[row["axes"]["micro or its control"] in PLAIN] = row["val_loss"]
    return {seed: of for seed, of in sorted(losses.items()) if len(of) == 2}


def deviation_of(seeds):
    """(the standard deviation that a seed makes, pooled over both models; its degrees of freedom)."""
    squares, freedom = 0.0, 0
    for plain in (False, True):
        values = [of[plain] for of in seeds.values()]
        squares += sum((value - common.mean(values)) ** 2 for value in values)
        freedom += len(values) - 1
    return math.sqrt(squares / freedom), freedom


def main():
    options = common.arguments("tokens_per_parameter", "150 minutes", rows_suffice=True)
    nano = common.sweep(options, "tokens_per_parameter")
    micro = common.sweep(options, "tokens_per_parameter_micro")
    again = common.sweep(options, "tokens_per_parameter_again")
    rows, wanted = nano + micro + again, 22
    sizes = {"0.13M parameters": pairs_of(nano, "model"), "0.34M parameters": pairs_of(micro, "micro or its control")}
    gaps = {size: {point: dlcm["val_loss"] - plain["val_loss"] for point, (dlcm, plain) in pairs.items()} for size, pairs in sizes.items()}
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of {wanted} runs.**" if len(rows) < wanted else "") + "\n\n" + common.table(
        ["DLCM, without embedding and head", "tokens per parameter", "million tokens", "DLCM, nats a token", "plain", "DLCM minus plain",
         "DLCM, bits per byte", "plain"],
        [[size, point, f"{dlcm['tokens'] / 1e6:.1f}", f"{dlcm['val_loss']:.4f}", f"{plain['val_loss']:.4f}", f"{gaps[size][point]:+.4f}",
          f"{dlcm['val_bits_per_byte']:.4f}", f"{plain['val_bits_per_byte']:.4f}"]
         for size, pairs in sizes.items() for point, (dlcm, plain) in pairs.items()])
    body += ("\nTokens are counted per parameter of the DLCM without embedding and head. At equal FLOPs the plain transformer has a half or less of them, "
             "which is what should tell when tokens are many. Each point is a run of its own with its own decay; seed 1 throughout, so that what is good or bad about "
             "this seed's initial weights is in all points of a model alike. The corpus is read several times at the largest points.\n")
    seeds, chance = seeds_at_again(micro, again), dict.fromkeys(sizes, by_chance(common.SEED_NOISE))
    if len(seeds) > 1:
        deviation, freedom = deviation_of(seeds)
        chance["0.34M parameters"] = by_chance(max(deviation, common.SEED_NOISE))
        body += f"\nAnother seed, 0.34M parameters, {AGAIN} tokens per parameter:\n\n" + common.table(
            ["seed", "DLCM, nats a token", "plain", "DLCM minus plain"],
            [[seed, f"{of[False]:.4f}", f"{of[True]:.4f}", f"{of[False] - of[True]:+.4f}"] for seed, of in seeds.items()])
        body += (f"\nA seed's standard deviation is {deviation:.4f} nats there ({freedom} degrees of freedom), so that two single runs may differ by {by_chance(deviation):.3f} nats by chance "
                 "and more, since so few seeds tell the deviation only roughly.\n")
    told = []
    for size, of in gaps.items():
        if len(of) > 1:
            (first, before), *_, (last, after) = of.items()
            told.append(f"at {size} the gap goes from {before:+.4f} nats at {first} tokens per parameter to {after:+.4f} at {last}")
    if not told:
        verdict = "cannot tell: fewer than two points are trained"
    elif len(rows) < wanted:
        verdict = "cannot tell: not complete; " + "; ".join(told)
    else:
        ahead = [size for size, of in gaps.items() if of[max(of)] < -chance[size]]
        limits = ", ".join(f"{chance[size]:.3f} nats at {size}" for size in sizes)
        if len(ahead) == len(sizes):
            verdict = "agrees: " + "; ".join(told)
        elif ahead:
            verdict = "cannot tell: the sizes differ; " + "; ".join(told)
        else:
            verdict = f"differs: at the most tokens DLCM is nowhere ahead by more than two single runs differ by chance ({limits}); " + "; ".join(told)
    if told:
        common.chart(common.RESULTS / "tokens_per_parameter.svg", "DLCM minus plain transformer of equal FLOPs", "tokens per parameter", "nats per token",
                     {size: list(of.items()) for size, of in gaps.items() if len(of) > 1}, logarithmic=True)
    common.page(options, "Few parameters, many tokens", "DLCM buys parameters at equal FLOPs; the paper trains 2.3B parameters on 1T tokens, 430 tokens per "
                "parameter.", body, verdict, ["tokens_per_parameter", "tokens_per_parameter_micro", "tokens_per_parameter_again"], has_chart=bool(told))


if __name__ == "__main__":
    main()
