"""Rates: how often a key may ask, counted in this process."""

import math
import time
from typing import Final

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.errors import RateLimited, ValidationFailed


def checked_limit(limit: str | None) -> str | None:
    """The limit, when it is one.

    Raises:
        ValidationFailed: It cannot be read.
    """
    if limit is not None:
        try:
            parse(limit)
        except ValueError:
            raise ValidationFailed("rate_limit", "write it as 600/minute or 20 per second") from None
    return limit


class Rates:
    """Counts requests by key over moving windows; safe to share between threads.

    Every process counts for itself: with several, a key may ask that many times as often.
    """

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._limiter: Final = MovingWindowRateLimiter(MemoryStorage())

    def count(self, key_id: str, limit: str | None) -> None:
        """Count one request of a key.

        Args:
            key_id: Whose.
            limit: As `600/minute`; None is no limit.

        Raises:
            RateLimited: The limit is reached.
        """
        if limit is None:
            return
        item = parse(limit)
        if self._limiter.hit(item, key_id):
            return
        left_s = self._limiter.get_window_stats(item, key_id).reset_time - time.time()
        if left_s > item.get_expiry():  # the clock was set back: what was counted lies in the future
            self._limiter.clear(item, key_id)
            return
        raise RateLimited(str(item), max(1, math.ceil(left_s)))
