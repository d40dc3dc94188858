#!/usr/bin/env python3
"""DLCM against a plain transformer at longer contexts, and on bytes, at one size. Expected time on 2 cores: 50 minutes after
main_comparison."""

import common


def losses(rows, axis):
    """{(value of the axis, model): {seed: row}} of the runs that ended."""
    found = {}
    for row in rows:
        if row["status"] == "done":
            found.setdefault((row["axes"].get(axis), row["axes"].get("model") or row["axes"]["reads bytes"]), {})[row["seed"]] = row
    return found


def compare(label, seeds, others):
    """Of two {seed: row}: a line of the table, and the paired difference with its 95 % interval."""
    difference, error = common.paired({seed: row["val_loss"] for seed, row in seeds.items()}, {seed: row["val_loss"] for seed, row in others.items()})
    bits = [common.mean([row["val_bits_per_byte"] for row in side.values()]) for side in (seeds, others)]
    flops = [next(iter(side.values()))["flops_per_token"] / 1e6 for side in (seeds, others)]
    shown = "–" if difference is None else f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")
    return [label, len(seeds.keys() & others.keys()), f"{flops[0]:.2f} MF", f"{flops[1]:.2f} MF", f"{bits[0]:.4f}", f"{bits[1]:.4f}", shown], difference, error


def main():
    def byte_data(parser):
        return parser.add_argument("--byte-data", help="directory that `dlcm data build --tokenizer bytes` wrote from the same text")

    options = common.arguments("contexts_and_bytes", "50 minutes after main_comparison", rows_suffice=True, more=byte_data)
    first = [row for row in common.read_lines(common.RESULTS / "rows" / "main_comparison.jsonl") if row["axes"]["model"] in ("micro", "micro-llama")]
    contexts = common.sweep(options, "contexts")
    options.data = options.byte_data
    bytes_rows = common.sweep(options, "bytes")

    results, gaps = [], {}
    by_context = losses(contexts, "context") | {(256, model): seeds for (_, model), seeds in losses(first, "context").items()}
    for context in sorted({int(context) for context, _ in by_context}):
        of = {model: seeds for (value, model), seeds in by_context.items() if int(value) == context}
        if len(of) == 2:
            line, difference, error = compare(f"{context} tokens", of["micro"], of["micro-llama"])
            results.append(line)
            if difference is not None:
                gaps[context] = (difference, error)
    of_bytes = {model: seeds for (_, model), seeds in losses(bytes_rows, "reads bytes").items()}
    byte_results = {}
    for control, words in (("micro-llama", "1,024 bytes"), ("micro-no-backbone", "1,024 bytes, against no backbone")):
        if "micro" in of_bytes and control in of_bytes:
            line, difference, error = compare(words, of_bytes["micro"], of_bytes[control])
            results.append(line)
            byte_results[control] = (difference, error)
    total = len(contexts) + len(bytes_rows)
    body = common.sizes(contexts + bytes_rows) + (f" **Partial: {total} of 27 runs.**" if total < 27 else "") + "\n\n"
    body += common.table(["context", "paired seeds", "training FLOPs a token, DLCM", "control", "bits per byte, DLCM", "control",
                          "DLCM minus control, nats a token or byte (95 %)"], results)
    body += ("\nThe shapes are those of micro.toml and micro-llama.toml throughout, equal in FLOPs at 256 tokens; with the context DLCM becomes the "
             "cheaper of the two, because its backbone attends to concepts. The control is the plain transformer unless said otherwise.\n")
    if len({row["data_hash"] for row in first} | {row["data_hash"] for row in contexts}) > 1:
        body += "The runs at 256 tokens (main_comparison) read the same text through another tokenizer's file of as many ids.\n"
    ahead = [f"{context} tokens" for context, (difference, error) in gaps.items() if error is not None and difference < -error]
    behind = [f"{context} tokens" for context, (difference, error) in gaps.items() if error is not None and difference > error]
    for difference, error in (byte_results.get("micro-llama", (None, None)),):
        if error is not None and abs(difference) > error:
            (ahead if difference < 0 else behind).append("bytes")
    if total < 27:
        verdict = "cannot tell: not all models have been trained"
    elif not ahead and not behind:
        verdict = "cannot tell: no difference exceeds its 95 % interval"
    else:
        verdict = ("agrees: " if ahead and not behind else "differs: ") + "; ".join(
            f"DLCM is {side} at {', '.join(places)}" for side, places in (("ahead", ahead), ("behind", behind)) if places)
    if len(gaps) > 1:
        common.chart(common.RESULTS / "contexts_and_bytes.svg", "DLCM minus plain transformer: means of paired seeds, 95 %", "context, tokens", "nats a token",
                     {"difference": [(context, *gap) for context, gap in gaps.items()]}, logarithmic=True)
    common.page(options, "Longer contexts, and bytes", "Reasoning over a shortened sequence should pay more the longer the context and the finer the tokens.",
                body, verdict, ["contexts", "bytes", "main_comparison"], has_chart=len(gaps) > 1)


if __name__ == "__main__":
    main()
