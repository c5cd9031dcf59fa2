"""``python -m export kit``."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import json_option
from edge_sphereface.cli.runner import Outcome, note

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.kit.manifest import KitForm, KitReference
    from export.kit.make import MadeKit

_FLOAT_FORMS = ("float32-b1", "float32", "float32-image")


def add_kit(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "kit",
        parents=[json_option()],
        help="make a proof kit: what a device needs to run a network and to show that it does so correctly",
        description="Make a folder with the network in the forms that compilers of devices take, golden crops in their "
        "layouts, the expected outputs, those of the usual mistakes, and the vendors' own commands. "
        "`edge-sphereface check-outputs` then says whether what comes back from a device is right.",
        epilog="examples: python -m export kit sphereface20.onnx -o kit; "
        "python -m export kit sphereface20.onnx sphereface20.int8.onnx --orl --tar -o kit",
    )
    parser.add_argument("model", type=Path, help="plain float model that `convert` made")
    parser.add_argument("reduced", nargs="*", type=Path, help="its forms of reduced precision, from `quantize`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="new folder of the kit")
    parser.add_argument("--tar", action="store_true", help="write FOLDER.tar too")
    parser.add_argument(
        "--form",
        action="append",
        choices=_FLOAT_FORMS,
        help="float form to take along: float32-b1 (one crop in a call, for compilers of NPUs), float32 (any number), "
        "float32-image (uint8 crops); give it again for more (default: all)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the model, for the expected outputs (default: found)",
    )
    crops = parser.add_mutually_exclusive_group()
    crops.add_argument(
        "--crops",
        type=Path,
        metavar="FOLDER",
        help="photographs or crops as FOLDER/PERSON/photo.jpg, besides the seeded ones; the kit then holds their faces",
    )
    crops.add_argument("--orl", action="store_true", help="30 photographs of 10 people of the ORL faces, gray")
    parser.set_defaults(run=kit)


@dataclass(frozen=True, slots=True, kw_only=True)
class KitReport:
    """What ``kit`` wrote.

    Attributes:
        folder: folder of the kit.
        tar: path of its archive; null if none was asked for.
        manifest_sha256: SHA-256 of the manifest in hexadecimal, which stands for the whole kit.
        reference: what computed the expected outputs.
        forms: forms of the network.
        crops: number of golden crops.
        people: number of people in the labeled crops.
        mistakes: number of wrong preparations whose outputs are stored.
        bytes: size of all files.
    """

    folder: Path
    tar: Path | None
    manifest_sha256: str
    reference: KitReference
    forms: tuple[KitForm, ...]
    crops: int
    people: int
    mistakes: int
    bytes: int


def kit(arguments: argparse.Namespace) -> Outcome:
    """Make the kit."""
    from edge_sphereface.inference.embedder import Embedder
    from export.kit.crops import folder_crops, orl_crops, seeded_crops
    from export.kit.make import FLOAT_FORMS, KitOptions, make_kit

    spec = Embedder(arguments.model, provider="cpu").spec
    crops = seeded_crops(spec)
    if arguments.crops is not None:
        crops += folder_crops(arguments.crops, spec)
    elif arguments.orl:
        crops += orl_crops(spec)
    with ended_in_order():
        made = make_kit(
            [arguments.model, *arguments.reduced],
            arguments.output,
            crops,
            KitOptions(
                float_forms=tuple(name for name in FLOAT_FORMS if name in (arguments.form or FLOAT_FORMS)),
                checkpoint=arguments.checkpoint,
                is_private=arguments.crops is not None,
            ),
            tar=arguments.tar,
            note=note,
        )
    report = _report(made)
    return Outcome(report, _text(report))


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, so that a half-made kit, which may hold faces, is removed."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(made: MadeKit) -> KitReport:
    manifest = made.manifest
    return KitReport(
        folder=made.folder,
        tar=made.tar,
        manifest_sha256=made.manifest_sha256,
        reference=manifest.reference,
        forms=manifest.forms,
        crops=len(manifest.crops),
        people=len({crop.person for crop in manifest.crops} - {None}),
        mistakes=len(manifest.mistakes),
        bytes=sum(file.bytes for file in manifest.files),
    )


def _text(report: KitReport) -> str:
    reference = report.reference
    people = f" of {report.people} people" if report.people else ""
    lines = [
        f"{report.folder}: kit of {report.bytes / (1 << 20):.1f} MiB, manifest {report.manifest_sha256}",
        *([] if report.tar is None else [f"{report.tar}: the same as an archive"]),
        f"forms     {', '.join(form.name for form in report.forms)}",
        f"crops     {report.crops}{people}",
        f"expected  by {reference.name} {reference.version}, from the {reference.source}",
        f"mistakes  outputs of {report.mistakes} wrong preparations, to recognize them by",
        f"next      copy it to the device; {report.folder}/README.txt says how to go on",
    ]
    return "\n".join(lines)
