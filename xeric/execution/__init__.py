"""Carrying a study out: its runs, its tuning, and estimates before it starts."""
