"""Measurements: every figure in the documentation stands beside the command that gives it."""
