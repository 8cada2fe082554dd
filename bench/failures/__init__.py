"""Failures, each run for real: kills, full disks, folders that cannot be written, stopped workers, wrong clocks and others."""
