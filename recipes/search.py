#!/usr/bin/env python3
"""What could put DLCM ahead of a plain transformer, one change at a time. Expected time on 2 cores: 100 minutes."""

import common

PAPER, PLAIN = "as in the paper", "plain transformer"


def difference(losses, other, choice):
    value, error = common.paired(losses[choice], losses.get(other, {}))
    if value is None or choice == other:
        return "–", False
    clear = error is not None and abs(value) > error
    return f"{value:+.4f}" + ("" if error is None else f" ± {error:.4f}"), clear and value < 0


def main():
    options = common.arguments("search", "100 minutes", rows_suffice=True)
    rows = common.sweep(options, "search")
    losses, bits, flops, sizes = {}, {}, {}, {}
    for row in rows:
        if row["status"] == "done":
            change = row["axes"]["change"]
            losses.setdefault(change, {})[row["seed"]] = row["val_loss"]
            bits.setdefault(change, []).append(row["val_bits_per_byte"])
            flops[change], sizes[change] = row["flops_per_token"], row["non_embedding"]
    results, gains, wins = [], [], []
    for change in losses:
        to_paper, gain = difference(losses, PAPER, change)
        to_plain, win = difference(losses, PLAIN, change)
        is_plain = change.startswith(PLAIN)
        if gain and not is_plain:
            gains.append(change)
        if win and not is_plain:
            wins.append(change)
        results.append([change, f"{sizes[change] / 1e6:.3f}M", f"{flops[change] / 1e6:.2f} MF", len(bits[change]), f"{common.mean(bits[change]):.4f}",
                        to_paper, to_plain])
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of 39 runs.**" if len(rows) < 39 else "") + "\n\n" + common.table(
        ["change", "parameters without embedding and head", "training FLOPs a token", "seeds", "bits per byte", "nats a token minus the paper's form (95 %)",
         "minus the plain transformer (95 %)"], results)
    if len(rows) < 39:
        verdict = "cannot tell: the sweep is not complete"
    else:
        verdict = ("agrees: ahead of the plain transformer beyond the noise of three seeds: " + ", ".join(wins) if wins else
                   "differs: no change puts DLCM ahead of the plain transformer beyond the noise of three seeds")
        verdict += "; better than the paper's form: " + (", ".join(gains) if gains else "none")
    body += "\nIntervals come from seeds paired with the same seed of what is subtracted.\n"
    common.page(options, "The search for the win", "The backbone is worth its FLOPs: DLCM-2.3B gains 2.69 points at equal FLOPs.", body, verdict, ["search"],
                has_chart=False)


if __name__ == "__main__":
    main()
