#!/bin/sh
# Needs: atc of CANN (source set_env.sh first). Not run by the project on this hardware.
# Usage: targets/ascend/convert.sh Ascend310P3   (the name in `npu-smi info`, with "Ascend" before it)
# Source: CANN, ATC, command-line options --framework, --input_format, --input_shape, --insert_op_conf, --precision_mode.
set -eu
cd "$(dirname "$0")/../.."
soc=${1:?"name the chip, such as Ascend310, Ascend310P3 or Ascend310B4"}
model=forms/float32-b1.onnx
command -v atc >/dev/null 2>&1 || { echo "atc is missing: install CANN, then: source .../set_env.sh" >&2; exit 1; }
[ -f "$model" ] || { echo "$model is missing: the kit was made without this form" >&2; exit 1; }
mkdir -p out
# The precision is always said: the default, force_fp16, computes in half, and nothing in the .om tells it.
# On chips whose convolutions take float16 only, must_keep_origin_dtype is refused; allow_fp32_to_fp16 is the next best.
for precision in must_keep_origin_dtype allow_fp32_to_fp16 force_fp16; do
    atc --framework=5 --model="$model" --input_format=NCHW --input_shape="@INPUT@:1,3,@HEIGHT@,@WIDTH@" \
        --soc_version="$soc" --precision_mode="$precision" --output="out/tensor-$precision" \
        || echo "not converted with $precision; the next one is tried" >&2
done
# With AIPP the input is crops/uint8/*.bin; without, crops/float32/*.bin.
atc --framework=5 --model="$model" --input_format=NCHW --input_shape="@INPUT@:1,3,@HEIGHT@,@WIDTH@" \
    --soc_version="$soc" --precision_mode=force_fp16 --insert_op_conf=targets/ascend/aipp.cfg --output=out/aipp-force_fp16
