#!/usr/bin/env bash
# Milliseconds per generated token after prompts of about 256, 512, 1024 and 2048 tokens, beside the operations counted
# for a token at that place. Cached decoding is sound where the time grows no faster than 1.2 x the operations.
#
#   scripts/measure_decode.sh RUN_OR_CHECKPOINT [TEXT_FILE]
#
# The prompts are the beginning of the text (README.md and docs/ by default). A time is the median of five runs of 64
# tokens; the sizes take turns, so that a busy moment of the machine meets all of them.
# DLCM names another binary than build/release/dlcm.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dlcm=${DLCM:-$root/build/release/dlcm}
rounds=5
generated=64

if [[ $# -lt 1 || $# -gt 2 ]]; then
  echo "usage: scripts/measure_decode.sh RUN_OR_CHECKPOINT [TEXT_FILE]" >&2
  exit 2
fi
model=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ $# -eq 2 ]]; then cat "$2"; else cat "$root"/README.md "$root"/docs/*.md; fi > "$work/text"

# field NAME < JSON: a number of one object.
field() { sed -E "s/.*\"$1\":([-+0-9.e]+).*/\1/"; }

# generate BYTES SEED: the JSON of one run.
generate() {
  "$dlcm" generate --model "$model" --prompt "$(head -c "$1" "$work/text" | tr -d '\0')" --max-tokens $generated \
    --seed "$2" --json
}

# operations TOKENS: those of a forward pass over one document of that many tokens.
operations() {
  "$dlcm" info --config "$checkpoint/config.toml" --set train.context="$1" --set train.micro_batch_tokens="$1" \
    --set train.tokens_per_step="$1" --json |
    sed -E 's/.*"forward_flops_per_token":\{([^}]*)\}.*/\1/' | field total | awk -v tokens="$1" '{printf "%.17g", $1 * tokens}'
}

checkpoint=$("$dlcm" info --model "$model" --json | sed -E 's/.*"name":"([^"]*)".*/\1/')
bytes_of_4096=$(( $(wc -c < "$work/text") < 4096 ? $(wc -c < "$work/text") : 4096 ))
tokens_of_4096=$(generate "$bytes_of_4096" 0 | field prompt_tokens)

sizes="256 512 1024 2048"
for round in $(seq $rounds); do
  for size in $sizes; do
    bytes=$(( size * bytes_of_4096 / tokens_of_4096 ))
    result=$(generate "$bytes" "$round")
    echo "$(field prompt_tokens <<< "$result")" >> "$work/tokens-$size"
    awk -v seconds="$(field seconds <<< "$result")" -v tokens="$(field completion_tokens <<< "$result")" \
      'BEGIN { if (tokens > 0) print 1000 * seconds / tokens }' >> "$work/times-$size"
  done
done

printf '%8s %12s %10s %14s %12s\n' "tokens" "ms/token" "x first" "MFLOPs/token" "x first"
for size in $sizes; do
  tokens=$(head -1 "$work/tokens-$size")
  time=$(sort -g "$work/times-$size" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }')
  flops=$(awk -v after="$(operations $(( tokens + generated )))" -v before="$(operations "$tokens")" \
    -v tokens=$generated 'BEGIN { printf "%.17g", (after - before) / tokens }')
  first_time=${first_time:-$time}
  first_flops=${first_flops:-$flops}
  awk -v tokens="$tokens" -v time="$time" -v flops="$flops" -v first_time="$first_time" -v first_flops="$first_flops" \
    'BEGIN { printf "%8d %12.3f %10.2f %14.3f %12.2f\n", tokens, time, time / first_time, flops / 1e6, flops / first_flops }'
done
