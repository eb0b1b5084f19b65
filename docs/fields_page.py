"""The page of `config.json` fields: what each model family requires, honours, ignores as harmless and refuses."""

from __future__ import annotations

from dllm_decode.models.llama.fields import ANYWHERE, EVERY_LAYER, IDS
from dllm_decode.models.llama.format import LlamaFormat
from dllm_decode.plugins.registry import Registry

INTRODUCTION = """\
# Fields of `config.json`

Made from the code by `make docs`. A field that changes what a model computes is carried out or refused by name, wherever it
stands. In the formats below, a field that is not listed is refused, unless it is null or false or begins with an underscore.
Families that are not listed leave `config.json` to the library's own class: `masked-lm` to that of `AutoConfig`."""


def fields_page(registry: Registry) -> str:
    """Return the page as Markdown."""
    everywhere = (
        f"Every family reads {_listed(IDS)}; `eos_token_id` may be a list, and that of `generation_config.json` counts too. "
        f"Harmless everywhere: {_listed(ANYWHERE)}. "
        + "".join(f"`{name}` may say `{setting}` for every layer." for name, setting in EVERY_LAYER.items())
    )
    families = [registry.find("denoiser", name) for name in registry.names("denoiser")]
    sections = [_section(each) for each in families if isinstance(each, type) and issubclass(each, LlamaFormat)]
    return "\n\n".join([INTRODUCTION, everywhere, *sections])


def _section(family: type[LlamaFormat]) -> str:
    fields = family.fields
    only = [f"`{name}` ({'null' if value is None else str(value).lower()})" for name, value in fields.only.items()]
    return "\n".join(
        [
            f"## {family.name}",
            "",
            f"`model_type` {family.model_type}, run as stock `{family.architecture}`.",
            "",
            f"- Required: {_listed(fields.sizes)}.",
            f"- Honoured: {_listed(fields.honoured)}.",
            f"- Honoured at one setting, refused at any other: {', '.join(only)}.",
            f"- Harmless: {_listed(fields.harmless)}.",
        ]
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
