#!/usr/bin/env python3
"""Figure 7 in kind: the loss by place within a concept, against a plain transformer. Expected time on 2 cores: 15 minutes."""

import csv

import analysis
import common


def page(options, body, verdict, has_chart=True):
    common.page(options, "Figure 7: loss by place within a concept",
                "Against a plain transformer on the same tokens the DLCM is better at places 0 to 2 and from 16 on, mixed from 4 to 15.",
                body, verdict, ["ratios", "baseline"], has_chart)


def main():
    options = common.arguments("fig7_position", "15 minutes", texts=True)
    rows = {f"{float(row['axes']['parser.ratio']):g}": row for row in common.sweep(options, "ratios")}
    baseline = common.sweep(options, "baseline")[0]
    folder = analysis.analyze(options, rows["4"], [], baseline)
    places, documents = [], 0
    with open(folder / "loss_by_place.csv", newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["text"] == "all" and line["place"].isdigit() and int(line["tokens"]) >= 30:
                documents = max(documents, int(line["documents"]))
                if line["half_width"]:
                    places.append((int(line["place"]), int(line["tokens"]), float(line["loss"]), float(line["baseline_loss"]),
                                   float(line["difference"]), float(line["half_width"])))
    sizes = common.sizes([rows["4"], baseline]) + " Same data, same order; both read the same held-out tokens.\n"
    if not places:
        return page(options, sizes, f"cannot tell: {documents} documents are too little text for intervals", has_chart=False)
    better = [place for place, *_, difference, error in places if difference + error < 0]
    worse = [place for place, *_, difference, error in places if difference - error > 0]
    total = sum(count * difference for _, count, _, _, difference, _ in places) / sum(count for _, count, *_ in places)
    common.chart(common.RESULTS / "fig7_position.svg", "DLCM minus the plain transformer, by place in the concept, 95 %", "place in the concept", "difference, nats",
                 {"difference": [(p, d, e) for p, _, _, _, d, e in places]})
    body = sizes + "\n" + common.table(
        ["place", "tokens", "DLCM, nats", "plain, nats", "difference", "± (95 %)"],
        [[p, count, f"{own:.4f}", f"{plain:.4f}", f"{d:+.4f}", f"{e:.4f}"] for p, count, own, plain, d, e in places])
    body += (f"\nOver all these places the DLCM is {total:+.4f} nats from the plain transformer. The intervals are Student's over up to "
             f"{documents} documents; of {len(places)} places about {int(len(places) / 20 + 0.5)} would lie beyond theirs by chance.\n")
    edges = any(place <= 2 for place in better)
    if edges and not any(place <= 2 for place in worse):
        verdict = f"agrees: the DLCM predicts better at places {', '.join(map(str, better))}, the first of a concept among them"
    elif not better and not worse:
        verdict = "cannot tell: no place differs beyond its 95 % interval"
    else:
        verdict = (f"differs: better at {', '.join(map(str, better)) or 'no place'}, worse at {', '.join(map(str, worse)) or 'no place'}")
    page(options, body, verdict)


if __name__ == "__main__":
    main()
