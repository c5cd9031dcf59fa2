"""Load of the HTTP interface: what those admitted wait, what is refused, and whether memory stays flat."""
