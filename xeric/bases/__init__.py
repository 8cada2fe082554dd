"""Pretrained models behind one protocol."""
