"""Compare the tuned float model with the plain one, its peers and the limit of direct convolution."""
