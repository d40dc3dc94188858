#!/usr/bin/env python3
"""Are the learning rates those of each model's own optimum? Coordinate descent for DLCM and for the plain transformer. Expected
time on 2 cores: 15 minutes."""

import common

MODELS = {"mini": "rates", "mini-llama": "rates_plain"}


def main():
    options = common.arguments("rates", "15 minutes", rows_suffice=True)
    swept = {model: common.sweep(options, name) for model, name in MODELS.items()}
    results, gains, shown = [], {}, ""
    for model, rows in swept.items():
        done = [row for row in rows if row["status"] == "done"]
        if not done:
            continue
        axes = list(rows[0]["axes"])
        start = next(row for row in done if all(float(factor) == 1 for factor in row["axes"].values()))
        best = min(done, key=lambda row: row["val_loss"])
        gains[model] = start["val_loss"] - best["val_loss"]
        shown += f"\n{model}, {len(done)} runs, from {start['val_loss']:.4f} nats as configured to {best['val_loss']:.4f}:\n\n" + common.table(
            [f"{axis} rate ×" for axis in axes] + ["nats a token", "minus as configured"],
            [[*(f"{float(row['axes'][axis]):g}" for axis in axes), f"**{row['val_loss']:.4f}**" if row is best else f"{row['val_loss']:.4f}",
              f"{row['val_loss'] - start['val_loss']:+.4f}"] for row in sorted(done, key=lambda row: row["val_loss"])])
        results += done
    complete = len(gains) == len(MODELS)
    near = all(gain <= common.SEED_NOISE for gain in gains.values())
    gained = ", ".join(f"{model} {gain:.4f} nats" for model, gain in gains.items())
    if not complete:
        verdict = f"cannot tell: not all descents have run; what another factor of 2 gains so far: {gained or 'nothing is known'}"
    elif near:
        verdict = f"agrees: what another factor of 2 gains, {gained}, is within the noise of a seed ({common.SEED_NOISE:g})"
    else:
        verdict = f"differs: descent gains {gained}; the noise of a seed is {common.SEED_NOISE:g}"
    body = common.sizes(results) + "\n" + shown
    body += ("\nOne rate at a time is halved and doubled from the best so far, until a round over all of them gains nothing. The rates hold for the other sizes by "
             "muP (fig3_mup).\n")
    common.page(options, "Each model at its own learning rates", "It tunes by coordinate descent over {0.5, 0.75, 1.5, 2} from the current best and carries the "
                "rates to larger models by muP.", body, verdict, list(MODELS.values()), has_chart=False)


if __name__ == "__main__":
    main()
