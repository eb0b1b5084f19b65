"""Confidences against plain loops and cases worked by hand, and what a file of frequencies may get wrong."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from dllm_decode import DiffusionLM
from dllm_decode.data.canvas import Canvas
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import StepView
from dllm_decode.decoding.decoded import decode
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS
from dllm_strategies.confidence import Margin, NegativeEntropy, RandomConfidence, TopProbability
from dllm_strategies.debias import FrequencyDebiased
from dllm_strategies.frequencies import fingerprint_of, read_frequencies
from dllm_strategies.prior import CertaintyPrior, density
from tests.support.random_model import SPECIAL, FunctionModel, canvas_of, random_logits
from tests.support.views import step_view

PROMPTS = [[5, 6, 7], [9]]
LENGTH = 12


def view_of(canvas: Canvas, window: slice) -> StepView:
    """A view whose statistics are all different, over a window of the canvas."""
    rows, width = canvas.rows, window.stop - window.start
    score = torch.arange(1, rows * width + 1).reshape(rows, width) / (rows * width + 1)
    tokens = (torch.arange(rows * width).reshape(rows, width) % 7) + 3
    stats = VocabStats(tokens, score, score / 2, score, score / 4, score * 3)
    return step_view(canvas, window, canvas.undecided[:, window], stats)


def partly_decided() -> Canvas:
    """Two rows, the second padded, with some columns of the generation region decided."""
    canvas = canvas_of(PROMPTS, LENGTH)
    chosen = torch.zeros(2, LENGTH, dtype=torch.bool)
    chosen[0, [0, 1, 5]] = True
    chosen[1, [3, 11]] = True
    canvas.commit(slice(3, 3 + LENGTH), chosen, torch.full_like(canvas.tokens[:, 3:], 4))
    return canvas


def test_the_plain_confidences_score_what_they_say() -> None:
    view = view_of(partly_decided(), slice(3, 15))
    stats = view.stats
    for confidence, expected in (
        (TopProbability(), stats.probability),
        (TopProbability(ignore_ends=True), stats.content_probability),
        (Margin(), stats.probability * 0.75),
        (NegativeEntropy(), -stats.probability * 3),
    ):
        proposal = confidence.build().propose(view)
        assert torch.equal(proposal.tokens, stats.token)
        assert expected is not None and torch.allclose(proposal.score, expected)
    assert torch.equal(RandomConfidence().build().propose(view).score, view.noise.uniform())


def plain_density(canvas: Canvas, row: int, column: int, sigma: float) -> float:
    """The share of the kernel on decided columns, with columns far to both sides spelled out."""
    total = decided = 0.0
    for other in range(column - 400, column + 401):
        weight = math.exp(-((other - column) ** 2) / (2 * sigma**2))
        total += weight
        if other < canvas.prompt_length or (other < canvas.length and not bool(canvas.undecided[row, other])):
            decided += weight
    return decided / total


@pytest.mark.parametrize("sigma", [0.3, 2.0, 10.0])
@pytest.mark.parametrize("window", [slice(3, 15), slice(7, 11)])
def test_the_density_of_decided_columns_equals_the_loop(sigma: float, window: slice) -> None:
    canvas = partly_decided()
    found = density(canvas, window, sigma)
    for row in range(2):
        expected = [plain_density(canvas, row, column, sigma) for column in range(window.start, window.stop)]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_density_of_the_first_open_column_is_just_under_a_half() -> None:
    canvas = canvas_of([[5]], 40)
    found = density(canvas, slice(1, 41), 10.0)[0]
    own = 1 / (10 * math.sqrt(2 * math.pi))  # the column's own weight, which it does not count for itself
    assert float(found[0]) == pytest.approx((1 - own) / 2, abs=1e-6)
    assert bool((found.diff() < 0).all())


def test_the_density_does_not_depend_on_padding_or_batch_mates() -> None:
    together, alone = canvas_of(PROMPTS, LENGTH), canvas_of(PROMPTS[1:], LENGTH)
    for canvas in (together, alone):
        chosen = torch.zeros(canvas.rows, LENGTH, dtype=torch.bool)
        chosen[-1, [0, 4, 7]] = True
        region = slice(canvas.prompt_length, canvas.length)
        canvas.commit(region, chosen, torch.full_like(canvas.tokens[:, region], 4))
    padded = density(together, slice(3, 15), 7.3)[1]
    assert torch.equal(padded, density(alone, slice(1, 13), 7.3)[0])


def test_where_everything_may_be_undecided_given_tokens_count_as_decided() -> None:
    canvas = canvas_of([[5, 6, 7]], 3)
    canvas.prompt_length = 0  # infill
    canvas.undecided[:] = torch.tensor([[False, True, False, True, True, False]])
    found = density(canvas, slice(0, 6), 2.0)[0]
    expected = [plain_density(canvas, 0, column, 2.0) for column in range(6)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_prior_multiplies_any_confidence_between_0_and_1() -> None:
    view = view_of(partly_decided(), slice(3, 15))
    around = density(view.canvas, slice(3, 15), 5.0)
    for of in (TopProbability(), Margin(), TopProbability(ignore_ends=True)):
        prior = CertaintyPrior(sigma=5.0, of=of)
        assert prior.needs == of.needs
        inner = of.build().propose(view)
        proposal = prior.build().propose(view)
        assert torch.equal(proposal.tokens, inner.tokens)
        assert torch.equal(proposal.score, inner.score * around)


def test_the_prior_decodes_from_the_prompt_outwards_where_scores_are_equal() -> None:
    def logits_of(tokens: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        logits = torch.zeros(*tokens.shape, 24, dtype=torch.float64)
        logits[..., 4] = 1.0
        return logits

    order: list[int] = []
    strategy = Strategy.load("llada", gen_length=6, confidence="certainty-prior")
    decode(
        FunctionModel(logits_of),
        canvas_of([[5]], 6),
        strategy,
        on_step=lambda event: order.extend(event.chosen[0].nonzero().flatten().tolist()),
    )
    assert order == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("part", ["certainty-prior", "frequency-debiased"])
def test_scores_that_are_not_between_0_and_1_cannot_be_weighted(part: str) -> None:
    with pytest.raises(
        ConfigError, match=r"confidence.*'entropy' do not lie between 0 and 1.*top-probability"
    ):
        Strategy.load("llada", confidence={"name": part, "of": "entropy"})


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_common_tokens_are_worth_less_than_rare_ones_of_equal_probability(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"frequencies{suffix}"
    frequencies = {3: 0.5, 4: 0.01, 6: 1.0}
    if suffix == ".json":
        file.write_text(json.dumps({str(token): share for token, share in frequencies.items()}))
    else:
        file.write_text("token,frequency\n3,0.5\n4,1e-2\n\n6,1\n")
    view = view_of(partly_decided(), slice(3, 15))
    proposal = FrequencyDebiased(file=str(file)).build().propose(view)
    assert torch.equal(proposal.tokens, view.stats.token)
    for row in range(2):
        for column in range(LENGTH):
            token, c = int(view.stats.token[row, column]), float(view.stats.probability[row, column])
            expected = min(-c * math.log(frequencies.get(token, 0.0) + 1e-10), 10)
            assert float(proposal.score[row, column]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert float(proposal.score.max()) == 10.0  # rare and probable: cut


def test_without_a_file_the_score_is_as_it_was() -> None:
    view = view_of(partly_decided(), slice(3, 15))
    confidence = FrequencyDebiased()
    assert torch.equal(confidence.build().propose(view).score, view.stats.probability)
    assert confidence.unit


def test_the_shipped_table_counts_the_positions_of_every_tasks_tuning_answers() -> None:
    model = DiffusionLM.from_pretrained("tiny")
    tokenizer, eos = model.tokenizer, model.denoiser.special.eos
    shares: dict[int, float] = {}
    for kind in TASKS:
        task, counts = kind(), Counter[int]()
        for example in task.examples("tune"):
            answer = tokenizer(example.reference, add_special_tokens=False)["input_ids"][: task.gen_length]
            counts.update([*answer, *[eos] * (task.gen_length - len(answer))])
        for token, count in counts.items():
            shares[token] = shares.get(token, 0) + count / counts.total() / len(TASKS)
    shipped = read_frequencies("tiny", fingerprint_of("tiny"))
    assert shipped == pytest.approx(shares, abs=1e-6)


def test_a_debiased_prior_and_a_prior_alone_need_no_other_loop(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"4": 0.25}')
    strategy = Strategy.load(
        "llada",
        gen_length=LENGTH,
        steps=5,
        confidence={"name": "frequency-debiased", "file": str(file), "of": "certainty-prior"},
    )
    done = decode(FunctionModel(random_logits), canvas_of(PROMPTS, LENGTH), strategy)
    assert not done.canvas.undecided.any() and done.forward_passes.tolist() == [5, 5]
    assert not (done.canvas.tokens == SPECIAL.mask).any()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.json", None, "cannot be read: No such file"),
        ("f.json", "{3: 0.5}", "is not JSON"),
        ("f.json", "[0.5]", "should be an object"),
        ("f.json", "{}", "names no token"),
        ("f.json", '{"the": 0.5}', "'the' is no token id"),
        ("f.json", '{"-1": 0.5}', "'-1' is no token id"),
        ("f.json", '{"99999999999999": 0.1}', "99999999999999 is no token id"),
        ("f.json", '{"3": 17}', "token 3 has the frequency 17.*divide counts by their sum"),
        ("f.json", '{"3": NaN}', "token 3 has the frequency nan"),
        ("f.json", '{"3": true}', "token 3 has the frequency True"),
        ("f.json", '{"3": {"4": 1}}', "token 3 has the frequency"),
        ("f.json", '{"3": 0.1, "3": 0.2}', "token 3 stands there twice"),
        ("f.csv", "token,frequency\n3;0.5\n", "'3;0.5' should be a token id and a frequency"),
        ("f.csv", "3,often\n", "token 3 has the frequency 'often'"),
        ("f.csv", "", "names no token"),
    ],
)
def test_a_file_that_holds_no_frequencies_is_refused_with_the_reason(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=rf"confidence.*{name}.*{said}"):
        Strategy.load("llada", confidence={"name": "frequency-debiased", "file": str(file)})


def test_the_digest_stands_for_the_files_contents_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"3": 0.5}')
    settings = {"name": "frequency-debiased", "file": str(file)}
    first = Strategy.load("llada", confidence=settings)
    again = Strategy.from_yaml(first.to_yaml())
    assert again.digest() == first.digest()
    file.write_text('{"3": 0.25}')
    with pytest.raises(ConfigError, match="has the fingerprint .* set fingerprint to null"):
        Strategy.from_yaml(first.to_yaml())
    assert Strategy.load("llada", confidence=settings).digest() != first.digest()
    first.confidence.build()  # what it read before stays what it was


@pytest.mark.parametrize("scheduler", ["threshold", "quota-threshold", "segment", "klass", "factor"])
def test_a_threshold_is_not_held_against_scores_that_are_no_probabilities(
    scheduler: str, tmp_path: Path
) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"4": 0.25}')
    for confidence in ("entropy", {"name": "frequency-debiased", "file": str(file)}):
        strategy = Strategy.load("llada", scheduler=scheduler, confidence=confidence)
        with pytest.raises(ConfigError, match=rf"'{scheduler}' compares scores.*take another confidence"):
            strategy.check()
    for name in ("margin", "certainty-prior", "frequency-debiased"):
        Strategy.load("llada", scheduler=scheduler, confidence=name).check()
