"""``edge-sphereface gallery``: manage a gallery."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    gallery_options,
    json_option,
    model_option,
    open_embedder,
    open_named_detector,
    open_named_gallery,
    warn_without_crops,
)
from edge_sphereface.cli.runner import Outcome, Progress, note

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.gallery import Gallery


def add_command(commands: Commands) -> None:
    """Add this command and those below it to the parser."""
    parser = commands.add_parser(
        "gallery",
        help="list, remove, export, import, rebuild, check",
        description="Manage a gallery. Every command has --help with an example, and --json.",
        epilog="example: edge-sphereface gallery list --gallery people.db",
    )
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(below)
    _add_remove(below)
    _add_export(below)
    _add_import(below)
    _add_rebuild(below)
    _add_check(below)
    _add_new_key(below)


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser(
        "list",
        parents=[json_option(), gallery_options()],
        help="list identities, and the model that made the embeddings",
        epilog="example: edge-sphereface gallery list --gallery people.db",
    )
    parser.set_defaults(run=list_identities)


def list_identities(arguments: argparse.Namespace) -> Outcome:
    """Every identity, by name; no embedding."""
    with open_named_gallery(arguments, None) as gallery:
        identities = list(gallery.identities())
        kind, own, thresholds = gallery.fingerprint, gallery.threshold, gallery.thresholds()
        result = {
            "gallery": gallery.location,
            "fingerprint": {"digest": kind.digest, **kind.as_json()},
            "encrypted": gallery.encrypted,
            "keep_crops": gallery.keep_crops,
            "thresholds": [threshold.as_json() for threshold in thresholds.values()],
            "identities": [identity.as_json() for identity in identities],
        }
    width = max([len(identity.name) for identity in identities], default=0)
    lines = [
        f"{identity.name:<{width}}  {identity.embeddings:>3} embedding{'s' if identity.embeddings != 1 else ' '}"
        f"  since {identity.enrolled_at[:10]}"
        f"{''.join(f'  {key}={value}' for key, value in identity.metadata.items())}"
        for identity in identities
    ]
    lines += [
        (
            f"{len(identities)} {'identity' if len(identities) == 1 else 'identities'} in {result['gallery']}"
            f"{', encrypted' if result['encrypted'] else ''}{', with crops' if result['keep_crops'] else ''}; "
            f"{kind.architecture} {kind.precision}, {kind.digest}"
        ),
        "no threshold" if own is None else f"threshold {own.value:.3f} ({own.source})",
    ]
    return Outcome(result, "\n".join(lines))


def _add_remove(commands: Commands) -> None:
    parser = commands.add_parser(
        "remove",
        parents=[json_option(), gallery_options()],
        help="remove identities permanently",
        description="Remove identities with their embeddings and crops. Removal is permanent: freed space is "
        "overwritten, and the file is compacted in memory, which takes as much memory as the gallery is large.",
        epilog="example: edge-sphereface gallery remove --gallery people.db 'Ann Lee'",
    )
    parser.add_argument("name", nargs="+", help="name of an identity")
    parser.set_defaults(run=remove)


def remove(arguments: argparse.Namespace) -> Outcome:
    """All of the names, or none if one is not there."""
    with open_named_gallery(arguments, None) as gallery:
        embeddings = gallery.remove(arguments.name)
        left = len(gallery)
    text = f"removed {', '.join(arguments.name)} with {_count(embeddings, 'embedding')}; {left} left"
    return Outcome({"removed": arguments.name, "embeddings": embeddings, "identities": left}, text)


def _add_export(commands: Commands) -> None:
    parser = commands.add_parser(
        "export",
        parents=[json_option(), gallery_options()],
        help="export everything to one file",
        description="Write identities, embeddings, crops and thresholds as JSON lines. The file is not encrypted, and "
        "readable by its owner alone.",
        epilog="example: edge-sphereface gallery export --gallery people.db -o people.jsonl",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.set_defaults(run=export)


def export(arguments: argparse.Namespace) -> Outcome:
    """One file for every kind of gallery."""
    from edge_sphereface.gallery.transfer import export_gallery

    with open_named_gallery(arguments, None) as gallery:
        if gallery.encrypted:
            note(f"note: the gallery is encrypted, and {arguments.output} is not")
        done = export_gallery(gallery, arguments.output, progress=Progress("exporting", "identities"))
    return Outcome(
        {"output": str(arguments.output), "identities": done}, f"{arguments.output}: {_people(done)}, not encrypted"
    )


def _add_import(commands: Commands) -> None:
    parser = commands.add_parser(
        "import",
        parents=[json_option(), gallery_options()],
        help="add the identities of an export",
        description="Add the identities of an export to a gallery, which is created if there is none. The whole "
        "file is checked first.",
        epilog="example: edge-sphereface gallery import --gallery milvus:people.db people.jsonl",
    )
    parser.add_argument("file", type=Path, help="file written by `gallery export`")
    parser.add_argument(
        "--existing",
        choices=("refuse", "skip", "add"),
        default="refuse",
        help="names that exist already: refuse the import (default), skip them, or add to their embeddings",
    )
    parser.add_argument("--keep-crops", action="store_true", help="keep crops in a new gallery")
    parser.set_defaults(run=import_file)


def import_file(arguments: argparse.Namespace) -> Outcome:
    """From any kind of gallery into any other."""
    from edge_sphereface.gallery.transfer import check_export, import_gallery

    kind = check_export(arguments.file)  # before the gallery is opened: a damaged file makes none
    with open_named_gallery(arguments, kind, create=True, keep_crops=arguments.keep_crops) as gallery:
        show = Progress("importing", "identities")
        warn_without_crops(arguments, gallery)
        done = import_gallery(gallery, arguments.file, existing=arguments.existing, progress=show)
        location, total = gallery.location, len(gallery)
    text = (
        f"{done.new} new {'identity' if done.new == 1 else 'identities'} and {_count(done.embeddings, 'embedding')} "
        f"added to {location}, {_people(done.skipped)} skipped; it holds {total}"
    )
    return Outcome({"gallery": location, **done._asdict(), "identities": total}, text)


def _add_rebuild(commands: Commands) -> None:
    parser = commands.add_parser(
        "rebuild",
        parents=[json_option(), gallery_options(), model_option(), detector_options()],
        help="re-embed kept crops with another model",
        description="Embed every kept crop with another model, which becomes the gallery's. All or nothing; needs a "
        "gallery made with --keep-crops. If the model takes another kind of fit, a detector finds the landmarks in the "
        "crops, which are scaled accordingly.",
        epilog="example: edge-sphereface gallery rebuild --gallery people.db --model model.int8.onnx",
    )
    parser.set_defaults(run=rebuild)


def rebuild(arguments: argparse.Namespace) -> Outcome:
    """The gallery changes its model."""
    from edge_sphereface.gallery.factory import model_threshold

    embedder = open_embedder(arguments)
    with open_named_gallery(arguments, None) as gallery:
        there, here = gallery.fingerprint.alignment_fit, embedder.spec.alignment_fit
        detector = open_named_detector(arguments) if there != here and gallery.keep_crops else None
        embeddings = gallery.rebuild(embedder, detector=detector, progress=Progress("embedding", "identities"))
        if gallery.threshold is None:
            gallery.set_threshold(model_threshold(embedder))
        result = {
            "gallery": gallery.location,
            "embeddings": embeddings,
            "fingerprint": gallery.fingerprint.digest,
            "threshold": _threshold(gallery),
        }
    if detector is not None:
        note(
            f"note: the crops were cut by the fit {there} and are now scaled for {here}, by landmarks that "
            f"{detector.name} found in them; enrolling from photographs again is more exact"
        )
    text = f"{result['gallery']}: {_count(embeddings, 'embedding')} made anew; {result['fingerprint']}"
    return Outcome(result, text)


def _threshold(gallery: Gallery) -> dict[str, object] | None:
    own = gallery.threshold
    return None if own is None else asdict(own)


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        parents=[json_option(), gallery_options()],
        help="verify the gallery's integrity",
        description="Verify everything: SQLite's integrity check, every value decrypted, every template recomputed. "
        "Exit code 1 if a check fails.",
        epilog="example: edge-sphereface gallery check --gallery people.db",
    )
    parser.set_defaults(run=check)


def check(arguments: argparse.Namespace) -> Outcome:
    """What is wrong, if anything."""
    with open_named_gallery(arguments, None) as gallery:
        problems, total, location = gallery.check(), len(gallery), gallery.location
    text = "\n".join(problems) if problems else f"{location}: {_people(total)}, nothing wrong"
    return Outcome({"gallery": location, "identities": total, "problems": problems}, text, passed=not problems)


def _add_new_key(commands: Commands) -> None:
    parser = commands.add_parser(
        "new-key",
        parents=[json_option()],
        help="create a key for an encrypted gallery",
        description="Write a random key of 256 bits to a file that its owner alone may read. Without it the gallery "
        "cannot be read: keep a copy elsewhere.",
        epilog="example: edge-sphereface gallery new-key people.key",
    )
    parser.add_argument("file", type=Path)
    parser.set_defaults(run=new_key)


def new_key(arguments: argparse.Namespace) -> Outcome:
    """A key; never over a file that is there."""
    from edge_sphereface.gallery import write_new_key

    write_new_key(arguments.file)
    return Outcome(
        {"key_file": str(arguments.file)}, f"{arguments.file}: give it with --key-file; keep a copy elsewhere"
    )


def _people(count: int) -> str:
    return f"{count} identity" if count == 1 else f"{count} identities"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
