"""Who is who in a gallery, how fast a gallery answers, and how fast a folder is embedded."""
