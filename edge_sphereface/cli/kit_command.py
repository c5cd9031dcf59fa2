"""``edge-sphereface check-outputs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import json_option
from edge_sphereface.cli.model_commands import table
from edge_sphereface.cli.runner import Outcome, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.kit.check import KitCheck, PairSeparation
    from edge_sphereface.kit.comparison import CheckOptions
    from edge_sphereface.kit.golden import Kit
    from edge_sphereface.kit.manifest import Precision

_PRECISIONS = ("float32", "float16", "int8")
_LENGTHS = ("any", "raw", "unit")
_RESULT_SUFFIX = ".json"


def add_command(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check-outputs",
        parents=[json_option()],
        help="check what a device computed for the crops of a proof kit, and name the usual mistake",
        description="Compare outputs of any runtime with those that the kit expects, within the bounds of the "
        "precision. If they differ, name the usual mistake: red and blue swapped, normalized twice or not at all, "
        "height and width swapped, outputs of other crops, and more. The exit code is 1 if the outputs are not those "
        "of the network, and 2 if a file cannot be read.",
        epilog="examples: edge-sphereface check-outputs kit/ outputs.npy; "
        "edge-sphereface check-outputs kit/ ais_bench_output/ --precision float16; "
        "edge-sphereface check-outputs kit/ result.json --pairs",
    )
    parser.add_argument("kit", type=Path, help="folder of the kit, which `python -m export kit` makes")
    parser.add_argument(
        "outputs",
        nargs="+",
        type=Path,
        help="outputs in the order of the crops: .npy, .bin, .txt, .csv, .jsonl, a folder of them, or the result.json "
        "of the kit's run.py",
    )
    parser.add_argument(
        "--form", metavar="NAME", help="form of the network that ran (default: the result's, or the first)"
    )
    parser.add_argument(
        "--precision",
        choices=_PRECISIONS,
        help="precision in which the device computed, for the bounds (default: the result's, or the form's)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "float64"), help="numbers in .bin files (default: by their size)"
    )
    parser.add_argument(
        "--lengths", choices=_LENGTHS, default="any", help="raw: the network's own; unit: 1; any (default): either"
    )
    parser.add_argument(
        "--pairs", action="store_true", help="compare how well genuine and impostor pairs of labeled crops separate"
    )
    parser.set_defaults(run=check_outputs, is_check=True)


def check_outputs(arguments: argparse.Namespace) -> Outcome:
    """Read the outputs and compare them.

    Raises:
        UsageError: options contradict the result.
    """
    from edge_sphereface.kit.comparison import check_outputs as compare
    from edge_sphereface.kit.golden import open_kit
    from edge_sphereface.kit.outputs import read_outputs

    kit = open_kit(arguments.kit)
    count, size = kit.shape
    places, options = _told(kit, arguments)
    outputs = read_outputs(places, count=count, size=size, dtype=arguments.dtype)
    check = compare(kit, outputs, options)
    return Outcome(check, text(check), passed=check.passed)


def _told(kit: Kit, arguments: argparse.Namespace) -> tuple[Sequence[Path], CheckOptions]:
    """Files of outputs and what is known of them, by options or by the kit's result."""
    from edge_sphereface.kit.comparison import CheckOptions
    from edge_sphereface.kit.result import read_checked_result

    form: str | None = arguments.form
    precision: Precision | None = arguments.precision
    places, digest = arguments.outputs, None
    if any(path.suffix.lower() == _RESULT_SUFFIX for path in places):
        if len(places) > 1:
            raise UsageError(
                "A result names its outputs itself.",
                hint="give result.json alone, or outputs of other tools as .npy, .bin, .txt, .csv or .jsonl",
            )
        result, digest = read_checked_result(places[0], manifest_sha256=kit.manifest_sha256)
        if form not in (None, result.form):
            raise UsageError(f"The result is of the form {result.form}, not {form}.", hint="leave out --form")
        form, precision = result.form, precision or result.precision
        places = [places[0].parent / result.outputs]
    return places, CheckOptions(
        form=form, precision=precision, lengths=arguments.lengths, pairs=arguments.pairs, result_sha256=digest
    )


def text(check: KitCheck) -> str:
    """Format a check for people."""
    verdict = "PASSED" if check.passed else "FAILED"
    rows = [("outputs", f"{verdict}: {check.crops} crops, form {check.form}, bounds of {check.precision}")]
    found, bounds = check.agreement, check.bounds
    if found is not None:
        rows += [
            ("min cosine", f"{found.min_cosine:.6f} (at least {bounds.min_cosine:g}), at crop {found.worst_crop}"),
            ("mean cosine", f"{found.mean_cosine:.6f}"),
        ]
        if found.max_abs_error is None:
            rows.append(("lengths", "of length 1: only directions were compared"))
        else:
            largest = f"{found.max_abs_error:.2e} of the largest component (at most {bounds.max_abs_error:g})"
            rows.append(("max abs error", largest))
    if check.mistake is not None:
        rows += [("mistake", f"{check.mistake.name}: {check.mistake.explanation}")]
        if check.mistake.alternatives:
            rows.append(("", f"or {', '.join(check.mistake.alternatives)}: these outputs cannot tell them apart"))
        rows.append(("to do", check.mistake.remedy))
    elif not check.passed:
        rows.append(("mistake", "none of the usual ones fits"))
        if check.keeps:
            rows.append(("", f"the bounds of {check.keeps[0]} are kept: does the device compute in {check.keeps[0]}?"))
    if check.pairs is not None:
        rows += [
            ("pairs", _pairs(check.pairs.measured)),
            ("expected", _pairs(check.pairs.expected)),
        ]
    return table(rows)


def _pairs(found: PairSeparation) -> str:
    return (
        f"{found.genuine_pairs} genuine, mean {found.genuine_mean:.3f}, {found.accepted_genuine:.1%} accepted; "
        f"{found.impostor_pairs} impostor, mean {found.impostor_mean:.3f}, {found.accepted_impostor:.1%} accepted; "
        f"AUC {found.auc:.4f}"
    )
