"""Recognition in a frame: which faces to embed, and who they are."""
