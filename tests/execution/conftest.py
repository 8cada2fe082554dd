"""Tasks, a base and a finished study, as the tests of studies share them."""

from tests.study_fixtures import base, tasks, undisturbed, where

__all__ = ["base", "tasks", "undisturbed", "where"]
