#!/bin/sh
# Needs: Hailo Dataflow Compiler (x86-64 Linux). Not run by the project on this hardware.
# Usage: targets/hailo/convert.sh hailo8|hailo8l|hailo10h|hailo15h [CROPS.npy]
# The compiler's versions 3 serve Hailo-8 and Hailo-8L, versions 5 Hailo-10H and Hailo-15H; the HailoRT of the board must
# be the one released with the compiler, or it refuses the .hef. Source: github.com/hailo-ai/hailo_model_zoo, README.
# Source: Hailo Dataflow Compiler User Guide: hailo parser, hailo optimize (--calib-set-path, --model-script), hailo
# compiler; model script: normalization, model_optimization_config(calibration, calibset_size).
# The golden crops calibrate, which is enough for a proof and too few for use: give an array of your own crops,
# (N, @HEIGHT@, @WIDTH@, 3) uint8 BGR. All of them calibrate. With less than 1024, or without a GPU, the compiler says
# "Reducing optimization level to 0", and the accuracy is lower. The model script normalizes inside: give the device
# pixels of 0 to 255.
set -eu
cd "$(dirname "$0")/../.."
chip=${1:?"hailo8, hailo8l, hailo10h or hailo15h"}
crops=${2:-crops/uint8.npy}
model=forms/float32-b1.onnx
command -v hailo >/dev/null 2>&1 || { echo "hailo is missing: install the Hailo Dataflow Compiler" >&2; exit 1; }
[ -f "$model" ] || { echo "$model is missing: the kit was made without this form" >&2; exit 1; }
mkdir -p out
rm -f out/sphereface.hef
# Without this, 64 crops calibrate, however many are given.
count=$(python3 -c 'import sys, numpy; print(len(numpy.load(sys.argv[1], mmap_mode="r")))' "$crops")
cp targets/hailo/normalize.alls out/sphereface.alls
echo "model_optimization_config(calibration, calibset_size=$count)" >>out/sphereface.alls
hailo parser onnx "$model" --net-name sphereface --hw-arch "$chip" --har-path out/sphereface.har -y
hailo optimize out/sphereface.har --hw-arch "$chip" --calib-set-path "$crops" \
    --model-script out/sphereface.alls --output-har-path out/sphereface_optimized.har
hailo compiler out/sphereface_optimized.har --hw-arch "$chip" --output-dir out
echo "run out/sphereface.hef with crops/uint8.npy, ask for outputs of FLOAT32, then:"
echo "edge-sphereface check-outputs . OUTPUTS --precision int8"
