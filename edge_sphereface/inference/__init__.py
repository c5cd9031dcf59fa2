"""Model inference: the embedder, its onnxruntime session, and the memory of its weights."""
