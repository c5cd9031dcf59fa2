"""A day in a house, simulated end to end: who was named, who stayed silent, who came again, and what is left of it."""
