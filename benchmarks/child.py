"""Calls a function in a Python process of its own: nothing is warm, and nothing is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

CALL = """
import importlib, json, sys
module, function, arguments = sys.argv[1:]
found = getattr(importlib.import_module(module), function)(*json.loads(arguments))
print("\\n" + json.dumps(found), flush=True)
"""


class Child:
    """A call under way; its arguments and what it returns are plain values, as in JSON."""

    def __init__(self, module: str, function: str, *arguments: Any, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CALL, module, function, json.dumps(arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def result(self) -> Any:
        """Waits for the end.

        Raises:
            RuntimeError: the call failed; with the end of what it said.
        """
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"{self._process.args!r} failed:\n{errors[-3000:]}")
        return json.loads(output.splitlines()[-1])


def call(module: str, function: str, *arguments: Any, cwd: Path) -> Any:
    """Calls it and waits for what it returns."""
    return Child(module, function, *arguments, cwd=cwd).result()
