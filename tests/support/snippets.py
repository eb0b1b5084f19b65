"""Reads the fenced snippets of a Markdown page and runs them in order, as a reader would.

A fence says in its info string what it is: the language, then what is expected of it.

    ```python run      runs in the page's one namespace; `# -> text` comments are what it prints, line by line
    ```python wrong    runs, or raises the error named after it: ```python wrong ConfigError
    ```yaml run        a strategy that validates; a first line `# name.yaml` saves it for the snippets below
    ```yaml wrong      a strategy that is refused
    ```shell run       lines of `dllm-decode`, run in the page's folder; `wrong` ones end with exit code 2
    ```... slow        as `run`, in the slow tests only
    ```... shown       is not run: it would install, publish, or need hardware or a file that is not here
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTATIONS = {
    "python": ("run", "wrong", "slow", "shown", "signature"),
    "yaml": ("run", "wrong", "shown"),
    "shell": ("run", "wrong", "slow", "shown"),
}


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fence."""

    page: Path
    line: int
    """Of its first line of text, 1-based."""
    language: str
    expected: str
    error: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """Return the fences of a page in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        words = [*match["info"].split(), "", "", ""]
        line = text[: match.start("text")].count("\n") + 1
        found.append(Snippet(page, line, words[0], words[1], words[2], match["text"]))
    return found


@dataclass
class Session:
    """What a reader has at hand who tries a page's snippets one after another."""

    folder: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "snippets"})

    def run(self, snippet: Snippet) -> None:
        """Run a snippet and hold it to what its fence says; problems are AssertionErrors that name page and line."""
        with contextlib.chdir(self.folder):
            {"python": self._python, "yaml": self._yaml, "shell": self._shell}[snippet.language](snippet)

    def _python(self, snippet: Snippet) -> None:
        # As many lines before it as on the page, so that a traceback points there.
        code = compile("\n" * (snippet.line - 1) + snippet.text, str(snippet.page), "exec", dont_inherit=True)
        printed = io.StringIO()
        raised = None
        with contextlib.redirect_stdout(printed):
            try:
                exec(code, self.namespace)
            except Exception as error:
                if not snippet.error:
                    error.add_note(f"in the snippet at {snippet}")
                    raise
                raised = error
        if snippet.error:
            assert type(raised).__name__ == snippet.error, (
                f"{snippet}: {snippet.error} was promised, got {raised!r}"
            )
        promised = re.findall(r"# -> (.*)$", snippet.text, re.MULTILINE)
        if promised:
            said = printed.getvalue().splitlines()
            assert said == promised, f"{snippet}: prints {said}, the page says {promised}"

    def _yaml(self, snippet: Snippet) -> None:
        name = re.match(r"# (\S+\.yaml)", snippet.text)
        if name:
            Path(name[1]).write_text(snippet.text, encoding="utf-8")
        try:
            Strategy.from_yaml(snippet.text, origin=str(snippet)).check()
        except ConfigError:
            if snippet.expected != "wrong":
                raise
        else:
            assert snippet.expected != "wrong", f"{snippet}: validates, but the page calls it wrong"

    def _shell(self, snippet: Snippet) -> None:
        for line in snippet.text.splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "dllm-decode", (
                f"{snippet}: {line!r} is no dllm-decode line; mark the fence `shown`"
            )
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = main(words[1:])
            wanted = 2 if snippet.expected == "wrong" else 0
            assert code == wanted, f"{snippet}: {line!r} ended with {code}, not {wanted}:\n{said.getvalue()}"
