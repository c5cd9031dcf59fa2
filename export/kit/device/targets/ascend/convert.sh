#!/bin/sh
# Needs: atc of CANN (source set_env.sh first). Not run by the project on this hardware.
# Usage: targets/ascend/convert.sh CHIP   (the name in `npu-smi info`, with "Ascend" before it: Ascend310B4 or Ascend310B1
# on an Atlas 200I DK A2, Ascend310P3 on an Atlas 300I Pro)
# Source: CANN, ATC, command-line options --framework, --input_format, --input_shape, --insert_op_conf, --precision_mode.
set -eu
cd "$(dirname "$0")/../.."
soc=${1:?"name the chip, such as Ascend310, Ascend310P3 or Ascend310B4"}
model=forms/float32-b1.onnx
command -v atc >/dev/null 2>&1 || { echo "atc is missing: install CANN, then: source .../set_env.sh" >&2; exit 1; }
[ -f "$model" ] || { echo "$model is missing: the kit was made without this form" >&2; exit 1; }
mkdir -p out
# On a board of 8 GB, atc's parallel compilation runs out of memory. Source: gitee.com/ascend/EdgeAndRobotics, Samples.
memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
if [ "${memory_kib:-0}" -le 8388608 ]; then
    export TE_PARALLEL_COMPILER=1 MAX_COMPILE_CORE_NUMBER=1
fi
# The precision is always said: the default, force_fp16, computes in half, and nothing in the .om tells it.
# On chips whose convolutions take float16 only, must_keep_origin_dtype is refused; allow_fp32_to_fp16 is the next best.
for precision in must_keep_origin_dtype allow_fp32_to_fp16 force_fp16; do
    rm -f "out/tensor-$precision.om"
    atc --framework=5 --model="$model" --input_format=NCHW --input_shape="@INPUT@:1,3,@HEIGHT@,@WIDTH@" \
        --soc_version="$soc" --precision_mode="$precision" --output="out/tensor-$precision" \
        || echo "not converted with $precision; the next one is tried" >&2
done
# With AIPP the input is crops/uint8/*.bin; without, crops/float32/*.bin.
rm -f out/aipp-force_fp16.om
atc --framework=5 --model="$model" --input_format=NCHW --input_shape="@INPUT@:1,3,@HEIGHT@,@WIDTH@" \
    --soc_version="$soc" --precision_mode=force_fp16 --insert_op_conf=targets/ascend/aipp.cfg --output=out/aipp-force_fp16
