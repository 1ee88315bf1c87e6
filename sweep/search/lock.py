"""PostgreSQL's lock on a study: one driver at a time, wherever its workspace is.

The lock belongs to the one connection over which its holder writes, so that nothing is written
without it: it ends with that connection, and is taken again before a new one is used.
"""

import time
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import Engine
from sqlalchemy.event import listen

from sweep.workspace import StudyInUse

POSTGRESQL = "postgresql"
TAKE = "SELECT pg_try_advisory_lock(hashtext('sweep'), hashtext(%s))"

ABANDONED = {
    "tcp_keepalives_idle": 15,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""After how long PostgreSQL gives up a driver whose machine is gone: seconds, seconds, probes; and
milliseconds where an answer was on its way."""

GRACE_SECONDS = 40.0
"""How long a driver that lost its connection takes the holder of the lock for its own old self."""


class Lock:
    """The lock on the study of that name."""

    def __init__(self, study: str) -> None:
        self._study = study
        self._had = False
        self._refused: float | None = None

    def guard(self, engine: Engine) -> None:
        """From now on each connection of the engine, one at a time, takes the lock first.

        Connecting then raises StudyInUse when another driver holds the study, and
        StorageInternalError as long as that may be this one's own lost connection.
        """
        engine.dispose()
        listen(engine, "connect", self._take)

    def _take(self, connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for name, value in ABANDONED.items():
                cursor.execute(f"SET {name} = {value}")
            cursor.execute(TAKE, (self._study,))
            (free,) = cursor.fetchone()
        connection.commit()
        if free:
            self._had, self._refused = True, None
            return
        now = time.monotonic()
        self._refused = self._refused or now
        if self._had and now - self._refused < GRACE_SECONDS:
            raise StorageInternalError("its lock is held, by a lost connection or another driver")
        raise StudyInUse(f"study {self._study!r} is in use by another driver on its database")
