"""The native path: MindSpore on an Ascend NPU, its exported MINDIR, and onnxruntime's CANN provider.

``probe`` says what is here, ``native`` runs it (on the CPU where there is no NPU, labelled as such), ``imported``
reads runs that were recorded elsewhere, ``comparison_table`` puts them beside one another without mixing measured and
published figures.
"""
