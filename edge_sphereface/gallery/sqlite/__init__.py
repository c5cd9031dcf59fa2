"""The SQLite backend: one database file, and next to it a memory-mapped matrix of templates."""
