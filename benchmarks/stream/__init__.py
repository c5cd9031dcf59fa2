"""Live recognition measured: on made video of which everything is known, and over many frames."""
