"""The known states of one provider's accounts, by a hash of each key; only for this process."""

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Literal

from pydantic import SecretStr

from router.llm.standing import Known, Standing, newest

_MOST = 1_000  # accounts: tenants have their own


class Accounts:
    """The last known state of each account; the one with the oldest news is forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Known] = OrderedDict()

    def name_of(self, key: SecretStr) -> str:
        """Return a name for the key's account, which reveals nothing of the key."""
        return sha256(key.get_secret_value().encode("utf-8", "surrogatepass")).hexdigest()

    def known(self, key: SecretStr) -> Known | None:
        """Return the account's state, if it is known."""
        return self._known.get(self.name_of(key))

    def heard(
        self, key: SecretStr, standing: Standing, said: str, *, by: Literal["turn", "look"]
    ) -> None:
        """Store what a turn or a look has found out."""
        name = self.name_of(key)
        now = Known(standing, said, self._clock(), by)
        self._known[name] = newest(self._known.pop(name, None), now)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
