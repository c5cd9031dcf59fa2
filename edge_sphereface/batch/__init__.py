"""Embedding more photographs than a camera ever sees: a folder to one Parquet file, on this machine or on a cluster."""

from edge_sphereface.batch.folder import FolderResult, embed_folder
from edge_sphereface.batch.operator import OperatorConfig

__all__ = ["FolderResult", "OperatorConfig", "embed_folder"]
