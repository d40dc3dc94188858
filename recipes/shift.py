#!/usr/bin/env python3
"""Up to which token the backbone should read, with and without the concept added to its tokens. Expected time on 2 cores: 45
minutes."""

import common

PAPER, PLAIN = "as in the paper", "plain transformer"
SWEEPS = {"micro": ("shift", "form", 15), "nano": ("shift_nano", "form at nano", 9)}


def compare(size, rows, axis):
    """Of one size's rows: lines of the table, forms better than the paper's, and forms ahead of the plain transformer, in words."""
    losses, bits, numbers = {}, {}, {}
    for row in rows:
        if row["status"] == "done":
            form = row["axes"][axis]
            losses.setdefault(form, {})[row["seed"]] = row["val_loss"]
            bits.setdefault(form, []).append(row["val_bits_per_byte"])
            numbers[form] = row
    results, found = [], {PAPER: [], PLAIN: []}
    for form in losses:
        shown = {}
        for other in found:
            difference, error = common.paired(losses[form], losses.get(other, {})) if form != other else (None, None)
            shown[other] = "–" if difference is None else f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")
            if form != PLAIN and error is not None and difference < -error:
                found[other].append(f"{form} at {size} ({difference:+.4f} ± {error:.4f} nats)")
        results.append([size, form, f"{numbers[form]['non_embedding'] / 1e6:.3f}M", f"{numbers[form]['flops_per_token'] / 1e6:.2f} MF",
                        *(f"{losses[form][seed]:.4f}" if seed in losses[form] else "–" for seed in (1, 2, 3)),
                        f"{common.mean(bits[form]):.4f}", shown[PAPER], shown[PLAIN]])
    return results, found[PAPER], found[PLAIN]


def main():
    options = common.arguments("shift", "45 minutes", rows_suffice=True)
    everything, results, better, ahead, wanted = [], [], [], [], 0
    for size, (name, axis, count) in SWEEPS.items():
        rows = common.sweep(options, name)
        lines, above_paper, above_plain = compare(size, rows, axis)
        everything += rows
        results += lines
        better += above_paper
        ahead += above_plain
        wanted += count
    complete = len(everything) == wanted
    body = common.sizes(everything) + ("" if complete else f" **Partial: {len(everything)} of {wanted} runs.**") + "\n\n" + common.table(
        ["size", "form", "parameters without embedding and head", "training FLOPs a token", "nats a token, seed 1", "seed 2", "seed 3", "bits per byte, mean",
         "minus the paper's form (95 %, paired seeds)", "minus the plain transformer"], results)
    body += ("\nAs in the paper, the backbone's input at a place is the mean of the segment before, which ends one token before the place opens. \"Through the opening "
             "token\" (`model.pooling`) that mean also takes in the token that opens the place, and leaves the one that opened the segment to the concept before, so that the "
             "backbone has seen all that the token has seen. The concept residual (`model.concept_residual`) adds a projection of the place's concept to its tokens "
             "before Psi. The intervals are of one comparison each; some twenty forms have been tried here, in search.md and in paper_gaps.md.\n")
    verdict = "differs: better than the paper's form: " + ", ".join(better) if better else (
        "agrees: no form is better than the paper's beyond the noise of three seeds" if complete else "cannot tell: the sweep is not complete")
    verdict += "; ahead of the plain transformer beyond its interval: " + (", ".join(ahead) if ahead else "none")
    common.page(options, "What the backbone has read when a concept opens", "The paper lets a token attend to its own concept, which would hold tokens ahead of it; how far the "
                "sequence is shifted to prevent that it does not say.", body, verdict, [name for name, *_ in SWEEPS.values()], has_chart=False)


if __name__ == "__main__":
    main()
