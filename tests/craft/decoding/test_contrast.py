"""How two streams decide each token together."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessorList

from craft.decoding.contrast import ContrastStreams
from tests.craft.decoding.tiny_vlms import TEXT

NO_IDS = torch.zeros(2, 0, dtype=torch.long)


def test_evidence_can_flip_the_answer():
    """Token 1 is favoured by the prior, token 0 only by the evidence."""
    seen, hidden = torch.tensor([2.0, 2.5, -1.0]), torch.tensor([-1.0, 2.5, 0.0])
    scores = torch.stack([seen, hidden])
    assert seen.argmax() == 1
    combined = ContrastStreams(1.0)(NO_IDS, scores)
    assert combined[0].tolist() == [5.0, 2.5, -2.0]
    assert torch.equal(combined[0], combined[1])
    assert combined[0].argmax() == 0


def test_weight_zero_is_the_stream_with_evidence():
    scores = torch.randn(6, 11, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ContrastStreams(0.0)(NO_IDS, scores)[:3], scores[:3])


def test_implausible_tokens_are_excluded():
    seen = torch.tensor([[0.0, 0.0, -3.0]])
    hidden = torch.tensor([[0.0, -1.0, -30.0]])
    scores = torch.cat([seen, hidden])
    assert ContrastStreams(1.0)(NO_IDS, scores)[0].argmax() == 2
    kept = ContrastStreams(1.0, plausibility_beta=0.1)(NO_IDS, scores)[0]
    assert kept[2] == -torch.inf  # exp(-3) is below a tenth of exp(0)
    assert kept.argmax() == 1
    assert ContrastStreams(1.0, 0.04)(NO_IDS, scores)[0].isfinite().all()


def test_tokens_ruled_out_by_generation_stay_excluded():
    scores = torch.tensor([[1.0, -torch.inf], [0.5, -torch.inf]])
    assert ContrastStreams(1.0)(NO_IDS, scores)[0].tolist() == [1.5, -torch.inf]


def test_an_odd_batch_size_is_an_error():
    with pytest.raises(ValueError, match="even batch size, got 3"):
        ContrastStreams()(NO_IDS, torch.zeros(3, 4))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_cached_streams_of_different_lengths_equal_uncached_ones(alpha):
    """Every step is repeated without cache or padding, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(LlamaConfig(**TEXT)).double().eval()
    model.generation_config.eos_token_id = None
    seen, hidden = torch.randint(3, 20, (9,)), torch.randint(3, 20, (6,))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, :3] = 0
    padded = torch.stack([seen, torch.cat([torch.zeros(3, dtype=torch.long), hidden])])
    said = model.generate(
        input_ids=padded,
        attention_mask=mask,
        logits_processor=LogitsProcessorList([ContrastStreams(alpha)]),
        max_new_tokens=6,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    assert torch.equal(said.sequences[0, 9:], said.sequences[1, 9:])
    for step, scores in enumerate(said.scores):
        new = said.sequences[0, 9 : 9 + step]
        with torch.no_grad():
            a, b = (
                model(torch.cat([x, new])[None], use_cache=False).logits[0, -1]
                for x in (seen, hidden)
            )
        expected = a + alpha * (a - b)
        torch.testing.assert_close(scores[0].double(), expected, rtol=1e-5, atol=1e-4)
        assert int(said.sequences[0, 9 + step]) == int(expected.argmax())
