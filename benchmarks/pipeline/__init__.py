"""Measure the whole way from a photograph to names, stage by stage, beside other packages."""
