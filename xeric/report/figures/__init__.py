"""Figures of a study as SVG, drawn by matplotlib."""
