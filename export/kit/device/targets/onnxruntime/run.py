#!/usr/bin/env python3
"""Needs: onnxruntime and numpy, on a Raspberry Pi or any other machine. Not run by the project on this hardware.

Usage: targets/onnxruntime/run.py [FORM]   (default: the first form of the kit)
"""

import json
import sys
from importlib import import_module
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the golden crops on the CPU, and write their outputs."""
    try:
        ort = import_module("onnxruntime")
        np = import_module("numpy")
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install onnxruntime numpy")
    manifest = json.loads((KIT / "manifest.json").read_text())
    name = sys.argv[1] if len(sys.argv) > 1 else manifest["forms"][0]["name"]
    form = next((form for form in manifest["forms"] if form["name"] == name), None)
    if form is None:
        sys.exit("the kit has the forms " + ", ".join(form["name"] for form in manifest["forms"]))
    session = ort.InferenceSession(str(KIT / form["file"]), providers=["CPUExecutionProvider"])
    crops = np.load(KIT / manifest["crops_uint8" if form["layout"] == "image" else "crops_float32"])
    np.save("outputs.npy", np.stack([session.run(None, {form["input_name"]: crop[None]})[0][0] for crop in crops]))
    print(f"edge-sphereface check-outputs KIT outputs.npy --form {name}")


if __name__ == "__main__":
    main()
