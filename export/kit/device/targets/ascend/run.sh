#!/usr/bin/env bash
# Needs: ais_bench and a converted model. Not run by the project on this hardware.
# Usage: targets/ascend/run.sh out/tensor-force_fp16.om [float32|uint8]   (uint8 for a model with AIPP)
# Source: gitee.com/ascend/tools, ais-bench_workload/tool/ais_bench, README.
set -euo pipefail
umask 077 # outputs of faces are biometric data
cd "$(dirname "$0")/../.."
model=${1:?"name the .om file"}
layout=${2:-float32}
[ -f "$model" ] || { echo "$model is missing: targets/ascend/convert.sh makes it" >&2; exit 1; }
python3 -c 'import ais_bench' 2>/dev/null || { echo "the Python package ais_bench is missing" >&2; exit 1; }
name=$(basename "$model" .om)
case $name in
    *must_keep_origin_dtype*) precision=float32 ;;
    *) precision=float16 ;;
esac
rm -rf "out/outputs-$name"
mkdir -p out
python3 -m ais_bench --model "$model" --input "crops/$layout" --output out --output_dirname "outputs-$name" \
    --outfmt BIN --batchsize 1 | tee "out/ais_bench-$name.log"
# ais_bench may leave a summary beside the outputs; only .bin files are read.
echo "edge-sphereface check-outputs . out/outputs-$name --precision $precision"
