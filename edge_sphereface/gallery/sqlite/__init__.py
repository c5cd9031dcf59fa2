"""The SQLite backend: one database file and a memory-mapped matrix of templates beside it."""
