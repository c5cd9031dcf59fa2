#!/usr/bin/env python3
"""Needs: rknn-toolkit2, on a workstation. Not run by the project on this hardware.

Usage: targets/rknn/convert.py rk3588 [--int8]

Without --int8 the NPU computes in float16, which those of RV1103 and RV1106 do not. With it, the golden crops
calibrate, which is enough for a proof and too few for use: calibrate with crops of your cameras. The model normalizes:
give it uint8 BGR crops (crops/uint8), and nothing else. Source: Rockchip, RKNN Toolkit2 API reference: config,
load_onnx, build, export_rknn.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]
INT8_ONLY = ("rv1103", "rv1106")
"""Chips for which toolkit 2.3.2 builds int8 models alone. Source: github.com/ultralytics/ultralytics, pull 24384."""


def main() -> None:
    """Convert the form of a fixed batch, and compute the golden crops in the toolkit's simulator."""
    os.umask(0o077)  # outputs of faces are biometric data
    try:
        toolkit = import_module("rknn.api").RKNN
        np = import_module("numpy")
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install rknn-toolkit2 numpy")
    words = [word for word in sys.argv[1:] if word != "--int8"]
    if len(words) != 1:
        sys.exit("name the chip, such as rk3588, rk3568 or rv1106")
    quantized = "--int8" in sys.argv
    if words[0].lower().startswith(INT8_ONLY) and not quantized:
        sys.exit(f"the NPU of {words[0]} computes in int8 only: add --int8")
    manifest = json.loads((KIT / "manifest.json").read_text())
    spec, form = manifest["spec"], next(form for form in manifest["forms"] if form["batch"] == 1)
    crops = np.load(KIT / manifest["crops_uint8"])
    out = KIT / "out" / "rknn"
    out.mkdir(parents=True, exist_ok=True)
    dataset, names = out / "dataset.txt", []
    for number, crop in enumerate(crops):  # arrays are taken as they are; images would be turned to RGB
        names.append(str(out / f"calibration-{number:04d}.npy"))
        np.save(names[-1], crop[None])
    dataset.write_text("\n".join(names) + "\n")
    converter = toolkit()
    deviation = 1 / spec["pixel_scale"]
    converter.config(mean_values=[[spec["pixel_mean"]] * 3], std_values=[[deviation] * 3], target_platform=words[0])
    target = KIT / "out" / ("int8.rknn" if quantized else "float16.rknn")
    if target.exists():  # one of an earlier conversion is not taken for this one's
        target.unlink()
    for step, code in (
        ("load_onnx", lambda: converter.load_onnx(model=str(KIT / form["file"]))),
        ("build", lambda: converter.build(do_quantization=quantized, dataset=str(dataset) if quantized else None)),
        ("export_rknn", lambda: converter.export_rknn(str(target))),
        ("init_runtime", converter.init_runtime),
    ):
        if code() != 0:
            sys.exit(f"{step} failed")
    outputs = [converter.inference(inputs=[crop[None]], data_format=["nhwc"])[0].reshape(-1) for crop in crops]
    np.save(out / "outputs.npy", np.stack(outputs).astype(np.float32))
    converter.release()
    precision = "int8" if quantized else "float16"
    print(f"{target}; out/rknn/outputs.npy is the simulator's, not the chip's")
    print(f"edge-sphereface check-outputs KIT out/rknn/outputs.npy --precision {precision}")


if __name__ == "__main__":
    main()
