"""Carrying a study out: its runs, tuning, costs, and what is known before it starts."""
