"""Code of the user's, named by text that comes from anywhere: imported only where it is allowed."""

import importlib
import traceback
from typing import Any


def imported(place: str) -> Any:
    """What `MODULE:NAME` names. Whoever calls it has made sure that the module is allowed.

    Raises:
        Exception: whatever the module raises.
    """
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def failure(error: BaseException) -> str:
    """What went wrong in the user's code, in a line."""
    return f"failed with {traceback.format_exception_only(error)[-1].strip()}"
