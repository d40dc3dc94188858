#!/usr/bin/env python3
"""Figure 3 in kind: does the best learning rate stay put while widths grow? Expected time on 2 cores: 50 minutes."""

import common

RATES = (0.5, 0.75, 1.0, 1.5, 2.0)


def main():
    options = common.arguments("fig3_mup", "50 minutes", rows_suffice=True)
    rows = common.sweep(options, "fig3_mup")
    losses = {}
    for row in rows:
        if row["status"] == "done":
            losses[row["axes"]["scaling"], row["axes"]["width"], float(row["axes"]["rate"])] = row["val_loss"]
    widths = sorted({row["axes"]["width"] for row in rows}, key=int)
    results, moved, costs = [], {}, {}
    for scaling in ("muP", "without muP"):
        steps = []
        for width in widths:
            line = [losses.get((scaling, width, rate)) for rate in RATES]
            if None in line:
                results.append([scaling, width] + [f"{loss:.4f}" if loss else "–" for loss in line] + ["–", "–"])
                continue
            best = min(line)
            ties = [rate for rate, loss in zip(RATES, line) if loss - best <= common.SEED_NOISE]
            # What somebody who tuned the narrowest width would take over: its best rate, and what that costs here.
            carried = steps[0][0] if steps else line.index(best)
            steps.append((carried, [RATES.index(rate) for rate in ties]))
            costs.setdefault(scaling, []).append(line[carried] - best)
            results.append([scaling, width] + [f"**{loss:.4f}**" if loss == best else f"{loss:.4f}" for loss in line] + [", ".join(f"{rate:g}" for rate in ties), f"{costs[scaling][-1]:.4f}"])
        # How far the narrowest width's best rate is from the nearest tie of each width, in grid steps.
        moved[scaling] = [min(abs(tie - carried) for tie in ties) for carried, ties in steps]
    complete = all(len(moved[scaling]) == len(widths) for scaling in moved)
    stays, goes = (max(moved[scaling], default=0) for scaling in ("muP", "without muP"))
    if not complete:
        verdict = "cannot tell: the sweep is not complete"
    elif stays <= 1 and goes > stays:
        verdict = (f"agrees: with muP the narrowest width's best rate is {'the best' if stays == 0 else 'within one grid step of the best'} at every width (it costs at most "
                   f"{max(costs['muP']):.4f} nats); without, the best moves by {goes} grid steps, and the narrowest's costs {max(costs['without muP']):.4f} nats at the widest")
    elif stays <= 1:
        verdict = f"cannot tell: with muP the best rate stays within one grid step, but so it does without, over widths that grow {int(widths[-1]) // int(widths[0])} times"
    else:
        verdict = "differs: the best rate moves by more than one grid step with muP"
    body = common.sizes(rows) + (f" **Partial: {len(rows)} of 40 runs.**" if len(rows) < 40 else "") + "\n\n" + common.table(
        ["", "token width"] + [f"× {rate:g}" for rate in RATES] + [f"ties, within {common.SEED_NOISE} nats", "nats that the narrowest's best costs"], results)
    body += "\nValidation loss in nats; concept widths are 128, 128, 256, 256. The multiple is of the hidden matrices' rates.\n"
    common.chart(common.RESULTS / "fig3_mup.svg", "Validation loss over the multiple of the learning rate", "multiple", "nats per token",
                 {f"{width}, {scaling}": [(rate, losses.get((scaling, width, rate))) for rate in RATES] for scaling in ("muP", "without muP") for width in widths},
                 dashed=[f"{width}, without muP" for width in widths])
    common.page(options, "Figure 3: muP keeps the best learning rate", "The best rate stays at 100 % from an 87M proxy to 274M, 468M and 834M.",
                body, verdict, ["fig3_mup"])


if __name__ == "__main__":
    main()
