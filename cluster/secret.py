"""Files that nobody else may read."""

import os
from pathlib import Path


def write(path: Path, text: str) -> Path:
    """Writes a file of mode 0600, whole or not at all; it is at no moment open to others."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_text(text, encoding="utf-8")
    return draft.replace(path)
