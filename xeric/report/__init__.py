"""A study's report: Markdown, tables, figures and one page, from records alone; no model, no torch.

:func:`write_report` is the way in; each format has a module of its own.
"""

from __future__ import annotations

from xeric.report.writing import Written, write_report

__all__ = ["Written", "write_report"]
