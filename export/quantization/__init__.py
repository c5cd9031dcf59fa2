"""Models of reduced precision that prove themselves harmless.

``crops`` gathers photographs, ``search`` finds the INT8 form that costs embeddings least (its tools: ``observe``,
``ranges``, ``qdq``, ``bias``), ``float16`` converts, ``embedded`` and ``proof`` hold the result against the float model
by a ``policy``, ``quantize`` is the whole way, ``report`` shows it.
"""
