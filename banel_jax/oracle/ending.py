"""How a run ends: what is in flight was paid for, so its answers are awaited."""

import logging
from collections.abc import Callable

from banel_jax.oracle.schedule import Schedule

logger = logging.getLogger(__name__)


def tell(schedule: Schedule) -> None:
    if count := len(schedule.in_flight):
        logger.warning("waiting for %d evaluations that are in flight", count)


def drain(schedule: Schedule, given_up: Callable[[], object]) -> None:
    """Waits for what is in flight, where `stopping` says why nothing more is begun.

    What fails meanwhile has said where the answers in hand are kept, and is logged: something else
    ends the run already.
    """
    tell(schedule)
    while schedule.in_flight and not given_up():
        try:
            schedule.pump()
        except Exception as error:
            logger.warning("%s", error)
