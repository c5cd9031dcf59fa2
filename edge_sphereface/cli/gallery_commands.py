"""``edge-sphereface gallery``: manage a gallery."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.gallery_report_command import add_report
from edge_sphereface.cli.runner import Outcome, Progress, note
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.gallery import Identity, Threshold
    from edge_sphereface.gallery.transfer import Imported
    from edge_sphereface.model.fingerprint import Fingerprint


def add_command(commands: Commands) -> None:
    """Add this command and those below it to the parser."""
    parser = commands.add_parser(
        "gallery",
        help="list, report, remove, export, import, rebuild, check",
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
    add_report(below)
    _add_new_key(below)


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser(
        "list",
        parents=[json_option(), gallery_options()],
        help="list identities, and the model that made the embeddings",
        description="List the identities of a gallery with their number of embeddings and crops, its threshold, and"
        " the model that made the embeddings.",
        epilog="example: edge-sphereface gallery list --gallery people.db",
    )
    parser.set_defaults(run=list_identities)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestedFingerprint:
    """What made the embeddings of a gallery.

    Attributes:
        digest: equal exactly for embeddings that may be compared.
        fingerprint: what the digest is made from.
    """

    digest: str
    fingerprint: Fingerprint = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListReport:
    """What ``gallery list`` found.

    Attributes:
        gallery: where the gallery is.
        fingerprint: what made its embeddings.
        encrypted: whether embeddings and crops are encrypted at rest.
        keep_crops: whether crops are kept.
        thresholds: thresholds of the gallery, at most one for each precision.
        identities: identities by name.
    """

    gallery: str
    fingerprint: DigestedFingerprint
    encrypted: bool
    keep_crops: bool
    thresholds: tuple[Threshold, ...]
    identities: tuple[Identity, ...]


def list_identities(arguments: argparse.Namespace) -> Outcome:
    """Every identity, by name; no embedding."""
    with open_named_gallery(arguments, None) as gallery:
        kind, own = gallery.fingerprint, gallery.threshold
        report = ListReport(
            gallery=gallery.location,
            fingerprint=DigestedFingerprint(digest=kind.digest, fingerprint=kind),
            encrypted=gallery.encrypted,
            keep_crops=gallery.keep_crops,
            thresholds=tuple(gallery.thresholds().values()),
            identities=tuple(gallery.identities()),
        )
    return Outcome(report, _list_text(report, own))


def _list_text(report: ListReport, own: Threshold | None) -> str:
    identities, kind = report.identities, report.fingerprint
    width = max([len(identity.name) for identity in identities], default=0)
    lines = [
        f"{identity.name:<{width}}  {identity.embeddings:>3} embedding{'s' if identity.embeddings != 1 else ' '}"
        f"  since {identity.enrolled_at[:10]}{'  ignored' if identity.ignored else ''}"
        f"{''.join(f'  {key}={value}' for key, value in identity.metadata.items())}"
        for identity in identities
    ]
    lines += [
        (
            f"{_people(len(identities))} in {report.gallery}"
            f"{', encrypted' if report.encrypted else ''}{', with crops' if report.keep_crops else ''}; "
            f"{kind.fingerprint.architecture} {kind.fingerprint.precision}, {kind.digest}"
        ),
        "no threshold" if own is None else f"threshold {own.value:.3f} ({own.source})",
    ]
    return "\n".join(lines)


def _add_remove(commands: Commands) -> None:
    parser = commands.add_parser(
        "remove",
        parents=[json_option(), gallery_options(), audit_option()],
        help="remove identities permanently",
        description="Remove identities with their embeddings and crops. Removal is permanent: freed space is "
        "overwritten, and the file is compacted in memory, which takes as much memory as the gallery is large.",
        epilog="example: edge-sphereface gallery remove --gallery people.db 'Ann Lee'",
    )
    parser.add_argument("name", nargs="+", help="name of an identity")
    parser.set_defaults(run=remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveReport:
    """What ``gallery remove`` did.

    Attributes:
        removed: names of the identities that were removed.
        embeddings: number of embeddings that were removed with them.
        identities: number of identities that the gallery still holds.
    """

    removed: tuple[str, ...]
    embeddings: int
    identities: int


def remove(arguments: argparse.Namespace) -> Outcome:
    """All of the names, or none if one is not there."""
    audit = open_audit(arguments.audit)
    with open_named_gallery(arguments, None) as gallery:
        embeddings = gallery.remove(arguments.name)
        left = len(gallery)
    if audit is not None:
        for name in arguments.name:
            audit.record("remove", subject=name, by="edge-sphereface gallery remove")
    report = RemoveReport(removed=tuple(arguments.name), embeddings=embeddings, identities=left)
    return Outcome(report, f"removed {', '.join(report.removed)} with {_count(embeddings, 'embedding')}; {left} left")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What ``gallery export`` wrote.

    Attributes:
        output: path of the file.
        identities: number of identities in the file.
    """

    output: Path
    identities: int


def export(arguments: argparse.Namespace) -> Outcome:
    """One file for every kind of gallery."""
    from edge_sphereface.gallery.transfer import export_gallery

    with open_named_gallery(arguments, None) as gallery:
        if gallery.encrypted:
            note(f"note: the gallery is encrypted, and {arguments.output} is not")
        done = export_gallery(gallery, arguments.output, progress=Progress("exporting", "identities"))
    report = ExportReport(output=arguments.output, identities=done)
    return Outcome(report, f"{report.output}: {_people(done)}, not encrypted")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What ``gallery import`` did.

    Attributes:
        gallery: where the gallery is.
        imported: what came from the file.
        identities: number of identities that the gallery holds now.
    """

    gallery: str
    imported: Imported = field(metadata=INLINE)
    identities: int


def import_file(arguments: argparse.Namespace) -> Outcome:
    """From any kind of gallery into any other."""
    from edge_sphereface.gallery.transfer import check_export, import_gallery

    kind = check_export(arguments.file)  # before the gallery is opened: a damaged file makes none
    with open_named_gallery(arguments, kind, create=True, keep_crops=arguments.keep_crops) as gallery:
        show = Progress("importing", "identities")
        warn_without_crops(arguments, gallery)
        done = import_gallery(gallery, arguments.file, existing=arguments.existing, progress=show)
        report = ImportReport(gallery=gallery.location, imported=done, identities=len(gallery))
    text = (
        f"{done.new} new {'identity' if done.new == 1 else 'identities'} and {_count(done.embeddings, 'embedding')} "
        f"added to {report.gallery}, {_people(done.skipped)} skipped; it holds {report.identities}"
    )
    return Outcome(report, text)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What ``gallery rebuild`` did.

    Attributes:
        gallery: where the gallery is.
        embeddings: number of embeddings that were made anew.
        fingerprint: digest of the fingerprint of the new embeddings.
        threshold: threshold of the gallery for its new model; None if it has none.
    """

    gallery: str
    embeddings: int
    fingerprint: str
    threshold: Threshold | None


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
        report = RebuildReport(
            gallery=gallery.location,
            embeddings=embeddings,
            fingerprint=gallery.fingerprint.digest,
            threshold=gallery.threshold,
        )
    if detector is not None:
        note(
            f"note: the crops were cut by the fit {there} and are now scaled for {here}, by landmarks that "
            f"{detector.name} found in them; enrolling from photographs again is more exact"
        )
    text = f"{report.gallery}: {_count(embeddings, 'embedding')} made anew; {report.fingerprint}"
    return Outcome(report, text)


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        parents=[json_option(), gallery_options()],
        help="verify the gallery's integrity",
        description="Verify everything: SQLite's integrity check, every value decrypted, every template recomputed. "
        "Exit code 1 if a check fails.",
        epilog="example: edge-sphereface gallery check --gallery people.db",
    )
    parser.set_defaults(run=check, is_check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What ``gallery check`` found.

    Attributes:
        gallery: where the gallery is.
        identities: number of identities that the gallery holds.
        problems: problems as sentences. With any the exit code is 1.
    """

    gallery: str
    identities: int
    problems: tuple[str, ...]


def check(arguments: argparse.Namespace) -> Outcome:
    """What is wrong, if anything."""
    with open_named_gallery(arguments, None) as gallery:
        problems = tuple(gallery.check())
        report = CheckReport(gallery=gallery.location, identities=len(gallery), problems=problems)
    text = "\n".join(problems) if problems else f"{report.gallery}: {_people(report.identities)}, nothing wrong"
    return Outcome(report, text, passed=not problems)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeyReport:
    """What ``gallery new-key`` wrote; the key itself is never printed.

    Attributes:
        key_file: path of the file that holds the key.
    """

    key_file: Path


def new_key(arguments: argparse.Namespace) -> Outcome:
    """A key; never over a file that is there."""
    from edge_sphereface.gallery import write_new_key

    write_new_key(arguments.file)
    report = NewKeyReport(key_file=arguments.file)
    return Outcome(report, f"{report.key_file}: give it with --key-file; keep a copy elsewhere")


def _people(count: int) -> str:
    return f"{count} identity" if count == 1 else f"{count} identities"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
