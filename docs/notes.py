"""What the code does not say of a hook: when its parts are called, what they may do, and what they must not.

Every hook has a note; those of kinds of parts are read off the kind's file. `hooks_page` puts them beside the signatures.
"""

from __future__ import annotations

from dataclasses import dataclass

from dllm_decode.parts.kinds import DOCUMENTS


@dataclass(frozen=True, slots=True)
class Note:
    """One hook, in three answers."""

    called: str
    may: str
    must_not: str


EVERY_PART = """\
`build()` is called once for every decode (a batch of rows) and returns the object that the engine calls. A part without
memory is its own config and need not override it; a part with memory returns a fresh object, because a config is shared
by every decode and is frozen. A part reads what it is given and returns what it wants done: it never writes to the
canvas, to `view.stats` or to any other tensor it did not make. It may not let one row see another: a row comes out the
same alone and in any batch. Inside a step it does not wait for the device (`.item()`, `.tolist()`, `bool(tensor)`).
Shapes: B rows, L canvas columns, W columns of the block's window, V vocabulary entries."""


def _note_of(document: str) -> Note:
    """Read a note off what a kind's file says of the kind."""
    paragraphs = dict(
        (head, " ".join(rest.split()))
        for head, colon, rest in (each.partition(": ") for each in document.split("\n\n"))
        if colon
    )
    return Note(paragraphs["Called"], paragraphs["May"], paragraphs["Must not"])


NOTES: dict[str, Note] = {
    **{f"dllm_{kind}": _note_of(said) for kind, said in DOCUMENTS.items()},
    "dllm_recipe": Note(
        "When the registry is built; a file is read when its name is asked for.",
        "Name any installed part, a plugin's own included.",
        "Share its stem with another recipe.",
    ),
    "dllm_task": Note(
        "`examples` when a split is first asked for (of a `GeneratedTask` `sample`, of a `DatasetTask` `prompt` and "
        "`reference` for every row), `score` for every decoded answer, `load` for `eval --data`.",
        "Accept many right answers, or give grades from 0 to 1; override `score_many` where judging is slow.",
        "Draw chance from anywhere but `rng`; raise in `score`, whatever the text.",
    ),
    "dllm_denoiser": Note(
        "`matches` for every checkpoint that is loaded, with the mapping in its `config.json`; `load` for the one "
        "family that said yes.",
        "Load weights in any way; wrap any model that obeys `Denoiser`.",
        "Say yes to checkpoints it does not know; load a causal model (the loader tries a token on the right and "
        "refuses a model whose earlier logits do not move).",
    ),
    "dllm_command": Note(
        "When the command line is built, unless the command asked for is a built-in one.",
        "Add commands and groups to the typer application.",
        "Import torch at the top of the module: `--help` would wait for it.",
    ),
}
