"""Writes the JSON Schemas of what commands print, from the records that they print.

``python -m scripts.json_schemas`` writes ``docs/schema``; a test fails where a file is not up to date. Descriptions
come from the records' docstrings.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from benchmarks.accuracy.evaluate import AccuracyReport
from benchmarks.alignment import AlignmentReport
from benchmarks.arm64.peers_report import PeersReport
from benchmarks.arm64.report import Arm64Report
from benchmarks.ascend.comparison import WrittenLedger
from benchmarks.ascend.ledger import AscendReport, ImportedReport
from benchmarks.cameras.commands import CamerasReport
from benchmarks.comparison import CompareReport
from benchmarks.day.commands import DayReport
from benchmarks.detection.measure import DetectionReport
from benchmarks.emulation.compare import EmulateReport
from benchmarks.enrollment.quality import QualityReport
from benchmarks.enrollment.templates import TemplatesReport
from benchmarks.gallery.identification import IdentificationReport
from benchmarks.gallery.scale import ScaleReport
from benchmarks.gallery.search import GallerySearchReport
from benchmarks.half_precision import HalfPrecisionReport
from benchmarks.http.commands import HttpReport
from benchmarks.latency import LatencyReport
from benchmarks.memory.measure import MemoryReport
from benchmarks.operators import OperatorReport
from benchmarks.pipeline.measure import PipelineReport
from benchmarks.plan import PlanReport
from benchmarks.quantization.commands import QuantizationResult
from benchmarks.report import WrittenReport
from benchmarks.rhythm import RhythmReport
from benchmarks.sessions import SessionsReport
from benchmarks.static_int8 import Int8Model
from benchmarks.strangers.days import StrangerQualityReport
from benchmarks.stream import commands as benchmarks_stream
from benchmarks.stream.commands import EconomyReport, SoakReport, VideoReport
from benchmarks.tuning.commands import TuningReport
from edge_sphereface.audit import AuditCheck
from edge_sphereface.batch.folder import FolderResult
from edge_sphereface.cameras.camera import GroupHealth
from edge_sphereface.cli.audit_command import AuditReport
from edge_sphereface.cli.completion import CompletionScript
from edge_sphereface.cli.enroll_command import EnrollReport
from edge_sphereface.cli.expire_command import ExpireReport
from edge_sphereface.cli.face_commands import AlignReport, DetectReport, EmbedReport, VerifyReport
from edge_sphereface.cli.fetch_model_command import FetchModelReport
from edge_sphereface.cli.gallery_commands import (
    CheckReport,
    ExportReport,
    ImportReport,
    ListReport,
    NewKeyReport,
    RebuildReport,
    RemoveReport,
)
from edge_sphereface.cli.gallery_report_command import GalleryReport
from edge_sphereface.cli.identify_command import IdentifyReport
from edge_sphereface.cli.ignore_command import IgnoreReport
from edge_sphereface.cli.liveness_calibration_command import LivenessCalibrationReport
from edge_sphereface.cli.liveness_command import LivenessReport
from edge_sphereface.cli.model_commands import FetchReport, InfoReport, SeparationReport, VerifyModelReport
from edge_sphereface.cli.remove_command import RemovedReport
from edge_sphereface.cli.runner import ErrorReport
from edge_sphereface.cli.serve_command import ServeReport
from edge_sphereface.cli.service_command import ServiceFile
from edge_sphereface.cli.strangers_command import (
    ForgottenStrangersReport,
    NamedStrangerReport,
    StrangerReport,
    StrangersReport,
)
from edge_sphereface.cli.threshold_command import ThresholdReport, TrackThresholdReport
from edge_sphereface.cli.tokens_command import AddedToken, RemovedTokens, TokensReport
from edge_sphereface.cli.tune_command import TuneReport
from edge_sphereface.device.report import DeviceReport
from edge_sphereface.doctor.report import Report
from edge_sphereface.json_output import json_form
from edge_sphereface.kit.check import KitCheck
from edge_sphereface.stream.events import AnyEvent
from edge_sphereface.stream.statistics import StreamHealth
from export import verify_command
from export.bundle import Bundle
from export.convert_command import ConvertReport
from export.demo.report import DemoReport
from export.inspection import CheckpointReport, OnnxReport
from export.kit.commands import KitReport
from export.liveness.convert import LivenessConversion
from export.ncnn_command import NcnnReport
from export.quantization.commands import FloatProofReport, QuantizeReport
from export.rewrite.commands import RewriteReport
from export.tuning import commands as export_tuning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schema"

OPENAPI = FOLDER / "openapi.json"
"""Written by :mod:`scripts.openapi`."""

RECORDS: list[tuple[str, Any]] = [
    ("error", ErrorReport),
    ("detect", DetectReport),
    ("liveness", LivenessReport),
    ("align", AlignReport),
    ("embed", EmbedReport),
    ("verify", VerifyReport),
    ("enroll", EnrollReport),
    ("identify", IdentifyReport),
    ("ignore", IgnoreReport),
    ("gallery list", ListReport),
    ("gallery remove", RemoveReport),
    ("gallery export", ExportReport),
    ("gallery import", ImportReport),
    ("gallery rebuild", RebuildReport),
    ("gallery check", CheckReport),
    ("gallery report", GalleryReport),
    ("gallery new-key", NewKeyReport),
    ("calibrate-liveness", LivenessCalibrationReport),
    ("calibrate-threshold", ThresholdReport | TrackThresholdReport),
    ("embed-folder", FolderResult),
    ("info", InfoReport),
    ("verify-model", SeparationReport | VerifyModelReport),
    ("fetch-model", FetchModelReport),
    ("fetch-detector", FetchReport),
    ("doctor", Report),
    ("tune", TuneReport),
    ("report-device", DeviceReport),
    ("check-outputs", KitCheck),
    ("serve", ServeReport),
    ("tokens add", AddedToken),
    ("tokens list", TokensReport),
    ("tokens remove", RemovedTokens),
    ("completion", CompletionScript),
    ("service", ServiceFile),
    ("watch", AnyEvent),
    ("health", StreamHealth),
    ("strangers list", StrangersReport),
    ("strangers show", StrangerReport),
    ("strangers name", NamedStrangerReport),
    ("strangers ignore", NamedStrangerReport),
    ("strangers forget", ForgottenStrangersReport),
    ("expire", ExpireReport),
    ("remove", RemovedReport),
    ("audit check", AuditCheck),
    ("audit show", AuditReport),
    ("health-cameras", GroupHealth),
    ("export fetch", FetchReport),
    ("export inspect", CheckpointReport | OnnxReport),
    ("export convert", ConvertReport),
    ("export rewrite", RewriteReport),
    ("export tune", export_tuning.TuneReport),
    ("export quantize", QuantizeReport),
    ("export ncnn", NcnnReport),
    ("export liveness", LivenessConversion),
    ("export verify", verify_command.VerifyReport | FloatProofReport),
    ("export model", Bundle),
    ("export kit", KitReport),
    ("export demo", DemoReport),
    ("benchmarks latency", LatencyReport),
    ("benchmarks quantization", QuantizationResult),
    ("benchmarks half-precision", HalfPrecisionReport),
    ("benchmarks tuning", TuningReport),
    ("benchmarks operators", OperatorReport),
    ("benchmarks sessions", SessionsReport),
    ("benchmarks memory", MemoryReport),
    ("benchmarks http", HttpReport),
    ("benchmarks rhythm", RhythmReport),
    ("benchmarks accuracy", AccuracyReport),
    ("benchmarks alignment", AlignmentReport),
    ("benchmarks detection", DetectionReport),
    ("benchmarks pipeline", PipelineReport),
    ("benchmarks identification", IdentificationReport),
    ("benchmarks quality", QualityReport),
    ("benchmarks templates", TemplatesReport),
    ("benchmarks gallery-search", GallerySearchReport),
    ("benchmarks embed-folder", ScaleReport),
    ("benchmarks stream video", VideoReport),
    ("benchmarks stream economy", EconomyReport),
    ("benchmarks strangers", StrangerQualityReport),
    ("benchmarks stream strangers", benchmarks_stream.StrangersReport),
    ("benchmarks stream soak", SoakReport),
    ("benchmarks cameras", CamerasReport),
    ("benchmarks day", DayReport),
    ("benchmarks emulate", EmulateReport),
    ("benchmarks arm64", Arm64Report),
    ("benchmarks arm64 peers", PeersReport),
    ("benchmarks ascend run", AscendReport),
    ("benchmarks ascend import", ImportedReport),
    ("benchmarks ascend compare", WrittenLedger),
    ("benchmarks plan", PlanReport),
    ("benchmarks compare", CompareReport),
    ("benchmarks report", WrittenReport),
    ("benchmarks todays-int8", Int8Model),
]
"""What is printed, and its type: words of a command of ``edge-sphereface``, or ``export`` and a command of that; of
``watch`` one event, and the answer of ``/health``."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_INLINE = "inline"
_ATTRIBUTE = re.compile(r"^(\w+): (.*?)(?=^\w+: |\Z)", re.MULTILINE | re.DOTALL)


def schema_path(name: str) -> Path:
    """The file that holds the schema of that name."""
    return FOLDER / f"{name.replace(' ', '-')}.json"


@cache
def schema_of(name: str) -> dict[str, Any]:
    """The schema of that name in :data:`RECORDS`.

    Raises:
        KeyError: there is none.
    """
    record = dict(RECORDS)[name]
    _resolve(record, set())
    schema = TypeAdapter(record).json_schema(schema_generator=_RecordSchema, mode="serialization")
    definitions = schema.get("$defs", {})
    for part in _objects(schema):
        _place_inline(part, definitions)
    used = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    schema["$defs"] = {title: part for title, part in definitions.items() if title in used}
    if not schema["$defs"]:
        del schema["$defs"]
    return {"$schema": _DIALECT, **schema}


def definitions_of(records: Any, reference: str) -> dict[str, Any]:
    """The schemas of several records and of those in them, by name.

    Args:
        records: a union of two records or more.
        reference: form of a reference, with ``{model}`` for the name.
    """
    _resolve(records, set())
    schema = TypeAdapter(records).json_schema(
        schema_generator=_RecordSchema, mode="serialization", ref_template=reference
    )
    definitions: dict[str, Any] = schema["$defs"]
    for part in _objects(definitions):
        _place_inline(part, definitions)
    return definitions


class _RecordSchema(GenerateJsonSchema):
    """The schema of records as :mod:`edge_sphereface.json_output` writes them."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- the signature is pydantic's
        return False

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        found = super().dataclass_schema(schema)
        record = schema["cls"]
        summary, attributes = _documented(record)
        found["description"] = summary
        parts, found["properties"] = found["properties"], {}
        omitted: set[str] = set()
        for field in fields(record):
            part, form = parts[field.name], json_form(field.metadata)
            if form.null_unless_finite:
                part = {"anyOf": [part, {"type": "null"}]}
            if form.inline:
                part = {**part, _INLINE: True}
            part.pop("default", None)
            if form.omit_none:
                part = _not_null(part)
                omitted.add(form.name or field.name)
            found["properties"][form.name or field.name] = {"description": attributes[field.name], **part}
        found["required"] = [name for name in found["properties"] if name not in omitted]
        return found


def _not_null(part: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of a value that is not null."""
    options = [option for option in part["anyOf"] if option != {"type": "null"}]
    rest = {name: value for name, value in part.items() if name != "anyOf"}
    return {**rest, **options[0]} if len(options) == 1 else {**rest, "anyOf": options}


def _documented(record: type) -> tuple[str, dict[str, str]]:
    """What a record's docstring says of it, and of each of its fields, those of its bases included."""
    attributes: dict[str, str] = {}
    for base in reversed(record.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        _, _, listed = text.partition("\n\nAttributes:\n")
        for name, words in _ATTRIBUTE.findall(inspect.cleandoc(listed.split("\n\n")[0])):
            attributes[name] = _plain(words)
    summary = inspect.cleandoc(record.__doc__ or "").partition("\n\nAttributes:\n")[0]
    return "\n\n".join(map(_plain, summary.split("\n\n"))), attributes


def _plain(words: str) -> str:
    """A sentence in Markdown, on one line, in the words of JSON."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(words.split())).replace("``", "`")
    text = re.sub(r"\bNone\b", "null", text)
    return text[:1].upper() + text[1:]


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object inside a schema, the innermost first."""
    if isinstance(schema, dict):
        for part in schema.values():
            yield from _objects(part)
        if "properties" in schema:
            yield schema
    elif isinstance(schema, list):
        for part in schema:
            yield from _objects(part)


def _place_inline(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Put the fields of records that are written inline in the place of the fields that hold them."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, part in schema["properties"].items():
        if not part.pop(_INLINE, False):
            properties[name] = part
            required += [name] if name in schema["required"] else []
            continue
        options = part.get("anyOf", [part])
        inner = next(definitions[one["$ref"].rpartition("/")[2]] for one in options if "$ref" in one)
        _place_inline(inner, definitions)
        properties.update(inner["properties"])
        required += inner["required"] if "$ref" in part else []
    schema["properties"], schema["required"] = properties, required


def _resolve(kind: Any, seen: set[Any]) -> None:
    """Let the annotations of records be read: what their modules import for types alone is imported."""
    if isinstance(kind, type) and is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        for base in kind.__mro__:
            _import_types(base.__module__)
        for hint in get_type_hints(kind, include_extras=True).values():
            _resolve(hint, seen)
    for part in get_args(kind):
        _resolve(part, seen)


def _import_types(name: str) -> None:
    """Import what a module of this repository imports under ``if TYPE_CHECKING``."""
    if name.partition(".")[0] not in ("edge_sphereface", "export", "benchmarks"):
        return
    for statement in _type_imports(name):
        # A name that another module has for types alone, or that is made of one, is not needed by a record.
        with suppress(ImportError, NameError):
            exec(statement, vars(sys.modules[name]))  # noqa: S102 -- our own imports


@cache
def _type_imports(name: str) -> list[CodeType]:
    """The imports under ``if TYPE_CHECKING`` of a module, compiled, one name each."""
    return [
        compile(ast.Module([part], []), name, "exec")
        for block in ast.parse(inspect.getsource(sys.modules[name])).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        for part in _single_names(node)
    ]


def _single_names(node: ast.stmt) -> list[ast.stmt]:
    """A statement as statements that import one name each."""
    if isinstance(node, ast.ImportFrom):
        return [
            ast.copy_location(ast.ImportFrom(module=node.module, names=[name], level=node.level), node)
            for name in node.names
        ]
    return [node]


def main() -> None:
    """Write every schema, and remove files that are of none."""
    FOLDER.mkdir(exist_ok=True)
    written = set()
    for name, _ in RECORDS:
        path = schema_path(name)
        path.write_text(text_of(name), encoding="utf-8")
        written.add(path)
    for path in set(FOLDER.glob("*.json")) - written - {OPENAPI}:
        path.unlink()


def text_of(name: str) -> str:
    """The content of the file of a schema."""
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
