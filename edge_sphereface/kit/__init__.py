"""The proof kit: what a device needs to show that it runs a network as it should, and what comes back from it."""
