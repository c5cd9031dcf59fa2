"""The device's own gallery: one SQLite file, with a memory-mapped matrix of templates beside it."""
