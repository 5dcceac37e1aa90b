from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from mlperf_submission.benchmark.facts import Precision
from models.gptj.architecture import gptj, random_weights
from models.gptj.decoder import BEAMS, STEP_SLOTS, DecoderShape, weight_names
from models.gptj.export import weights_of, write_network
from models.gptj.facts import NEW_TOKENS
from models.gptj.search import NEVER, BeamSlots, SearchSettings, search
from models.network.state import StatefulRunner
from tests.models.gptj import plain as gptj_plain

SMALL = DecoderShape(layers=2, hidden=48, heads=3, rotary=8, inner=64, vocabulary=40, prompt=24, end=39)


class Decoder:
    """A decoder with random weights, as a session."""

    batch_size = 4

    def __init__(self, folder: Path, seed: int, precision: Precision = "fp32") -> None:
        gptj(folder / "decoder.onnx", shape=SMALL, precision=precision, seed=seed)
        self.source = random_weights(SMALL, seed)
        session = onnxruntime.InferenceSession(folder / "decoder.onnx", providers=["CPUExecutionProvider"])
        self.infer = StatefulRunner(session, folder).run


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return Decoder(tmp_path_factory.mktemp("decoder"), seed=3)


def prompts_of(seed: int, lengths: list[int]) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, SMALL.end, length) for length in lengths]


def first_call(prompt: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
    places = np.arange(len(prompt))[None]
    return {
        "tokens": prompt[None],
        "positions": places,
        "prompt_seen": places + 1,
        "prompt_slots": places,
        "lineage": np.full((1, len(prompt), NEW_TOKENS), -1, np.int32),
        "write": np.array([STEP_SLOTS]),
        "scored": np.full((1, BEAMS), len(prompt) - 1),
        "beam_scores": np.array([[0, NEVER, NEVER, NEVER]], np.float32),
        "end_penalty": np.zeros(1, np.float32),
    }


def choices(found: Arrays) -> list[int]:
    chosen: list[int] = (found["parents"][0] * SMALL.vocabulary + found["next_tokens"][0]).tolist()
    return chosen


def test_the_prompt_is_scored_as_by_plain_numpy(decoder: Decoder) -> None:
    (prompt,) = prompts_of(1, [17])
    found = decoder.infer(first_call(prompt))
    expected = gptj_plain.log_probabilities(SMALL, decoder.source, prompt.tolist())[-1]
    order = np.argsort(-expected)[:8]
    assert choices(found) == order.tolist()
    np.testing.assert_allclose(found["scores"][0], expected[order], atol=2e-5)


def test_a_step_sees_its_own_ancestors_only(decoder: Decoder) -> None:
    """Two steps; at the second the beams have swapped: 0 comes from 2, 1 from 2, 2 from 0, 3 from 3."""
    (prompt,) = prompts_of(2, [9])
    decoder.infer(first_call(prompt))
    steps = [[1, 2, 3, 4], [5, 6, 7, 8]]
    parents = [2, 2, 0, 3]
    lineage = np.full((1, BEAMS, NEW_TOKENS), -1, np.int32)
    for step, tokens in enumerate(steps):
        if step:
            lineage = lineage[:, parents]
        lineage[:, :, step] = range(BEAMS)
        found = decoder.infer(
            {
                "tokens": np.array([tokens]),
                "positions": np.full((1, BEAMS), len(prompt) + step),
                "prompt_seen": np.full((1, BEAMS), len(prompt)),
                "prompt_slots": np.arange(len(prompt))[None],
                "lineage": lineage,
                "write": np.array([BEAMS * step]),
                "scored": np.arange(BEAMS)[None],
                "beam_scores": np.zeros((1, BEAMS), np.float32),
                "end_penalty": np.zeros(1, np.float32),
            }
        )
    sequences = [[*prompt, steps[0][parent], token] for parent, token in zip(parents, steps[1], strict=True)]
    expected = np.stack(
        [gptj_plain.log_probabilities(SMALL, decoder.source, one)[-1] for one in sequences]
    ).reshape(-1)
    order = np.argsort(-expected)[:8]
    assert choices(found) == order.tolist()
    np.testing.assert_allclose(found["scores"][0], expected[order], atol=2e-5)


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, SMALL.prompt), min_size=1, max_size=4),
    counts_prompt=st.booleans(),
)
def test_a_batch_is_searched_as_each_prompt_by_itself_without_a_cache(
    decoder: Decoder, seed: int, lengths: list[int], counts_prompt: bool
) -> None:
    prompts = prompts_of(seed, lengths)
    rules = SearchSettings(end=SMALL.end, least=2, most=6, counts_prompt=counts_prompt)
    found = search(decoder, prompts, rules)
    for prompt, tokens in zip(prompts, found, strict=True):
        expected = gptj_plain.beam_search(
            SMALL, decoder.source, prompt.tolist(), least=2, most=6, counts_prompt=counts_prompt
        )
        assert tokens.tolist() == expected


@settings(max_examples=8, deadline=None)
@given(data=st.data(), slots=st.integers(1, 4))
def test_a_search_does_not_depend_on_who_enters_and_leaves_beside_it(
    decoder: Decoder, data: st.DataObject, slots: int
) -> None:
    """Requests in any order and at any time, into slots that others have used, against each by itself."""
    rules = SearchSettings(end=SMALL.end, least=1, most=7)
    prompts = prompts_of(21, [24, 3, 11, 17, 1, 8, 20, 2])
    alone = [search(decoder, [prompt], rules)[0].tolist() for prompt in prompts]
    todo = data.draw(st.permutations(range(len(prompts))))
    shared = BeamSlots(decoder, slots, rules)
    asked: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    begun: list[int] = []
    while todo or not shared.is_idle:
        if todo and shared.free and (shared.is_idle or data.draw(st.booleans())):
            request = todo.pop()
            asked[shared.enter(prompts[request])] = request
        step = shared.step()
        if step.begun is not None:
            begun.append(asked[step.begun[0]])
        for slot, tokens in step.ended:
            found[asked.pop(slot)] = tokens.tolist()
    assert [found[request] for request in range(len(prompts))] == alone
    assert sorted(begun) == list(range(len(prompts)))


def test_no_more_of_the_cache_is_read_than_the_longest_prompt_has_filled(decoder: Decoder) -> None:
    """What the others have in their slots beyond that is garbage of earlier searches, and does not matter."""
    search(decoder, prompts_of(13, [24, 24, 24]), SearchSettings(end=SMALL.end, least=1, most=2))
    read: list[tuple[int, int]] = []

    class Watched:
        batch_size = 4

        def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
            read.append((inputs["tokens"].shape[1], inputs["prompt_slots"].shape[1]))
            return decoder.infer(inputs, first_row)

    search(Watched(), prompts_of(14, [9, 15]), SearchSettings(end=SMALL.end, least=3, most=3))
    assert read == [(9, 9), (BEAMS, 9), (15, 15), (BEAMS, 15), (BEAMS, 15)]


def test_running_searches_go_on_while_prompts_keep_coming(decoder: Decoder) -> None:
    rules = SearchSettings(end=SMALL.end, least=5, most=5)
    shared = BeamSlots(decoder, 4, rules)
    prompts = prompts_of(9, [6, 7, 8, 9])
    reads: list[bool] = []
    while prompts or not shared.is_idle:
        while prompts and shared.free:
            shared.enter(prompts.pop())
        reads.append(shared.step().begun is not None)
    assert reads[:7] == [True, False, True, False, True, False, True]


def test_hypotheses_that_end_early_are_found_too(tmp_path: Path) -> None:
    """With a head that likes to end, four hypotheses are there before the tokens are used up."""
    decoder = Decoder(tmp_path, seed=5)

    class Eager:
        batch_size = 4
        calls = 0

        def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
            self.calls += 1
            eager = {**inputs, "end_penalty": np.add(inputs["end_penalty"], np.float32(2.5))}
            return decoder.infer(eager, first_row)

    prompts = prompts_of(7, [5, 20])
    rules = SearchSettings(end=SMALL.end, least=3, most=40)
    session = Eager()
    found = search(session, prompts, rules)
    assert all(3 <= len(tokens) < 40 for tokens in found)
    assert session.calls < 40


def test_the_state_of_one_batch_does_not_reach_the_next(decoder: Decoder) -> None:
    prompts = prompts_of(11, [24, 3])
    rules = SearchSettings(end=SMALL.end, least=2, most=8)
    alone = search(decoder, prompts[1:], rules)[0]
    search(decoder, prompts_of(12, [24, 24, 24]), rules)
    assert search(decoder, prompts, rules)[1].tolist() == alone.tolist()


def test_weights_outside_of_the_file_give_the_same_network(tmp_path: Path) -> None:
    source = random_weights(SMALL, 1)
    whole, parted = tmp_path / "whole.onnx", tmp_path / "parted.onnx"
    write_network(whole, SMALL, source, "fp16")
    write_network(parted, SMALL, source, "fp16", inline_limit=0)
    assert (tmp_path / "parted.onnx.data").stat().st_size >= 2 * SMALL.weights
    assert parted.stat().st_size < whole.stat().st_size / 2
    inputs = first_call(prompts_of(1, [8])[0])
    found = [
        StatefulRunner(onnxruntime.InferenceSession(path), path).run(inputs)["scores"]
        for path in (whole, parted)
    ]
    np.testing.assert_array_equal(found[0], found[1])


def test_the_weights_of_a_network_are_those_that_it_was_made_of(tmp_path: Path) -> None:
    gptj(tmp_path / "a.onnx", shape=SMALL, precision="fp32")
    shape, source = weights_of(tmp_path / "a.onnx")
    assert shape == SMALL
    plain = random_weights(SMALL)
    for name in weight_names(SMALL):
        np.testing.assert_array_equal(source(name), plain(name))
    assert sum(source(name).size for name in weight_names(SMALL)) == SMALL.weights
