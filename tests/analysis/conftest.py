"""Tasks, a base and a finished study, as the tests of studies share them."""

from tests.study_fixtures import base, quick_garbage_collection, tasks, undisturbed

__all__ = ["base", "quick_garbage_collection", "tasks", "undisturbed"]
