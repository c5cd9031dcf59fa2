#!/bin/sh
# Needs: Hailo Dataflow Compiler (x86-64 Linux). Not run by the project on this hardware.
# Usage: targets/hailo/convert.sh hailo8|hailo8l|hailo10h
# Source: Hailo Dataflow Compiler User Guide: hailo parser, hailo optimize (--calib-set-path, --model-script), hailo
# compiler. The golden crops calibrate, which is enough for a proof and too few for use: give an array of your own crops,
# (N, @HEIGHT@, @WIDTH@, 3) uint8 BGR. The model script normalizes inside: give the device pixels of 0 to 255.
set -eu
cd "$(dirname "$0")/../.."
chip=${1:?"hailo8, hailo8l, hailo10h or hailo15h"}
crops=${2:-crops/uint8.npy}
model=forms/float32-b1.onnx
command -v hailo >/dev/null 2>&1 || { echo "hailo is missing: install the Hailo Dataflow Compiler" >&2; exit 1; }
[ -f "$model" ] || { echo "$model is missing: the kit was made without this form" >&2; exit 1; }
mkdir -p out
hailo parser onnx "$model" --net-name sphereface --hw-arch "$chip" --har-path out/sphereface.har -y
hailo optimize out/sphereface.har --hw-arch "$chip" --calib-set-path "$crops" \
    --model-script targets/hailo/normalize.alls --output-har-path out/sphereface_optimized.har
hailo compiler out/sphereface_optimized.har --hw-arch "$chip" --output-dir out
echo "run out/sphereface.hef with crops/uint8.npy, ask for outputs of FLOAT32, then:"
echo "edge-sphereface check-outputs . OUTPUTS --precision int8"
