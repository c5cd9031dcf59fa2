"""From a frame to decided identities: what to embed, and what the embeddings say."""
