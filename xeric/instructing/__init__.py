"""Searching a task's definition and demonstrations for a base that is used as it is."""
