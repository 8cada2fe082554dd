"""Resampling, intervals and tests; nothing here knows what a metric or a study is."""
