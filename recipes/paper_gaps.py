#!/usr/bin/env python3
"""What our choices are worth where the paper is silent. Expected time on 2 cores: 90 minutes."""

import common


def main():
    options = common.arguments("paper_gaps", "90 minutes", rows_suffice=True)
    rows = common.sweep(options, "paper_gaps")
    bits, ratios, halves = {}, {}, {}
    for row in rows:
        if row["status"] == "done":
            choice = row["axes"]["choice"]
            bits.setdefault(choice, {})[row["seed"]] = row["val_bits_per_byte"]
            ratios.setdefault(choice, []).append(row["val_ratio"])
            halves.setdefault(choice, []).append(row["val_ratio_half"])
    base, results, better, worse = "as it is", [], [], []
    for choice in bits:
        difference, error = (None, None) if choice == base else common.paired(bits[choice], bits.get(base, {}))
        if error is not None and abs(difference) > error:
            (better if difference < 0 else worse).append(choice)
        results.append([choice, len(bits[choice]), f"{common.mean(list(bits[choice].values())):.4f}",
                        "–" if difference is None else f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}"),
                        f"{common.mean(ratios[choice]):.2f}", f"{common.mean(halves[choice]):.2f}"])
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of 39 runs.**" if len(rows) < 39 else "") + "\n\n" + common.table(
        ["choice", "seeds", "bits per byte", "minus ours (95 %, paired seeds)", "tokens per concept, stored threshold", "at 0.5"], results)
    if len(rows) < 39:
        verdict = "cannot tell: the sweep is not complete"
    elif better:
        verdict = f"differs: {', '.join(better)} would have been better than what we do"
    else:
        verdict = "agrees: nothing tried is better than what we do by more than the noise of three seeds" + (f"; worse: {', '.join(worse)}" if worse else "")
    body += ("\nOurs: a hard threshold of 0.5 in training, loss weight 0.1, scan width half the token width, no smoothing, the parser decoupled from the language "
             "model's loss, the plain reading of the cross-attention.\n")
    common.page(options, "Where the paper is silent", "It gives no temperature, no loss weight, no width of the boundary scores, and leaves smoothing and gradient open.",
                body, verdict, ["paper_gaps"], has_chart=False)


if __name__ == "__main__":
    main()
