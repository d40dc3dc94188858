#!/usr/bin/env python3
"""Figure 4 in kind: the joint scaling law in N, D, P and R. Expected time on 2 cores: 60 minutes."""

import common
import scaling


def main():
    options = common.arguments("fig4_scaling", "60 minutes")
    grid, seeds, plain, fit, _ = scaling.fitted(options)
    law = fit["law"]
    noise = fit["seed_noise"]
    body = common.sizes(grid + seeds + plain) + scaling.partial(grid) + "\n\n"
    body += common.table(["", "ours", "ours without P and R", "the paper's"], [
        ["R² over whole curves", f"{fit['quality']['r_squared']:.4f}", f"{fit['plain_quality']['r_squared']:.4f}", "> 0.98"],
        ["largest error, nats", f"{fit['quality']['largest_error']:.4f}", f"{fit['plain_quality']['largest_error']:.4f}", "< 0.05"],
        ["largest error between runs, nats", *(f"{fit[form]['largest_error_between_runs']:.4f}" if fit[form]["largest_error_between_runs"] is not None else "–"
                                              for form in ("quality", "plain_quality")), "–"],
        ["error of configurations left out, nats", *(f"{error:.4f}" if error else "–" for error in (fit["left_out_error"], fit["plain_left_out_error"])), "–"],
        [f"noise of another seed, nats ({fit['seed_noise_freedom']} degrees of freedom)", f"{noise:.4f}" if noise else "–", "", "–"]])
    body += "\n" + common.table(list(law), [[f"{value:.4g}" for value in law.values()]])
    body += ("\nThe law's R² is near 1 for any falling curve; what tells is the error of a configuration that the fit has not seen, "
             "beside the noise of another seed and beside the fit that knows neither P nor R. The runs of the grid read the same documents at the same step, "
             "so that the noise of the documents cancels between them and counts in that of a seed: the yardstick is a lenient one.\n")
    body += ("The error between runs is the largest once the mean error of all runs at the same step is taken out: the noise of that step's documents, which all "
             "read, and what the term in D misses in all of them alike.\n")
    if fit["at_bounds"]:
        body += f"\nAt a bound of the search, and so not determined by these runs: {', '.join(fit['at_bounds'])}.\n"
    goals = [(f"R² {fit['quality']['r_squared']:.4f}, above 0.98", fit["quality"]["r_squared"] > 0.98),
             (f"largest error {fit['quality']['largest_error']:.3f} nats, below 0.05", fit["quality"]["largest_error"] < 0.05)]
    if noise is not None and fit["left_out_error"] is not None:
        goals.append((f"configurations left out {fit['left_out_error']:.4f} nats off, less than twice the noise of a seed, {2 * noise:.4f}",
                      fit["left_out_error"] < 2 * noise))
    if len(grid) < 27 or len(goals) < 3:
        verdict = "cannot tell: the grid is not complete"
    else:
        verdict = f"{'agrees' if all(met for _, met in goals) else 'differs'}: " + "; ".join(
            f"{goal}: {'yes' if met else 'no'}" for goal, met in goals)
    if fit["left_out"]:
        common.chart(common.RESULTS / "fig4_scaling.svg", "Left-out configurations", "measured, nats", "predicted, nats",
                     {"left out": sorted((one["measured"], one["predicted"]) for one in fit["left_out"]),
                      "exact": [(value, value) for value in (min(one["measured"] for one in fit["left_out"]),
                                                             max(one["measured"] for one in fit["left_out"]))]}, dashed=("exact",))
    common.page(options, "Figure 4: the scaling law", "A joint law in N, D, P and R fits 274M to 833M parameters, P of 30 to 70 %, R of 2 to 8 with "
                "R² above 0.98 and errors below 0.05.", body, verdict, ["fig4_scaling", "fig4_seeds", "fig4_baseline"], has_chart=bool(fit["left_out"]))


if __name__ == "__main__":
    main()
