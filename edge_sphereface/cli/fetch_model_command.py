"""The command ``fetch-model``."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import MODEL_VARIABLE, json_option, session_config, session_options
from edge_sphereface.cli.model_commands import DeviceParity
from edge_sphereface.cli.runner import Outcome, Progress, note
from edge_sphereface.model.manifest import MANIFEST, form_of

if TYPE_CHECKING:
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.model.fetch import FetchedModels


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "fetch-model",
        parents=[json_option(), session_options()],
        help="download or copy models, and verify them on this device",
        description=f"Take the models of a folder that holds {MANIFEST}, as `python -m export model` makes it, or one "
        "model with its certificate. Every listed file, or the one model, is verified by its SHA-256. The models "
        "are then compared with their certificates on this device. An interrupted download continues where it "
        "stopped. Exit code 1 if a model does not meet its certificate; it stays in the folder.",
        epilog="example: edge-sphereface fetch-model https://example.org/models/ --sha256 HEX --form int8",
    )
    parser.add_argument("place", metavar="ADDRESS", help="https address or path of a folder, or of one model")
    parser.add_argument(
        "--sha256",
        type=_sha256,
        metavar="HEX",
        help=f"SHA-256 of {MANIFEST}, or of the model, from the publisher; http addresses need it",
    )
    parser.add_argument("--form", metavar="NAME", help="such as float, tuned, int8, float16 (default: all)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("model"), metavar="FOLDER", help="default: model, in this folder"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same names that differ")
    parser.set_defaults(run=fetch_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel:
    """A model that was taken.

    Attributes:
        path: path of the ONNX file.
        form: form of the network that its name states, such as ``int8``; ``float`` if it states none.
        parity: how it agrees with its certificate on this device; None if it has no certificate.
    """

    path: Path
    form: str
    parity: DeviceParity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchModelReport:
    """What ``fetch-model`` took.

    Attributes:
        passed: whether every model with a certificate meets it on this device; if not, the exit code is 1.
        folder: folder of the files.
        sha256: SHA-256 of the manifest or, without one, of the model, in hexadecimal.
        verified: whether ``--sha256`` confirmed that value. Without it, nothing shows who made the files.
        models: the models.
        files: paths of all files that were taken.
        left_out: names in the manifest that were not taken: neither models nor certificates, reports or texts.
    """

    passed: bool
    folder: Path
    sha256: str
    verified: bool
    models: tuple[FetchedModel, ...]
    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def fetch_model(arguments: argparse.Namespace) -> Outcome:
    """Download or copy, verify."""
    from edge_sphereface.model.fetch import fetch_models

    fetched = fetch_models(
        arguments.place,
        arguments.output,
        sha256=arguments.sha256,
        form=arguments.form,
        overwrite=arguments.overwrite,
        reporter=lambda name: Progress(f"downloading {name}", "MiB"),
    )
    if fetched.left_out:
        note(f"note: left out, since they are no files of a model: {', '.join(fetched.left_out)}")
    models = tuple(_verified(path, arguments) for path in fetched.models)
    report = FetchModelReport(
        passed=all(model.parity is None or model.parity.passed for model in models),
        folder=arguments.output,
        sha256=fetched.sha256,
        verified=fetched.is_verified,
        models=models,
        files=fetched.files,
        left_out=fetched.left_out,
    )
    return Outcome(report, _text(report, fetched), passed=report.passed)


def _verified(path: Path, arguments: argparse.Namespace) -> FetchedModel:
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.certificate import certificate_path, check_on_device, load_certificate

    embedder = Embedder(path, session=session_config(arguments))
    parity = None
    if certificate_path(path).is_file():
        check = check_on_device(embedder, load_certificate(certificate_path(path)))
        parity = DeviceParity(passed=check.passed, measured=check.measured, bounds=check.bounds)
    return FetchedModel(path=path, form=form_of(path.name), parity=parity)


def _text(report: FetchModelReport, fetched: FetchedModels) -> str:
    width = max(len(str(model.path)) for model in report.models)
    lines = [f"{model.path!s:<{width}}  {_size(model.path)}, {_parity(model)}" for model in report.models]
    has_manifest = report.folder / MANIFEST in fetched.files
    subject = MANIFEST if has_manifest else report.models[0].path.name
    if report.verified:
        others = "every file the one that it lists" if has_manifest else "nothing shows who made its certificate"
        lines.append(f"{subject} has the SHA-256 that you gave, and {others}")
    else:
        lines.append(
            f"who made these files is not verified: compare the SHA-256 of {subject}, {report.sha256}, with the "
            "publisher's, or give it with --sha256"
        )
    usable = [model for model in report.models if model.parity is None or model.parity.passed]
    if len(usable) == 1:
        lines.append(f"next: export {MODEL_VARIABLE}={usable[0].path.absolute()}")
    elif usable:
        names = " ".join(str(model.path) for model in usable)
        lines.append(f"next: edge-sphereface tune {names}   # chooses the fastest on this device")
    return "\n".join(lines)


def _parity(model: FetchedModel) -> str:
    if model.parity is None:
        return "not verified on this device: it has no certificate"
    verdict = "PASSED" if model.parity.passed else "FAILED, do not use it here"
    return f"parity {verdict} (min cosine {model.parity.measured.min_cosine:.6f})"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / (1 << 20):.1f} MiB"


def _sha256(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        raise argparse.ArgumentTypeError(f"expected 64 hexadecimal digits, got {text!r:.80}")
    return text.lower()
