"""Batch embedding: a folder of photographs to one Parquet file, on this machine or a Ray cluster."""

from edge_sphereface.batch.folder import FolderResult, embed_folder
from edge_sphereface.batch.operator import OperatorConfig

__all__ = ["FolderResult", "OperatorConfig", "embed_folder"]
