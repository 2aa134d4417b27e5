"""What was worked out before, remembered within a bound."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """Values by key, those asked for last, up to a sum of sizes."""

    def __init__(self, size: int):
        """Make an empty one.

        Args:
            size: the most that all values together may have; a larger value is not kept at all.
        """
        self._size = size
        self._used = 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, or None; also for a key that has no hash, since it cannot have been kept."""
        try:
            known = self._values.get(key)
        except TypeError:
            return None
        if known is None:
            return None
        self._values.move_to_end(key)
        return known[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep a value; those not asked for longest make room. A key without a hash is passed over."""
        try:
            old = self._values.pop(key, None)
        except TypeError:
            return
        self._used -= old[1] if old else 0
        if size > self._size:
            return
        self._values[key] = value, size
        self._used += size
        while self._used > self._size:
            self._used -= self._values.popitem(last=False)[1][1]
