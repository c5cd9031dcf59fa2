#!/usr/bin/env bash
# Needs: trtexec (on a Jetson: /usr/src/tensorrt/bin), python3 with numpy. Not run by the project on this hardware.
# Usage: targets/tensorrt/run.sh float32|float16
# Source: TensorRT, samples/trtexec, README and `trtexec --help`: --loadInputs, --exportOutput, --noTF32, --fp16.
set -euo pipefail
umask 077 # outputs of faces are biometric data
cd "$(dirname "$0")/../.."
precision=${1:?"float32 or float16"}
model=forms/float32-b1.onnx
PATH=$PATH:/usr/src/tensorrt/bin
command -v trtexec >/dev/null 2>&1 || { echo "trtexec is missing: install TensorRT" >&2; exit 1; }
[ -f "$model" ] || { echo "$model is missing: the kit was made without this form" >&2; exit 1; }
case $precision in
    float32) option=--noTF32 ;; # the default, TF32, keeps 10 bits of each number, as float16 does
    float16) option=--fp16 ;;
    *) echo "the precision is float32 or float16" >&2; exit 1 ;;
esac
rm -rf "out/tensorrt-$precision" "out/$precision.engine"
mkdir -p "out/tensorrt-$precision"
trtexec --onnx="$model" "$option" --saveEngine="out/$precision.engine" | tee "out/trtexec-$precision.log"
for crop in crops/float32/*.bin; do
    json="out/tensorrt-$precision/$(basename "$crop" .bin).json"
    trtexec --loadEngine="out/$precision.engine" --loadInputs="@INPUT@:$crop" --exportOutput="$json" --iterations=1 \
        --warmUp=0 --duration=0 >/dev/null
done
python3 - "out/tensorrt-$precision" <<'END'
import json, pathlib, sys
import numpy
folder = pathlib.Path(sys.argv[1])
rows = [json.loads(path.read_text())[0]["values"] for path in sorted(folder.glob("*.json"))]
numpy.save(folder / "outputs.npy", numpy.array(rows, numpy.float32))
END
echo "edge-sphereface check-outputs . out/tensorrt-$precision/outputs.npy --precision $precision"
