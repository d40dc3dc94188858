#!/usr/bin/env python3
"""Does DLCM pay where parameters are few and tokens many? DLCM minus a plain transformer of the same FLOPs over tokens per
parameter. Expected time on 2 cores: 120 minutes up to 500 tokens per parameter, 240 for all."""

import common


def main():
    options = common.arguments("tokens_per_parameter", "120 minutes up to 500 tokens per parameter, 240 for all")
    rows = common.sweep(options, "tokens_per_parameter")
    points = {}
    for row in rows:
        if row["status"] == "done":
            points.setdefault(int(row["axes"]["tokens per parameter"]), {})[row["axes"]["model"]] = row
    pairs = {point: pair for point, pair in sorted(points.items()) if len(pair) == 2}
    gaps = {point: pair["DLCM"]["val_loss"] - pair["plain"]["val_loss"] for point, pair in pairs.items()}
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of 12 runs.**" if len(rows) < 12 else "") + "\n\n" + common.table(
        ["tokens per parameter", "million tokens", "DLCM, nats a token", "plain", "DLCM minus plain", "DLCM, bits per byte", "plain"],
        [[point, f"{pair['DLCM']['tokens'] / 1e6:.1f}", f"{pair['DLCM']['val_loss']:.4f}", f"{pair['plain']['val_loss']:.4f}", f"{gaps[point]:+.4f}",
          f"{pair['DLCM']['val_bits_per_byte']:.4f}", f"{pair['plain']['val_bits_per_byte']:.4f}"] for point, pair in pairs.items()])
    body += ("\nTokens are counted per parameter of the DLCM without embedding and head. At equal FLOPs the plain transformer has a third of them, "
             "which is what should tell when tokens are many. Each point is a run of its own with its own decay; one seed (main_comparison has "
             "the noise of seeds at this size). The corpus is read several times at the largest points.\n")
    values = list(gaps.values())
    if len(values) < 2:
        verdict = "cannot tell: fewer than two points are trained"
    elif values[-1] < 0:
        verdict = f"agrees: at {list(gaps)[-1]} tokens per parameter DLCM is ahead by {-values[-1]:.4f} nats"
    elif values[-1] < values[0]:
        verdict = f"cannot tell: the gap closes from {values[0]:+.4f} to {values[-1]:+.4f} nats at {list(gaps)[-1]} tokens per parameter, without a change of sign"
    else:
        verdict = f"differs: the gap goes from {values[0]:+.4f} to {values[-1]:+.4f} nats at {list(gaps)[-1]} tokens per parameter"
    if len(values) > 1:
        common.chart(common.RESULTS / "tokens_per_parameter.svg", "DLCM minus plain transformer of equal FLOPs", "million tokens", "nats per token",
                     {"difference": [(pairs[point]["DLCM"]["tokens"] / 1e6, gap) for point, gap in gaps.items()]})
    common.page(options, "Few parameters, many tokens", "DLCM buys parameters at equal FLOPs; the paper trains 2.3B parameters on 1T tokens, 430 tokens per "
                "parameter.", body, verdict, ["tokens_per_parameter"], has_chart=len(values) > 1)


if __name__ == "__main__":
    main()
