"""Where events and frames go."""
