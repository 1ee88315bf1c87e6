"""Studies that are refused."""

from typing import Any

import pytest

from sweep.spec.study import check
from trainer.rules import ConfigError


def mistakes(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(values)
    return str(caught.value).splitlines()
