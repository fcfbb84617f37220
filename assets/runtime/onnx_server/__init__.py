"""A small OpenAI-compatible server for small ONNX language models.

For smoke tests and small models on any machine with a CPU. It is not the serving engine for production models:
one process, no batching, no cache of keys and values. Needs Python 3.8 or newer, numpy and onnxruntime.
"""

__version__ = "1.0.0"
