#!/usr/bin/env python3
"""Up to which token the backbone should read, with and without the concept added to its tokens. Expected time on 2 cores: 35
minutes."""

import common

PAPER, PLAIN = "as in the paper", "plain transformer"


def main():
    options = common.arguments("shift", "35 minutes", rows_suffice=True)
    rows = common.sweep(options, "shift")
    losses, bits, numbers = {}, {}, {}
    for row in rows:
        if row["status"] == "done":
            form = row["axes"]["form"]
            losses.setdefault(form, {})[row["seed"]] = row["val_loss"]
            bits.setdefault(form, {})[row["seed"]] = row["val_bits_per_byte"]
            numbers[form] = row
    results, better = [], []
    for form in losses:
        told = {other: common.paired(losses[form], losses.get(other, {})) if form != other else (None, None) for other in (PAPER, PLAIN)}
        shown = {other: "–" if difference is None else f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")
                 for other, (difference, error) in told.items()}
        difference, error = told[PAPER]
        if form != PLAIN and error is not None and difference < -error:
            better.append(f"{form} ({difference:+.4f} ± {error:.4f} nats)")
        results.append([form, f"{numbers[form]['non_embedding'] / 1e6:.3f}M", f"{numbers[form]['flops_per_token'] / 1e6:.2f} MF",
                        *(f"{losses[form][seed]:.4f}" if seed in losses[form] else "–" for seed in (1, 2, 3)),
                        f"{common.mean(list(bits[form].values())):.4f}", shown[PAPER], shown[PLAIN]])
    ahead = [form for form in losses if form != PLAIN and (gap := common.paired(losses[form], losses.get(PLAIN, {})))[1] is not None and gap[0] < -gap[1]]
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of 15 runs.**" if len(rows) < 15 else "") + "\n\n" + common.table(
        ["form", "parameters without embedding and head", "training FLOPs a token", "nats a token, seed 1", "seed 2", "seed 3", "bits per byte, mean",
         "minus the paper's form (95 %, paired seeds)", "minus the plain transformer"], results)
    body += ("\nAs in the paper, the backbone's input at a place is the mean of the segment before, which ends one token before the place opens. \"Through the opening "
             "token\" (`model.pooling`) that mean also takes in the token that opens the place, and leaves the one that opened the segment to the concept before, so that the "
             "backbone has seen all that the token has seen. The concept residual (`model.concept_residual`) adds a projection of the place's concept to its tokens "
             "before Psi.\n")
    if len(rows) < 15:
        verdict = "cannot tell: the sweep is not complete"
    elif better:
        verdict = "differs: better than the paper's form: " + ", ".join(better)
    else:
        verdict = "agrees: no form is better than the paper's beyond the noise of three seeds"
    if len(rows) == 15:
        verdict += "; ahead of the plain transformer beyond it: " + (", ".join(ahead) if ahead else "none")
    common.page(options, "What the backbone has read when a concept opens", "The paper lets a token attend to its own concept, which would hold tokens ahead of it; how far the "
                "sequence is shifted to prevent that it does not say.", body, verdict, ["shift"], has_chart=False)


if __name__ == "__main__":
    main()
