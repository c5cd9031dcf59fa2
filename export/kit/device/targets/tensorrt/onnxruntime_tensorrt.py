#!/usr/bin/env python3
"""Needs: onnxruntime-gpu with TensorRT. Not run by the project on this hardware.

Usage: targets/tensorrt/onnxruntime_tensorrt.py [--fp16]

Source: onnxruntime, "TensorRT Execution Provider": trt_fp16_enable; onnxruntime_session_options_config_keys.h:
session.disable_cpu_ep_fallback.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the golden crops by TensorRT, and write their outputs."""
    os.umask(0o077)  # outputs of faces are biometric data
    try:
        ort = import_module("onnxruntime")
        np = import_module("numpy")
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install onnxruntime-gpu numpy")
    if "TensorrtExecutionProvider" not in ort.get_available_providers():
        sys.exit("this onnxruntime has no TensorrtExecutionProvider")
    manifest = json.loads((KIT / "manifest.json").read_text())
    form = next(form for form in manifest["forms"] if form["layout"] == "nchw")
    is_half = "--fp16" in sys.argv
    options = {"trt_fp16_enable": is_half}
    settings = ort.SessionOptions()
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # else nodes run on the CPU unseen
    try:
        session = ort.InferenceSession(
            str(KIT / form["file"]), settings, providers=[("TensorrtExecutionProvider", options)]
        )
    except Exception as error:  # noqa: BLE001 -- the classes of onnxruntime's errors share no base
        sys.exit(f"TensorRT did not take the whole network: {error}")
    if session.get_providers()[0] != "TensorrtExecutionProvider":
        sys.exit("TensorRT did not take the network; onnxruntime would run it on " + session.get_providers()[0])
    crops = np.load(KIT / manifest["crops_float32"])
    np.save("outputs.npy", np.stack([session.run(None, {form["input_name"]: crop[None]})[0][0] for crop in crops]))
    # TF32 is on by default, and keeps as many bits as float16
    print("edge-sphereface check-outputs KIT outputs.npy --precision float16")


if __name__ == "__main__":
    main()
