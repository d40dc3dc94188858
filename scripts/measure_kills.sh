#!/usr/bin/env bash
# Kills a training with -9 at random moments, resumes it, and compares the final weights and moments with those of an
# undisturbed run: usage measure_kills.sh DLCM DATA KILLS CONFIG [SETTING...], for example
#   scripts/measure_kills.sh build/release/dlcm data 10 configs/tiny.toml train.steps=200 checkpoint.every_steps=25
set -euo pipefail
(($# >= 4)) || { sed -n '2,4s/^# //p' "$0" >&2 && exit 2; }
dlcm=$1 data=$2 kills=$3 config=$4
shift 4
settings=()
for setting; do settings+=(--set "$setting"); done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
train=("$dlcm" train --config "$config" "${settings[@]}" --set checkpoint.keep=1 --data "$data")
digest() { cat "$1"/step-*/{model,optimizer}.safetensors | sha256sum | cut -c 1-16; }

"${train[@]}" --output "$scratch/undisturbed" 2>/dev/null
expected=$(digest "$scratch/undisturbed")
steps=$(grep -c '"loss"' "$scratch/undisturbed/metrics.jsonl")
echo "undisturbed: $steps steps, weights and moments $expected"
equal=0
for ((kill = 1; kill <= kills; ++kill)); do
  run=$scratch/killed-$kill
  after=$((RANDOM % (steps * 4 / 5) + 1))  # not so near the end that it is over before the signal comes
  "${train[@]}" --output "$run" 2>/dev/null &  # the process itself, not a shell around it, is what gets the signal
  until [[ -f $run/metrics.jsonl && $(grep -c '"loss"' "$run/metrics.jsonl") -ge $after ]]; do sleep 0.01; done
  kill -9 $!
  wait $! 2>/dev/null || true
  reached=$(grep -c '"loss"' "$run/metrics.jsonl")
  "${train[@]}" --output "$run" --resume 2>/dev/null
  found=$(digest "$run")
  [[ $found == "$expected" ]] && equal=$((equal + 1))
  echo "killed after step $reached, resumed: $found"
done
echo "$equal of $kills resumed runs ended with the same bits"
((equal == kills))
