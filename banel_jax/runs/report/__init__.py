"""A run as a person sees it: a page, a screen of text, a file of numbers, from its folder alone."""

from banel_jax.runs.report.page import page
from banel_jax.runs.report.refresher import Refresher, show
from banel_jax.runs.report.status import status
from banel_jax.runs.report.view import Reader, RunView

__all__ = ["Reader", "Refresher", "RunView", "page", "show", "status"]
