#!/usr/bin/env python3
"""Are the learning rates those of each model's own optimum? Coordinate descent for DLCM and for the plain transformer, then what
the descent chose beside what is configured, on other seeds. Expected time on 2 cores: 30 minutes."""

import tomllib

import common

MODELS = {"mini": ("rates", "rates_again"), "mini-llama": ("rates_plain", "rates_plain_again")}
CONFIGURED, CHOSEN = "as configured", "as the descent chose"
SEEDS = 3


def descent(model, rows):
    """(the row as configured, the best row, what to show of all) of a coordinate descent."""
    start = next(row for row in rows if all(float(factor) == 1 for factor in row["axes"].values()))
    best = min(rows, key=lambda row: row["val_loss"])
    axes = list(start["axes"])
    shown = f"\n{model}, descent of {len(rows)} runs of one seed, from {start['val_loss']:.4f} nats as configured to {best['val_loss']:.4f}:\n\n" + common.table(
        [f"{axis} rate ×" for axis in axes] + ["nats a token", "minus as configured"],
        [[*(f"{float(row['axes'][axis]):g}" for axis in axes), f"**{row['val_loss']:.4f}**" if row is best else f"{row['val_loss']:.4f}",
          f"{row['val_loss'] - start['val_loss']:+.4f}"] for row in sorted(rows, key=lambda row: row["val_loss"])])
    return start, best, shown


def rates_of(row):
    """The row's rates, those of the axes of its descent."""
    optimizer = tomllib.loads(row["config"])["optimizer"]
    return [optimizer[f"{axis}_rate"] for axis in row["axes"]]


def again(options, name, start, best):
    """{as configured or as chosen: {seed: loss}}, on seeds that had no part in the choice."""
    rows = common.sweep(options, name, ([CONFIGURED, CHOSEN], [rates_of(start), rates_of(best)]))
    losses = {CONFIGURED: {}, CHOSEN: {}}
    for row in rows:
        if row["status"] == "done":
            losses[row["axes"]["rates"]][row["seed"]] = row["val_loss"]
    return losses, rows


def main():
    options = common.arguments("rates", "30 minutes", rows_suffice=True)
    results, gains, ties, complete, shown, lines = [], [], [], True, "", []
    for model, (name, name_again) in MODELS.items():
        rows = [row for row in common.sweep(options, name) if row["status"] == "done"]
        if not rows:
            complete = False
            continue
        start, best, words = descent(model, rows)
        results += rows
        shown += words
        if best is start:
            ties.append(f"{model} (the descent stays where it is)")
            continue
        losses, rows = again(options, name_again, start, best)
        results += rows
        difference, error = common.paired(losses[CHOSEN], losses[CONFIGURED])
        complete = complete and all(len(of) == SEEDS for of in losses.values())
        if error is None:
            continue
        lines.append([model, f"{best['val_loss'] - start['val_loss']:+.4f}",
                      *(f"{losses[CHOSEN][seed] - losses[CONFIGURED][seed]:+.4f}" for seed in sorted(losses[CHOSEN])), f"{difference:+.4f} ± {error:.4f}"])
        (gains if difference < -error else ties).append(f"{model} {difference:+.4f} ± {error:.4f} nats")
    body = common.sizes(results) + "\n\n" + common.table(
        ["model", "chosen minus configured, the descent's seed", *(f"seed {seed}" for seed in range(2, 2 + SEEDS)), "mean of the other seeds (95 %)"], lines)
    body += ("\nThe least of a dozen single runs is least by luck as well, so what the descent chose is trained again, beside what is configured, on seeds that had no "
             "part in the choice.\n") + shown
    body += ("\nOne rate at a time is halved and doubled from the best so far, until a round over all of them gains nothing. The rates hold for the other sizes by "
             "muP (fig3_mup).\n")
    if not complete:
        verdict = f"cannot tell: not complete; what the rates of the descent change so far: {', '.join(gains + ties) or 'nothing is known'}"
    elif gains:
        verdict = "differs: the rates of the descent are better on other seeds too: " + ", ".join(gains) + ("; no better: " + ", ".join(ties) if ties else "")
    else:
        verdict = "agrees: on other seeds the rates of the descent are no better than those configured: " + ", ".join(ties)
    common.page(options, "Each model at its own learning rates", "It tunes by coordinate descent over {0.5, 0.75, 1.5, 2} from the current best and carries the "
                "rates to larger models by muP.", body, verdict, [name for names in MODELS.values() for name in names], has_chart=False)


if __name__ == "__main__":
    main()
