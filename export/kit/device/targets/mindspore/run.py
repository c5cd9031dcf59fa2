#!/usr/bin/env python3
"""Needs: mindspore_lite (on Ascend or a CPU). Not run by the project on this hardware.

Usage: targets/mindspore/run.py MODEL.mindir [ascend|cpu]

MODEL.mindir comes from targets/ascend/convert-lite.sh.
Source: MindSpore Lite, "mindspore_lite.Model", build_from_file and predict.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the golden crops, and write their outputs."""
    try:
        lite = import_module("mindspore_lite")
        np = import_module("numpy")
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install mindspore_lite numpy, with CANN for Ascend")
    if len(sys.argv) < 2:
        sys.exit("name the .mindir file")
    manifest = json.loads((KIT / "manifest.json").read_text())
    crops = np.load(KIT / manifest["crops_float32"])
    context = lite.Context()
    context.target = [sys.argv[2] if len(sys.argv) > 2 else "ascend"]
    model = lite.Model()
    model.build_from_file(sys.argv[1], lite.ModelType.MINDIR, context)
    outputs = []
    for crop in crops:
        inputs = model.get_inputs()
        inputs[0].set_data_from_numpy(np.ascontiguousarray(crop[None]))
        outputs.append(model.predict(inputs)[0].get_data_to_numpy()[0].astype(np.float32))
    np.save("outputs.npy", np.stack(outputs))
    print("edge-sphereface check-outputs KIT outputs.npy --precision float16   # float32 if the chip computes in it")


if __name__ == "__main__":
    main()
