"""What the tests of analyses share with those of studies."""

from tests.study_fixtures import quick_garbage_collection

__all__ = ["quick_garbage_collection"]
