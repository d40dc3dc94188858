#!/usr/bin/env python3
"""The paper's main claim in kind: DLCM against a plain transformer of the same FLOPs, at three sizes. Expected time on 2 cores:
120 minutes."""

import common

SIZES = ("nano", "micro", "mini")


def main():
    options = common.arguments("main_comparison", "120 minutes", rows_suffice=True)
    rows = common.sweep(options, "main_comparison")
    loss, bits, numbers = {}, {}, {}
    for row in rows:
        if row["status"] == "done":
            model = row["axes"]["model"]
            loss.setdefault(model, {})[row["seed"]] = row["val_loss"]
            bits.setdefault(model, {})[row["seed"]] = row["val_bits_per_byte"]
            numbers[model] = row
    models = [name for size in SIZES for name in (size, f"{size}-llama", f"{size}-no-backbone") if name in bits]
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of 27 runs.**" if len(rows) < 27 else "") + "\n\n"
    body += common.table(
        ["model", "parameters without embedding and head", "training FLOPs a token", "bits per byte, seed 1", "seed 2", "seed 3", "mean"],
        [[name, f"{numbers[name]['non_embedding'] / 1e6:.3f}M", f"{numbers[name]['flops_per_token'] / 1e6:.2f} MF",
          *(f"{bits[name][seed]:.4f}" if seed in bits[name] else "–" for seed in (1, 2, 3)), f"{common.mean(list(bits[name].values())):.4f}"]
         for name in models]) + "\n"
    gaps, minus, results = {}, {}, []
    for size in SIZES:
        for control, words in ((f"{size}-llama", "the plain transformer"), (f"{size}-no-backbone", "the same model without a backbone")):
            if size not in loss or control not in loss:
                continue
            difference, error = common.paired(loss[size], loss[control])
            if difference is None:
                continue
            results.append([size, words, f"{difference:+.4f}", "–" if error is None else f"± {error:.4f}"])
            minus.setdefault("plain" if control.endswith("llama") else "no backbone", []).append((numbers[size]["non_embedding"], difference, error))
            if control.endswith("llama"):
                gaps[size] = (numbers[size]["non_embedding"], difference, error)
    body += common.table(["size", "DLCM minus", "nats a token", "95 %, paired seeds"], results) + "\n"
    clear = {size: difference for size, (_, difference, error) in gaps.items() if error is not None and abs(difference) > error}
    if len(gaps) < len(SIZES) or any(error is None for *_, error in gaps.values()):
        verdict = "cannot tell: not all models have been trained"
    elif not clear:
        verdict = "cannot tell: at no size the difference exceeds its 95 % interval"
    elif all(difference < 0 for difference in clear.values()):
        verdict = f"agrees: DLCM is ahead at {', '.join(clear)}"
    elif all(difference > 0 for difference in clear.values()):
        verdict = f"differs: DLCM is behind at {', '.join(clear)}"
    else:
        verdict = "differs: ahead or behind depends on the size"
    if len(gaps) > 1:
        first, last = list(gaps)[0], list(gaps)[-1]
        by_seed = [{seed: loss[size][seed] - loss[f"{size}-llama"][seed] for seed in loss[size].keys() & loss[f"{size}-llama"].keys()}
                   for size in (last, first)]
        change, error = common.paired(*by_seed)
        if change is not None:
            told = "cannot be told" if error is None or abs(change) <= error else "shrinks" if change < 0 else "grows"
            body += (f"The gap to the plain transformer goes from {gaps[first][1]:+.4f} nats at {gaps[first][0] / 1e6:.2f}M to {gaps[last][1]:+.4f} at "
                     f"{gaps[last][0] / 1e6:.2f}M parameters (without embedding and head), a change of {change:+.4f}"
                     f"{'' if error is None else f' ± {error:.4f}'}: its trend with size {told}.\n\n")
    common.chart(common.RESULTS / "main_comparison.svg", "DLCM minus its controls: means of paired seeds, 95 %", "million parameters without embedding and head",
                 "nats a token", {f"minus {words}": [(size / 1e6, *rest) for size, *rest in of] for words, of in minus.items()}, logarithmic=True)
    body += ("The paper's +2.69 points over twelve benchmarks stand in its Table 2; the arithmetic mean of that table's own DLCM column is 42.24, "
             "a gain of 1.01. Benchmarks say nothing at this size, so held-out text is compared instead. Learning rates are those tuned on "
             "small.toml and on its baseline, carried over by muP, the head's on mini.toml and on its baseline; descents over all rates of mini and mini-llama find none that are "
             "better on other seeds ([rates](rates.md)).\n")
    common.page(options, "DLCM against a plain transformer of equal FLOPs", "DLCM-2.3B gains 2.69 points over LLaMA-1.3B in zero-shot accuracy (1.01 by "
                "the mean of its own table).", body, verdict, ["main_comparison"])


if __name__ == "__main__":
    main()
