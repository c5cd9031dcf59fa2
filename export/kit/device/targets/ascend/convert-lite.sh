#!/bin/sh
# Needs: converter_lite of MindSpore Lite (cloud side) and CANN. Not run by the project on this hardware.
# Usage: targets/ascend/convert-lite.sh
# Source: MindSpore Lite, "Offline Conversion of Inference Models" and "Ascend Conversion Tool Description": precision_mode
# is enforce_fp16 by default; enforce_origin keeps float32 where the chip has it, preferred_fp32 is tried if not.
set -eu
cd "$(dirname "$0")/../.."
model=forms/float32-b1.onnx
command -v converter_lite >/dev/null 2>&1 || { echo "converter_lite is missing: add MindSpore Lite's tools/converter/converter to PATH" >&2; exit 1; }
[ -f "$model" ] || { echo "$model is missing: the kit was made without this form" >&2; exit 1; }
mkdir -p out
for precision in enforce_origin preferred_fp32; do
    sed "s/^precision_mode=.*/precision_mode=$precision/" targets/ascend/lite.ini >out/lite.ini
    rm -f out/lite.mindir
    if converter_lite --fmk=ONNX --modelFile="$model" --outputFile=out/lite --saveType=MINDIR \
        --optimize=ascend_oriented --inputShape="@INPUT@:1,3,@HEIGHT@,@WIDTH@" --configFile=out/lite.ini; then
        echo "out/lite.mindir, converted with $precision"
        exit 0
    fi
    echo "not converted with $precision" >&2
done
exit 1
