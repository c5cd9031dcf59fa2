"""Galleries in Milvus: embedded in the process (Milvus Lite), or a cluster."""
