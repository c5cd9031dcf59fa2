"""Files, the cache and downloads; reading data that is not trusted."""
