"""Where frames go with their faces: snapshots and recordings on the disk; the page is in ``view``."""
