#!/usr/bin/env bash
# Cold and warm start of a model, and its peak memory: the second run finds its programs compiled.
#     benchmarks/start.sh model.gguf
set -euo pipefail
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
for start in cold warm; do
    echo "--- $start"
    /usr/bin/time -f "%e s in all, peak memory %M kB" jaxllama run -m "$1" -p "The quick brown fox jumps over" -n 24 --temp 0 --compile-cache "$cache"
done
