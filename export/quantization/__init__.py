"""Models of reduced precision, written only if a proof shows that accuracy is preserved.

``crops`` reads photographs. ``search`` finds the INT8 form that changes embeddings least, by means of
``activation_statistics``, ``ranges``, ``qdq``, ``prefix`` and ``bias``. ``float16`` converts for GPUs, ``float16_arm``
for Arm processors. ``paired_embeddings`` and ``proof`` compare the result with the float model, judged by a ``policy``.
``quantize`` runs all steps, and ``report`` formats the result.
"""
