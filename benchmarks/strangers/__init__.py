"""Quality of the groups of strangers."""
