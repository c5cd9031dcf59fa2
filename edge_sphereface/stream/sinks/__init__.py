"""Where events go: lines on a stream or in a file, a Python function."""
