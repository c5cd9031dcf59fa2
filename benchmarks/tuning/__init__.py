"""The tuned float model beside the plain one, its peers and the limit of direct convolution."""
