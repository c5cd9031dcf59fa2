"""The Milvus collections of a gallery and their rows."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edge_sphereface.errors import CropError, GalleryFormatError
from edge_sphereface.gallery.vectors import template_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edge_sphereface.gallery.reembedding import Remade
    from edge_sphereface.types import Float32Array

    Row: TypeAlias = dict[str, Any]

BLOCK = 64
"""Identities per request."""
DESCRIPTION = ("metadata", "enrolled_at", "ignored")
"""Fields of an identity besides its key, name and template."""
YES, NO = "yes", "no"
"""Values of the field ``ignored``."""
_MOST_ROWS = 16_384
"""Largest number of rows that Milvus returns without an iterator."""
_ROWS = 1024
"""Rows per request. With crops they have 40 MB; Milvus accepts 64 MB."""

_MAX_TEXT = 65_535
_MAX_CROP = _MAX_TEXT // 4 * 3
_MAX_KEY = 64
_HNSW = {"M": 32, "efConstruction": 200}
_EF = 256
"""Candidates that a search of the HNSW graph examines."""


class Collections:
    """Three collections: identities with their templates, embeddings, and texts for everything else.

    Milvus can neither rename a collection nor change the size of its vectors. The first two collections therefore have
    random names, and the texts name the live pair: a gallery is rewritten by copying it and switching the pair.

    Args:
        client: client of pymilvus.
        prefix: prefix of the collections' names.
        exact: compare with every template instead of searching an HNSW graph.
        flush: flush after every change. Milvus Lite needs it: it scans unflushed rows in Python.
    """

    def __init__(self, client: Any, prefix: str, *, exact: bool, flush: bool) -> None:
        self._client = client
        self._prefix = prefix
        self._exact = exact
        self._flush = flush
        self._texts = f"{prefix}_texts"
        self._identities = self._embeddings = ""

    def exist(self) -> bool:
        """Whether the gallery exists."""
        return bool(self._client.has_collection(self._texts))

    def create(self, size: int, texts: Mapping[str, str]) -> None:
        """Create an empty gallery with embeddings of ``size`` components."""
        live = self._make(size)
        self._make_collection(self._texts, [("id", _MAX_KEY), ("value", _MAX_TEXT)], ("unused", 2))
        for key, value in {**texts, "live": live}.items():
            self.keep(key, value)

    def open(self) -> dict[str, str]:
        """Load the collections and return the texts. An incomplete copy, left by a crash, is dropped."""
        self._client.load_collection(self._texts)
        texts = self.texts()
        if "live" in texts:
            self._use(texts["live"])
            self._drop_others()
            for name in (self._identities, self._embeddings):
                self._client.load_collection(name)
        return texts

    def texts(self) -> dict[str, str]:
        """All texts of the gallery by key: everything except identities and embeddings."""
        rows = self._client.query(self._texts, filter="", output_fields=["id", "value"], limit=_MOST_ROWS)
        return {row["id"]: row["value"] for row in rows}

    def keep(self, key: str, value: str) -> None:
        """Store a text under a key."""
        self._client.upsert(self._texts, [{"id": key, "value": value, "unused": [0.0, 0.0]}])

    def count(self, condition: str = "") -> int:
        """Number of identities: of all, or of those that meet a condition."""
        return int(self._client.query(self._identities, filter=condition, output_fields=["count(*)"])[0]["count(*)"])

    def identities(self, fields: Sequence[str], keys: Sequence[str] | None = None) -> list[Row]:
        """Rows of identities sorted by name: all, or those of the given keys that exist."""
        wanted = [*{"id", "name", *fields}]
        if keys is None:
            rows = [row for block in self._blocks(self._identities, wanted) for row in block]
        else:
            rows = [
                dict(row)
                for start in range(0, len(keys), BLOCK)
                for row in self._client.get(
                    self._identities, ids=list(keys[start : start + BLOCK]), output_fields=wanted
                )
            ]
        return sorted(rows, key=lambda row: str(row["name"]))

    def embeddings(self, keys: Sequence[str], fields: Sequence[str]) -> dict[str, list[Row]]:
        """Rows of embeddings by their identity's key, in order of enrollment."""
        found: dict[str, list[Row]] = {}
        wanted = [*{"id", "identity", *fields}]
        for start in range(0, len(keys), BLOCK):
            names = ", ".join(f'"{key}"' for key in keys[start : start + BLOCK])  # keys are hexadecimal digits
            condition = f"identity in [{names}]"
            rows = self._client.query(self._embeddings, filter=condition, output_fields=wanted, limit=_MOST_ROWS)
            if len(rows) == _MOST_ROWS:
                rows = [row for block in self._blocks(self._embeddings, wanted, condition) for row in block]
            for row in rows:
                found.setdefault(row["identity"], []).append(dict(row))
        return {key: sorted(rows, key=lambda row: str(row["id"])) for key, rows in found.items()}

    def add(self, identities: Sequence[Row], embeddings: Sequence[Row]) -> None:
        """Add rows, embeddings first, so that no template exists without its embeddings."""
        self._client.insert(self._embeddings, list(embeddings))
        self._client.upsert(self._identities, list(identities))
        if self._flush:
            for name in (self._embeddings, self._identities):
                self._client.flush(name)

    def delete(self, keys: Sequence[str]) -> int:
        """Delete identities and their embeddings; returns the number of embeddings."""
        members = [row["id"] for rows in self.embeddings(keys, []).values() for row in rows]
        self._client.delete(self._identities, ids=list(keys))
        if members:
            self._client.delete(self._embeddings, ids=members)
        return len(members)

    def compact(self) -> None:
        """Ask Milvus to remove deleted rows from its files. Milvus decides when."""
        for name in (self._identities, self._embeddings):
            self._client.flush(name)
            self._client.compact(name)

    def update(self, identity: Row) -> None:
        """Replace the row of an identity as a whole."""
        self._client.upsert(self._identities, [identity])
        if self._flush:
            self._client.flush(self._identities)

    def nearest(self, probes: Float32Array, top: int) -> list[list[tuple[Row, float]]]:
        """Name and mark, and cosine similarity, of the identities most similar to each probe (P, D)."""
        parameters = {} if self._exact else {"params": {"ef": max(_EF, 4 * top)}}
        found = self._client.search(
            self._identities, data=list(probes), limit=top, output_fields=["name", "ignored"], search_params=parameters
        )
        return [[(dict(hit["entity"]), float(hit["distance"])) for hit in hits] for hits in found]

    def write_anew(
        self,
        size: int,
        made: Mapping[str, Remade] | None,
        texts: Mapping[str, str],
        *,
        lacking: Mapping[str, str] | None = None,
    ) -> None:
        """Copy everything into new collections, and switch to them.

        Args:
            size: number of components of an embedding.
            made: new embeddings by key; None keeps those that are stored.
            texts: texts to keep once the new collections are live.
            lacking: values of the fields that identities of an earlier version do not have.
        """
        given = dict(lacking or {})
        live = self._make(size)
        target = Collections(self._client, self._prefix, exact=self._exact, flush=self._flush)
        target._use(live)
        fields = [field for field in ("id", "name", *DESCRIPTION, "template") if field not in given]
        for rows in self._blocks(self._identities, fields):
            block = [{**given, **row} for row in rows]
            for row in block if made is not None else ():
                row["template"] = template_of(made[row["id"]].embeddings)  # type: ignore[index] # not None here
            self._client.insert(target._identities, block)
        if made is None:
            for block in self._blocks(self._embeddings, ["id", "identity", "crop", "embedding"]):
                self._client.insert(target._embeddings, block)
        for key, remade in (made or {}).items():
            members = self.embeddings([key], ["crop"])[key]
            new = [{**member, "embedding": row} for member, row in zip(members, remade.embeddings, strict=True)]
            for row, crop in zip(new, remade.crops, strict=True) if remade.crops is not None else ():
                row["crop"] = _crop_text(crop)
            self._client.insert(target._embeddings, new)
        target.compact()
        for key, value in {"live": live, **texts}.items():
            self.keep(key, value)
        self._use(live)
        self._drop_others()

    def _use(self, live: str) -> None:
        self._identities, self._embeddings = (f"{self._prefix}_{what}_{live}" for what in ("identities", "embeddings"))

    def _drop_others(self) -> None:
        ours = (f"{self._prefix}_identities_", f"{self._prefix}_embeddings_")
        for name in self._client.list_collections():
            if name.startswith(ours) and name not in (self._identities, self._embeddings):
                self._client.drop_collection(name)

    def _blocks(self, collection: str, fields: list[str], condition: str = "") -> Iterator[list[Row]]:
        iterator = self._client.query_iterator(collection, filter=condition, batch_size=_ROWS, output_fields=fields)
        try:
            while block := iterator.next():
                yield [dict(row) for row in block]
        finally:
            iterator.close()

    def _make(self, size: int) -> str:
        live = secrets.token_hex(4)
        texts = [("id", _MAX_KEY), ("name", _MAX_TEXT), ("metadata", _MAX_TEXT)]
        texts += [("enrolled_at", _MAX_KEY), ("ignored", _MAX_KEY)]
        self._make_collection(f"{self._prefix}_identities_{live}", texts, ("template", size), exact=self._exact)
        texts = [("id", _MAX_KEY), ("identity", _MAX_KEY), ("crop", _MAX_TEXT)]
        self._make_collection(f"{self._prefix}_embeddings_{live}", texts, ("embedding", size))
        return live

    def _make_collection(
        self, name: str, texts: list[tuple[str, int]], vector: tuple[str, int], *, exact: bool = True
    ) -> None:
        """Create a collection. Milvus requires a vector field in every collection."""
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for field, length in texts:
            schema.add_field(field, DataType.VARCHAR, max_length=length, is_primary=field == "id")
        schema.add_field(vector[0], DataType.FLOAT_VECTOR, dim=vector[1])
        index = self._client.prepare_index_params()
        kind = "FLAT" if exact else "HNSW"
        index.add_index(vector[0], index_type=kind, metric_type="IP", params={} if exact else _HNSW)
        self._client.create_collection(name, schema=schema, consistency_level="Strong")
        # An empty collection has nothing to index; pymilvus would sleep half a second before it asks.
        self._client.create_index(name, index, sync=False)
        self._client.load_collection(name)


def key_of(name: str) -> str:
    """Key of an identity: 64 hexadecimal digits computed from its name."""
    return hashlib.sha256(name.encode()).hexdigest()


def embedding_row(key: str, embedding: Float32Array, crop: bytes | None) -> Row:
    """Row of a new embedding of an identity. Its ID starts with the time of enrollment.

    Raises:
        CropError: the crop exceeds the longest text that Milvus can store.
    """
    return {
        "id": f"{time.time_ns():020d}-{secrets.token_hex(8)}",
        "identity": key,
        "embedding": embedding,
        "crop": "" if crop is None else _crop_text(crop),
    }


def _crop_text(crop: bytes) -> str:
    if len(crop) > _MAX_CROP:
        raise CropError(
            f"Expected a crop of at most {_MAX_CROP} bytes for Milvus, got {len(crop)}.", hint="keep no crops"
        )
    return base64.b64encode(crop).decode()


def vectors(rows: Sequence[Row], field: str) -> Float32Array:
    """Vectors (N, D) float32 of a field of N rows."""
    return np.array([row[field] for row in rows], dtype=np.float32)


def crop_of(row: Row) -> bytes | None:
    """PNG file that is stored with an embedding; None if its crop was not kept.

    Raises:
        GalleryFormatError: the stored value is not base64.
    """
    try:
        return base64.b64decode(row["crop"], validate=True) if row["crop"] else None
    except (TypeError, ValueError) as error:
        raise GalleryFormatError("The gallery is damaged: a crop is not base64.") from error
