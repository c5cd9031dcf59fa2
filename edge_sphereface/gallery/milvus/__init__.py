"""Galleries in Milvus: embedded (Milvus Lite) or a cluster."""

MILVUS_LITE = "milvus:"
"""Prefix of the location of a Milvus Lite gallery."""
