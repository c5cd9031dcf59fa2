"""Galleries in Milvus: embedded (Milvus Lite) or a cluster."""

MILVUS_LITE = "milvus:"
"""Prefix of a location on this machine."""
