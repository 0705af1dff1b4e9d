"""Decides which instance's gap is repaired next. Pure: the clock is given, in seconds.

Instances that have just reconnected come first, then the others in the order in which they were
added. Only a few instances of one server are repaired at once, and only one until the server has
responded. When a server fails, all its instances are put off, longer each time; then one of them
tries again, and the others follow if that succeeds.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_OF_ONE_SERVER = 4  # repairs at once


@dataclass(slots=True, eq=False)
class Gap:
    """One instance's gap; `server` is empty until it is known."""

    instance: str
    server: str = ""
    is_first: bool = False  # it has just reconnected
    is_taken: bool = False
    is_replaced: bool = False  # by another entry of the same instance
    tries: int = 0
    successes_seen: int = 0


@dataclass(slots=True, eq=False)
class _Server:
    put_off: deque[Gap] = field(default_factory=deque)
    failed: deque[Gap] = field(default_factory=deque)  # after `put_off`; maybe only these fail
    gaps: int = 0  # known to be on this server
    running: int = 0
    failures: int = 0  # in a row
    free_at: float = 0.0
    successes: int = 0
    has_answered: bool = False  # since its last failure
    is_told: set[str] = field(default_factory=set)

    def room(self) -> int:
        return (_OF_ONE_SERVER if self.has_answered else 1) - self.running


def server_of(url: str) -> str:
    """Return the host and port of a URL, which identify its server."""
    return urlsplit(url).netloc.lower() or url


class GapQueue:
    """The gaps that wait or are being repaired.

    `delays`: how long a server is put off after its first failure, its second, and so on.
    """

    def __init__(self, delays: Sequence[float]) -> None:
        self._delays = tuple(delays)
        self._known: dict[str, Gap] = {}
        self._ready: deque[Gap] = deque()
        self._servers: dict[str, _Server] = {}
        self._alarms: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """How many wait or are being repaired."""
        return len(self._known)

    def add(self, instance: str, url: str = "", *, first: bool = False) -> None:
        """Queue a gap; if it is already being repaired, nothing changes."""
        known = self._known.get(instance)
        if known is not None and (known.is_taken or known.is_first or not first):
            return
        if known is not None:
            known.is_replaced = True
            self._forget(known)
        gap = self._known[instance] = Gap(instance, is_first=first)
        if url:
            self._count(gap, url)
        if first:
            self._ready.appendleft(gap)
        else:
            self._ready.append(gap)

    def take(self, now: float) -> Gap | None:
        """Return the gap to repair now, if there is one."""
        self._wake_servers(now)
        while self._ready:
            gap = self._ready.popleft()
            if gap.is_replaced:
                continue
            gap.is_taken = True
            if not gap.server or self._enter(gap, now):
                return gap
        return None

    def place(self, gap: Gap, url: str, now: float) -> bool:
        """Set the server of a taken gap, if it was unknown. False: this puts the gap off."""
        if gap.server:
            return True
        self._count(gap, url)
        return self._enter(gap, now)

    def seconds_to_next(self, now: float) -> float | None:
        """Return the seconds until the next server that was put off may be tried, or None."""
        return max(0.0, self._alarms[0][0] - now) if self._alarms else None

    def done(self, gap: Gap) -> None:
        """Note that the gap is repaired."""
        if (server := self._leave(gap)) is not None:
            server.successes += 1
        self._answered(gap)
        self._forget(gap)

    def refused(self, gap: Gap) -> bool:
        """Note that the server refused the repair for good. Return whether that is new."""
        self._leave(gap)
        self._answered(gap)
        is_news = self._is_news(gap, "refused")
        self._forget(gap)
        return is_news

    def failed(self, gap: Gap, now: float) -> bool:
        """Note that the server is away: all its instances wait. Return whether that is new.

        An instance that keeps failing while others succeed is given up.
        """
        server = self._leave(gap)
        assert server is not None  # noqa: S101 - the repair has asked it
        is_news = self._is_news(gap, "away")
        if server.successes > gap.successes_seen:
            gap.tries += 1
            gap.successes_seen = server.successes
        server.has_answered = False
        if server.free_at <= now:
            delay = self._delays[min(server.failures, len(self._delays) - 1)]
            server.failures += 1
            server.free_at = now + delay
            heapq.heappush(self._alarms, (server.free_at, gap.server))
        if gap.tries > len(self._delays):
            self._forget(gap)
        else:
            gap.is_taken = gap.is_first = False
            server.failed.append(gap)
        return is_news

    def put_back(self, gap: Gap, *, to_the_end: bool = False) -> bool:
        """Queue the gap again, for a reason that is not its server's fault.

        `to_the_end`: after all others. After several times it is given up, which returns False.
        """
        self._leave(gap)
        gap.is_taken = gap.is_first = False
        if not to_the_end:
            self._ready.appendleft(gap)
            return True
        gap.tries += 1
        if gap.tries > len(self._delays):
            self.drop(gap)
            return False
        self._let_in_where_idle(gap.server)
        self._ready.append(gap)
        return True

    def drop(self, gap: Gap) -> None:
        """Forget the gap: the instance no longer exists."""
        if gap.is_taken:
            self._leave(gap)
        self._let_in_where_idle(gap.server)
        self._forget(gap)

    def _count(self, gap: Gap, url: str) -> None:
        gap.server = server_of(url)
        self._servers.setdefault(gap.server, _Server()).gaps += 1

    def _enter(self, gap: Gap, now: float) -> bool:
        server = self._servers[gap.server]
        is_put_off = server.free_at > now and not gap.is_first
        if server.room() > 0 and not is_put_off:
            server.running += 1
            return True
        gap.is_taken = gap.is_first = False
        server.put_off.append(gap)
        return False

    def _leave(self, gap: Gap) -> _Server | None:
        server = self._servers.get(gap.server)
        if server is not None:
            server.running -= 1
        return server

    def _answered(self, gap: Gap) -> None:
        server = self._servers.get(gap.server)
        if server is None:
            return
        server.failures, server.free_at, server.has_answered = 0, 0.0, True
        server.is_told.discard("away")
        self._let_in(server, server.room())

    def _let_in(self, server: _Server, most: int) -> None:
        """Let up to `most` of the server's gaps that were put off go next."""
        while most > 0 and (waiting := server.put_off or server.failed):
            gap = waiting.popleft()
            if not gap.is_replaced:
                self._ready.appendleft(gap)
                most -= 1

    def _is_news(self, gap: Gap, what: str) -> bool:
        server = self._servers.get(gap.server)
        if server is None:
            return True
        is_news = what not in server.is_told
        server.is_told.add(what)
        return is_news

    def _let_in_where_idle(self, name: str) -> None:
        server = self._servers.get(name)
        if server is not None and server.running == 0:
            self._let_in(server, 1)

    def _wake_servers(self, now: float) -> None:
        """For each server whose wait is over, let one instance try again."""
        while self._alarms and self._alarms[0][0] <= now:
            _, name = heapq.heappop(self._alarms)
            self._let_in_where_idle(name)

    def _forget(self, gap: Gap) -> None:
        del self._known[gap.instance]
        server = self._servers.get(gap.server)
        if server is not None:
            server.gaps -= 1
            if not server.gaps:
                del self._servers[gap.server]
