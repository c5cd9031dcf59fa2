"""Files, cache and downloads; bounded reading of untrusted data."""
