#!/usr/bin/env python3
"""Figure 5 in kind: what the decay of the learning rate gains. Expected time on 2 cores: none after fig4_scaling (60 minutes)."""

import pathlib

import common
import scaling


def main():
    options = common.arguments("fig5_decay", "none after fig4_scaling, else 60 minutes")
    grid, seeds, _, fit, _ = scaling.fitted(options)
    everything = fit["decay"]
    decay = scaling.fit(options, grid, pathlib.Path(options.output) / "decay-fit.json")["decay"]
    body = common.sizes(grid + seeds) + scaling.partial(grid) + "\n\n"
    if decay is None:
        common.page(options, "Figure 5: the decay's law", "Δ = k L^a R^b N^c with R² = 0.93.", body, "cannot tell: too few runs finished",
                    ["fig4_scaling", "fig4_seeds"], has_chart=False)
        return
    body += common.table(["", "k", "a (loss)", "b (R)", "c (N)", "R²", "runs"], [
        *([name, f"{law['k']:.4g}", f"{law['a']:.3f}", f"{law['b']:.3f}", f"{law['c']:.3f}", f"{law['r_squared']:.3f}", law["runs"]]
          for name, law in (("ours, the grid", decay), ("ours, with other seeds", everything))),
        ["the paper's", "–", "–", "–", "–", "0.93", "–"]])
    body += ("\nΔ is the last stable training loss minus the loss over the last 2 % of the tokens; here the decay takes the last 20 %. "
             "Both are means over the documents of some steps. The runs of the grid read the same ones at the same step, so that their noise "
             "is in k alone; other seeds read others, and it counts against the law.\n")
    verdict = (f"agrees: the law explains R² = {decay['r_squared']:.2f} of the gain over runs that read the same documents" if decay["r_squared"] > 0.9 else
               f"differs: the law explains R² = {decay['r_squared']:.2f} of the gain, where the paper has 0.93")
    common.page(options, "Figure 5: the decay's law", "Δ = k L^a R^b N^c describes what the decay gains with R² = 0.93.", body, verdict,
                ["fig4_scaling", "fig4_seeds"], has_chart=False)


if __name__ == "__main__":
    main()
