"""Convert MiniFASNet, a network that tells a live face from a picture of one, to ONNX.

``network`` reads the structure from the parameters of a file, ``graph`` builds the ONNX graph, ``reference`` computes
the same network in numpy for the proof, ``convert`` brings them together, and ``commands`` is the command.

Source of the network and its weights: minivision-ai/Silent-Face-Anti-Spoofing, Apache-2.0.
"""
