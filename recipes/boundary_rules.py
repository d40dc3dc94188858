#!/usr/bin/env python3
"""Where concepts begin, by six rules at one ratio: does it matter to the loss? Expected time on 2 cores: 45 minutes."""

import common

RULES = ("learned", "cosine", "stride", "random", "whitespace", "entropy")


def nearest(rows, axis, ratio):
    """The axis' value whose run realised most nearly `ratio` on validation."""
    done = [row for row in rows if row["status"] == "done"]
    return min(done, key=lambda row: abs(row["val_ratio"] - ratio))["axes"][axis]


def main():
    options = common.arguments("boundary_rules", "45 minutes", rows_suffice=True)
    small = common.sweep(options, "entropy_model")[0]
    cosines = common.sweep(options, "cosine_threshold")
    target = cosines[0]["target_ratio"]
    threshold = float(nearest(cosines, "parser.cosine_threshold", target))
    length = int(nearest(common.sweep(options, "whitespace_length"), "parser.min_length", target))
    model = str(common.run_directory(options, small).resolve())
    rows = common.sweep(options, "boundary_rules",
                        (RULES, [[rule, threshold if rule == "cosine" else 0.5, length if rule == "whitespace" else 3,
                                  model if rule == "entropy" else ""] for rule in RULES]))
    bits, ratios = {}, {}
    for row in rows:
        if row["status"] == "done":
            bits.setdefault(row["axes"]["rule"], {})[row["seed"]] = row["val_bits_per_byte"]
            ratios.setdefault(row["axes"]["rule"], []).append(row["val_ratio"])
    results, clear, smallest, uneven = [], [], [], []
    for rule in (rule for rule in RULES if rule in bits):
        difference, error = common.paired(bits[rule], bits["learned"]) if rule != "learned" else (None, None)
        if error is not None:
            smallest.append(error)
            if abs(common.mean(ratios[rule]) / target - 1) > 0.2:
                uneven.append(f"{rule} ({common.mean(ratios[rule]):.2f})")
            elif abs(difference) > error:
                clear.append(f"{rule} is {abs(difference):.4f} {'worse' if difference > 0 else 'better'}")
        results.append([rule, f"{common.mean(ratios[rule]):.2f}", *(f"{bits[rule][seed]:.4f}" if seed in bits[rule] else "–" for seed in (1, 2, 3)),
                        f"{common.mean(list(bits[rule].values())):.4f}",
                        "–" if difference is None else f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")])
    complete = len(bits) == len(RULES) and all(len(seeds) == 3 for seeds in bits.values())
    if not complete:
        verdict = "cannot tell: the sweep is not complete"
    elif any("better" in words for words in clear):
        verdict = f"differs: against the learned boundaries, in bits per byte, {', '.join(clear)}"
    elif clear:
        verdict = f"agrees: against the learned boundaries, in bits per byte, {', '.join(clear)}; the others are ties"
    else:
        verdict = f"cannot tell: no rule differs from the learned one by more than the noise of three seeds (± {max(smallest):.4f} bits per byte at most)"
    body = common.sizes(rows) + ("" if complete else f" **Partial: {len(rows)} of 18 runs.**") + "\n\n" + common.table(
        ["rule", "tokens per concept", "bits per byte, seed 1", "seed 2", "seed 3", "mean", "minus learned (95 %, paired seeds)"], results)
    body += (f"\nThe half-width of an interval is the smallest difference that its runs could have shown. The cosine rule's threshold, {threshold:g}, and the "
             f"whitespace rule's least length, {length}, are those of their grids that realise the ratio most nearly; the entropy rule's threshold is set "
             "for the ratio before the training.\n")
    by_ratio = {row["target_ratio"]: row["val_bits_per_byte"] for row in common.read_lines(common.RESULTS / "rows" / "ratios.jsonl")}
    if len(by_ratio) > 1:
        body += (f"\nHow far the realised ratios lie apart explains nothing here: learned boundaries trained at targets from {min(by_ratio):g} to {max(by_ratio):g} end "
                 f"within {max(by_ratio.values()) - min(by_ratio.values()):.4f} bits per byte (rows/ratios.jsonl, one seed).\n")
    if uneven:
        body += f"\nMore than a fifth off the ratio, and so not compared: {', '.join(uneven)}.\n"
    common.page(options, "Boundary rules at one ratio", "Boundaries that are learned end to end, adapted to content, are better than fixed ones (the paper "
                "compares with rules only through the ratio they hold).", body, verdict,
                ["boundary_rules", "cosine_threshold", "whitespace_length", "entropy_model"], has_chart=False)


if __name__ == "__main__":
    main()
