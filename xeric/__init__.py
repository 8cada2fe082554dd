"""Adapt a language model to a text-generation task with a few hundred examples, and learn which way of adapting it is best."""

__version__ = "0.1.0"
