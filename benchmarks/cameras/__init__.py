"""Several cameras in one process, and a process for each camera."""
