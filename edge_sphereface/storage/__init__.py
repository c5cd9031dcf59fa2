"""Files, cache and downloads, and bounded reading of untrusted data."""
