#!/usr/bin/env python3
"""Figure 6 in kind: where the law puts the parameters. Expected time on 2 cores: none after fig4_scaling (60 minutes)."""

import json
import subprocess

import common
import scaling


def main():
    options = common.arguments("fig6_allocation", "none after fig4_scaling, else 60 minutes")
    grid, seeds, plain, fit, file = scaling.fitted(options)
    # The budget of the largest run, and a hundred times it, which extrapolates.
    largest = max(row["flops"] for row in grid)
    answers = {}
    for factor in (1, 100):
        output = subprocess.run([str(options.dlcm), "plan", "--fit", str(file), "--flops", f"{factor * largest:g}", "--ratio", "4", "--json"],
                                check=True, capture_output=True, text=True).stdout
        answers[factor] = json.loads(output)
    interval = lambda values, scale=1: f"{scale * values[0]:.3g} to {scale * values[1]:.3g}" if values else "–"
    rows = []
    for factor, answer in answers.items():
        saved = [saving for saving in answer["savings"] if abs(saving["flops"] / answer["flops"] - 1) < 1e-6]
        rows.append([f"{answer['flops']:.3g}", f"{answer['parameters']:.3g}", f"{100 * answer['backbone_share']:.0f} %",
                     interval(answer["backbone_share_interval"], 100), f"{answer['tokens']:.3g}",
                     f"{100 * saved[0]['saved']:.0f} %" if saved and saved[0]["saved"] is not None else "–"])
    body = common.sizes(grid + seeds + plain) + scaling.partial(grid) + "\n\n"
    body += common.table(["FLOPs", "best N", "best P", "P, 5 to 95 %", "tokens", "FLOPs saved against a plain transformer"], rows)
    body += "\nThe paper's, at R = 4: best P about 60 %, up to 34 % fewer FLOPs at equal loss, growing with size.\n"
    for warning in answers[100]["warnings"]:
        body += f"\nAt 100 times the budget: {warning}.\n"
    curves = {}
    for point in answers[1]["shares"]:
        curves.setdefault(f"R = {point['ratio']:g}", []).append((100 * point["backbone_share"], point["loss"]))
    common.chart(common.RESULTS / "fig6_allocation.svg", "Best loss of the budget over P", "P, %", "nats per token", curves)
    low, high = answers[1]["backbone_share_interval"]
    if high - low > 0.5:
        verdict = "cannot tell: the interval of the best P spans more than half of what is possible"
    elif low <= 0.6 <= high:
        verdict = "agrees: the interval of the best P holds the paper's 60 %"
    else:
        verdict = f"differs: the best P is {100 * answers[1]['backbone_share']:.0f} %, and its interval does not hold 60 %"
    common.page(options, "Figure 6: where to put the parameters", "At R = 4 the best P is about 60 %, and up to 34 % of the FLOPs are saved at "
                "equal loss, more with size.", body, verdict, ["fig4_scaling", "fig4_seeds", "fig4_baseline"])


if __name__ == "__main__":
    main()
