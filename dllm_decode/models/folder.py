"""Files of a checkpoint folder. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dllm_decode.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a file of a checkpoint holds.

    Raises:
        ModelError: It cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} should hold a JSON object, got {type(content).__name__}.")
    return content
