"""What the code does not say of a hook: when its parts are called, what they may do, and what they must not.

Every hook has a note; `hooks_page` puts it beside the signatures.
"""

from __future__ import annotations

from dataclasses import dataclass


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

NOTES: dict[str, Note] = {
    "dllm_block": Note(
        "`plan` at validation, before any model is loaded. `blocks` once a decode; the generator is resumed when "
        "the block before is finished (after one commit if it was `one_step`), so it may look at the canvas.",
        "Yield blocks that differ from row to row; call `context.probe(block)`, whose forward the block's first "
        "step uses again, and say so in `probes`; yield the same columns again in a later block.",
        "Leave an undecided position outside every block, give a window that does not cover `where`, or yield "
        "blocks without open positions for ever: the engine stops such a decode with a `ContractError`. "
        "`Block.size` is stated only where it is true of every row.",
    ),
    "dllm_layering": Note(
        "`forwards` at validation. `stages` once a block; the generator is resumed when the stage before is "
        "finished.",
        "Call `context.probe()` for the statistics of the canvas as it stands (the next step uses the same "
        "forward), and say so in `probes`; draw from `context.noise()`; give a stage a scheduler of its own; hand "
        "positions on to another layering with `context.within(...)`.",
        "Give a stage positions outside `context.where`, or leave positions of it to no stage. `forwards` must "
        "not promise fewer forwards than `stages` can take. A probe is a forward: where nothing is open, do not "
        "ask for one.",
    ),
    "dllm_scheduler": Note(
        "`select` once a step, after the confidence. A stage with steps S asks at most S times, an `adaptive` "
        "scheduler is asked until nothing is open.",
        "Choose nothing in a row: the engine then commits that row's best open position. Keep state, made in "
        "`build`.",
        "Choose positions outside `view.open`, or, unless `adaptive`, leave any open after the stage's steps. Set "
        "`reads_probabilities` if scores are compared with numbers between 0 and 1, and `exact` only if a stage "
        "of n positions and S steps always takes min(S, n). Ties go to the smallest column.",
    ),
    "dllm_confidence": Note(
        "`propose` once a step, before the scheduler, for every column of the window. Statistics are those of open "
        "positions, unless `needs` names others.",
        "Return any comparable numbers, minus infinity included; propose other tokens than `view.stats.token`; "
        "read the statistics it names in `needs`.",
        "Return NaN for an open position, or propose the mask token. `unit` says no where scores may leave 0 to "
        "1.",
    ),
    "dllm_logits": Note(
        "`process` once a forward, in the order of the strategy, before any statistics are read.",
        "Change the logits in place. With `unconditional = True` it is given those of a canvas whose given tokens "
        "are masked, which doubles the work of a forward (both halves are one model call).",
        "Leave a position without any possible token, change the shape, or read the canvas.",
    ),
    "dllm_stop": Note(
        "`fill` after every commit, in the order of the strategy.",
        "Decide any undecided position of the canvas at no cost, with tokens of its own.",
        "Write the mask token. Positions that are decided already, and rows that had nothing open in this step, "
        "are left alone by the engine.",
    ),
    "dllm_revise": Note(
        "`revise` after every commit, and, for a reviser with `closing_steps`, after forwards made when nothing "
        "is undecided any more, until one changes nothing. A reviser that `reopens` is asked only in stages that "
        "run until nothing is open.",
        "Return positions to the mask (`tokens=None`), fewer than the forward committed, or write other tokens "
        'there. See the block, or with `reach = "region"` the whole generation region, whose logits are then '
        "always computed.",
        "Touch positions outside `view.revisable` (the prompt, what is undecided, what this forward committed), "
        "write the mask token, or reopen as many positions as were committed: such a decode need not end.",
    ),
    "dllm_forward": Note(
        "`plan` before every forward, `read` after it.",
        "Add columns after the canvas, say who attends to whom and which position ids they have. What `read` "
        "returns is `RevisionView.shadow`.",
        "Change the canvas's own columns. It needs a model with `plans_inputs = True` and no cache.",
    ),
    "dllm_cache": Note(
        "`recompute` once a forward.",
        "Return any columns that cover the block's window; None recomputes everything and refreshes the cache. "
        "The decode's first forward must be one of those.",
        "Assume that other columns are exact: their keys and values are as they were last computed. A policy that "
        "counts forwards of the batch makes rows depend on their mates; it says so (`row_independent = False`).",
    ),
    "dllm_recipe": Note(
        "When the registry is built; a file is read when its name is asked for.",
        "Name any installed part, a plugin's own included.",
        "Share its stem with another recipe.",
    ),
    "dllm_task": Note(
        "`sample` when a split is first asked for, `score` for every decoded answer, `load` for `eval --data`.",
        "Accept many right answers; override `score_many` where judging is slow.",
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
