"""Running a model: the embedder, its session, and the memory of its weights."""
