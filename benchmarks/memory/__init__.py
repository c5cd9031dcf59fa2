"""Resident memory by cause: of embedding alone, and of the whole command ``watch``."""
