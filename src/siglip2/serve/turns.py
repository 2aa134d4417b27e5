"""Turns at what there is little of, shared so that no caller waits for what another has begun."""

import asyncio
from collections import Counter


class Shares:
    """So much of something, of which nobody has more than is left for others: half at most."""

    def __init__(self, total: int):
        """Nobody has any of the `total`."""
        self._free = total
        self._callers: Counter[str] = Counter()

    def of(self, caller: str) -> int:
        """What a caller has."""
        return self._callers[caller]

    def may(self, caller: str) -> bool:
        """Whether a caller may have one more."""
        return self._callers[caller] < self._free

    def change(self, caller: str, number: int) -> None:
        """A caller has so many more, or less."""
        self._free -= number
        _add(self._callers, caller, number)


class Turns:
    """So many turns at a time, of which each caller has a fair share.

    A caller gets no further turn while it has as many as are left: the first may have half of all, the next a
    quarter, and whoever comes finds one free. Of those who wait, who has the fewest goes first.
    """

    def __init__(self, total: int, per_host: int):
        """Nobody has a turn.

        Args:
            total: of all callers.
            per_host: of these at one host; whoever waits for a host takes no turn from others meanwhile.
        """
        self._callers = Shares(total)
        self._per_host = per_host
        self._hosts: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[str, str]] = {}

    async def take(self, caller: str, host: str) -> None:
        """Wait for a turn, which has to be given back."""
        # Nobody who waits could have this one: turns that are given back are handed on at once.
        if self._may(caller, host):
            self._hand(caller, host, 1)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = (caller, host)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was handed over, and at the same time is wanted no more
                self.give_back(caller, host)
            raise
        finally:
            self._waiting.pop(turn, None)

    def give_back(self, caller: str, host: str) -> None:
        """The turn is over: hand it on."""
        self._hand(caller, host, -1)
        while True:
            ready = [
                (self._callers.of(whose), turn)
                for turn, (whose, where) in self._waiting.items()
                if not turn.done() and self._may(whose, where)
            ]
            if not ready:
                return
            _, turn = min(ready, key=lambda each: each[0])  # the first of equals: who came first
            self._hand(*self._waiting[turn], 1)
            turn.set_result(None)

    def _may(self, caller: str, host: str) -> bool:
        return self._callers.may(caller) and self._hosts[host] < self._per_host

    def _hand(self, caller: str, host: str, number: int) -> None:
        self._callers.change(caller, number)
        _add(self._hosts, host, number)


def _add(counter: Counter[str], name: str, number: int) -> None:
    """Count; a name with nothing left is forgotten: names come from strangers, and would add up."""
    counter[name] += number
    if not counter[name]:
        del counter[name]
