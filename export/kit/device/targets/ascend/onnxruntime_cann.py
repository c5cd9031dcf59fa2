#!/usr/bin/env python3
"""Needs: onnxruntime-cann. Not run by the project on this hardware.

Usage: targets/ascend/onnxruntime_cann.py [PRECISION_MODE]

Source: onnxruntime, "CANN Execution Provider": precision_mode is force_fp32, force_fp16, allow_fp32_to_fp16,
must_keep_origin_dtype or allow_mix_precision. Newer builds name the option precision_mode_v2, with fp16 and origin.
onnxruntime_session_options_config_keys.h: session.disable_cpu_ep_fallback.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]
MODES = ({"precision_mode": "must_keep_origin_dtype"}, {"precision_mode_v2": "origin"})


def main() -> None:
    """Run the golden crops on the first NPU, and write their outputs."""
    os.umask(0o077)  # outputs of faces are biometric data
    try:
        ort = import_module("onnxruntime")
        np = import_module("numpy")
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install onnxruntime-cann numpy")
    if "CANNExecutionProvider" not in ort.get_available_providers():
        sys.exit("this onnxruntime has no CANNExecutionProvider: install onnxruntime-cann, and no other onnxruntime")
    manifest = json.loads((KIT / "manifest.json").read_text())
    form = next(form for form in manifest["forms"] if form["layout"] == "nchw")
    crops = np.load(KIT / manifest["crops_float32"])
    modes = [{"precision_mode": sys.argv[1]}, {"precision_mode_v2": sys.argv[1]}] if len(sys.argv) > 1 else MODES
    for mode in modes:
        try:
            options = dict(device_id=0, **mode)
            settings = ort.SessionOptions()
            settings.add_session_config_entry(
                "session.disable_cpu_ep_fallback", "1"
            )  # else nodes run on the CPU unseen
            session = ort.InferenceSession(
                str(KIT / form["file"]), settings, providers=[("CANNExecutionProvider", options)]
            )
        except Exception as error:  # noqa: BLE001 -- the classes of onnxruntime's errors share no base
            print(f"{mode}: {error}", file=sys.stderr)
            continue
        if session.get_providers()[0] != "CANNExecutionProvider":
            print(f"{mode}: onnxruntime would run on {session.get_providers()[0]}", file=sys.stderr)
            continue
        print(f"{mode}, every node on CANNExecutionProvider")
        outputs = [session.run(None, {form["input_name"]: crop[None]})[0][0] for crop in crops]
        np.save("outputs.npy", np.stack(outputs))
        print(
            "edge-sphereface check-outputs KIT outputs.npy --precision float16   # float32 if the chip computes in it"
        )
        return
    sys.exit("onnxruntime took none of these options, or left nodes to the CPU")


if __name__ == "__main__":
    main()
