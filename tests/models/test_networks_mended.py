"""What transformers 4.37.2 gets wrong in its networks, one test for each, named after what happens here.

The mistakes of its retriever and of `RealmForOpenQA` have their tests in `tests/openqa`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import NETWORKS, PIECES, embedded, example, gradients, pieces, reading, shake, tiny
from torch import Tensor, nn
from torch.nn import functional

from realm.models.attention import RealmAttention
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.reader import RealmReader
from realm.models.scorer import RealmScorer
from realm.models.trunk import RealmPreTrainedModel

HALF = [torch.float16, torch.bfloat16]


class Scripted(nn.Module):
    """Span scores that were written down instead of computed."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, hidden: Tensor, candidates: object) -> Tensor:
        return self.scores


def test_with_ties_across_blocks_the_chosen_span_is_a_best_one() -> None:
    model, given = tiny(RealmReader), reading(answers=False)
    given["relevance_score"][:] = 0.0
    scores = torch.zeros(2, 21)
    # Two maxima of 5: block 0, span 4 and block 1, span 3. Separately the maxima are block 0 and span 3.
    scores[0, 4] = scores[1, 3] = 5.0
    scores[0, 3] = 1.0
    model.qa_outputs = Scripted(scores)
    output = model(**given)
    assert (output.block_idx.item(), output.candidate.item()) == (0, 4)
    assert scores[output.block_idx, output.candidate] == scores.max()
    assert (output.start_pos.tolist(), output.end_pos.tolist()) == ([4], [4])


def test_where_every_span_is_masked_there_is_no_answer() -> None:
    model, given = tiny(RealmReader), reading(answers=False)
    given["block_mask"][:] = False
    output = model(**given)
    for name in ("block_idx", "candidate", "start_pos", "end_pos"):
        assert output[name].unique().tolist() == [-1], name
    assert output.block_idx.shape == output.candidate.shape == ()
    assert output.start_pos.shape == output.end_pos.shape == (1,)


@pytest.mark.parametrize("relevance", [-1e30, 0.0, 1e30])
def test_a_masked_span_never_wins_over_an_allowed_one(relevance: float) -> None:
    model, given = tiny(RealmReader), reading(answers=False)
    given["block_mask"][0], given["relevance_score"] = False, torch.tensor([relevance, -relevance])
    assert model(**given).block_idx.item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("masked", ["all", "the answers", "none"])
def test_reader_losses_and_gradients_stay_finite_whatever_is_masked(dtype: torch.dtype, masked: str) -> None:
    model, given = tiny(RealmReader), reading()
    if masked == "all":
        given["block_mask"][:] = False
    if masked == "the answers":
        given["block_mask"][:, :6] = False
    # Far below every other score, as where 4.37.2 overflows.
    given["relevance_score"] = torch.tensor([-9000.0, -9001.0], dtype=dtype).requires_grad_()
    module: nn.Module = model
    module.to(dtype)
    output = model(**given)
    output.loss.backward()
    assert all(output[name].isfinite() for name in ("loss", "retriever_loss", "reader_loss"))
    assert given["relevance_score"].grad is not None
    for gradient in (*gradients(model).values(), given["relevance_score"].grad):
        assert gradient.isfinite().all()
    assert (output.reader_loss.item() > 0.0) == (masked == "none")
    assert output.reader_correct.any() == (masked == "none")


def test_an_empty_mask_of_masked_words_gives_no_loss_and_no_gradient() -> None:
    model = tiny(RealmKnowledgeAugEncoder)
    relevance = torch.zeros(2, 2, requires_grad=True)
    loss = model(
        pieces(2, 2, 6), relevance_score=relevance, labels=pieces(2, 6, seed=1), mlm_mask=torch.zeros(2, 6)
    ).loss
    loss.backward()
    assert loss.item() == 0.0
    assert relevance.grad is not None
    assert all(gradient.abs().max() == 0.0 for gradient in (*gradients(model).values(), relevance.grad))


@pytest.mark.parametrize("dtype", HALF)
def test_the_masked_word_loss_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    model: nn.Module = tiny(RealmKnowledgeAugEncoder)
    model.to(dtype)
    relevance = torch.tensor([[300.0, -300.0]], dtype=dtype, requires_grad=True)
    loss = model(pieces(1, 2, 6), relevance_score=relevance, labels=pieces(1, 6, seed=1)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


def test_pieces_without_a_label_do_not_dilute_the_loss() -> None:
    model, ids = tiny(RealmKnowledgeAugEncoder), pieces(2, 1, 6)
    labels = torch.tensor([[-100, 4, -100, 9, -100, -100], [-100, -100, -100, 2, -100, -100]])
    output = model(ids, relevance_score=torch.zeros(2, 1), labels=labels)
    each = functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten(), reduction="none")
    # Three labelled pieces of twelve: the mean is over three.
    torch.testing.assert_close(output.loss, each.sum() / 3)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_number_of_candidates_comes_from_the_input_not_from_the_configuration(count: int) -> None:
    scorer, encoder = (tiny(kind, num_candidates=3) for kind in (RealmScorer, RealmKnowledgeAugEncoder))
    for questions in (1, 2):
        candidates = pieces(questions, count, 6)
        output = scorer(pieces(questions, 5), candidate_input_ids=candidates)
        assert output.relevance_score.shape == (questions, count)
        loss = encoder(candidates, relevance_score=output.relevance_score, labels=pieces(questions, 6)).loss
        assert loss.isfinite()


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_query_embedder_of_its_own_survives_saving(tmp_path: Path, kind: str) -> None:
    scorer = RealmScorer(tiny(RealmScorer).config, tiny(RealmEmbedder, seed=9)).eval()
    shake(scorer)
    scorer.save_pretrained(tmp_path)
    if kind == "bin":
        # As 4.37.2 wrote it: all names of both, and nothing in the configuration.
        (tmp_path / "model.safetensors").unlink()
        torch.save(scorer.state_dict(), tmp_path / "pytorch_model.bin")
        scorer.config.separate_query_embedder = False
        scorer.config.save_pretrained(tmp_path)
    again = RealmScorer.from_pretrained(tmp_path)
    assert again.query_embedder is not again.embedder
    assert again.config.separate_query_embedder
    wanted, found = scorer.state_dict(), again.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    given = example(RealmScorer)
    assert torch.equal(again(**given).relevance_score, scorer(**given).relevance_score)


def test_a_query_embedder_that_starts_as_a_copy_is_still_one_of_its_own_after_saving(tmp_path: Path) -> None:
    embedder = tiny(RealmEmbedder)
    scorer = RealmScorer(embedder.config, embedder)
    scorer.embedder.load_state_dict(embedder.state_dict())
    scorer.save_pretrained(tmp_path)
    configs = ({}, {"config": RealmScorer(tiny(RealmScorer).config).config})
    for options in configs:
        again = RealmScorer.from_pretrained(tmp_path, **options)
        assert again.query_embedder is not again.embedder
        assert again.config.separate_query_embedder
        for tower in (again.embedder, again.query_embedder):
            assert torch.equal(tower.cls.dense.weight, embedder.cls.dense.weight)
        with torch.no_grad():
            again.query_embedder.cls.dense.bias += 1.0
        assert torch.equal(again.embedder.cls.dense.bias, embedder.cls.dense.bias)


def test_padding_is_the_word_that_does_not_learn_also_where_a_configuration_says_1() -> None:
    for changes in ({}, {"pad_token_id": 1}):
        model = tiny(RealmEmbedder, **changes)
        rows = model.realm.embeddings.word_embeddings.weight
        assert rows[0].abs().max() == 0.0
        assert rows[1].abs().max() > 0.0
        model(torch.tensor([[5, 1, 7, 0, 0]])).projected_score.square().sum().backward()
        assert rows.grad is not None
        assert rows.grad[0].abs().max() == 0.0
        assert rows.grad[1].abs().max() > 0.0


def test_inputs_with_candidates_may_lie_anyhow_in_memory() -> None:
    scorer, encoder, reader = (tiny(kind) for kind in (RealmScorer, RealmKnowledgeAugEncoder, RealmReader))
    ids = pieces(3, 2, 6).transpose(0, 1)
    mask = torch.ones(6, 3, 2).permute(2, 1, 0)
    assert not ids.is_contiguous()
    assert not mask.is_contiguous()
    found = encoder(ids, attention_mask=mask, position_ids=torch.arange(6).expand(2, 3, -1)).logits
    assert torch.equal(found, encoder(ids.contiguous(), attention_mask=mask.contiguous()).logits)
    words = embedded(encoder, ids).transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(encoder(inputs_embeds=words).logits, encoder(ids).logits)
    found = scorer(pieces(2, 5), candidate_input_ids=ids, candidate_attention_mask=mask).relevance_score
    wanted = scorer(pieces(2, 5), candidate_input_ids=ids.contiguous()).relevance_score
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0.0)
    given = {key: torch.stack([value] * 2) for key, value in reading(blocks=3).items()}
    strided = {key: torch.stack([value] * 2, -1).movedim(-1, 0) for key, value in reading(blocks=3).items()}
    assert not strided["block_mask"].is_contiguous()
    assert torch.equal(reader(**strided).loss, reader(**given).loss)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradient_checkpointing_gives_the_same_loss_and_the_same_gradients(kind: type[RealmPreTrainedModel]) -> None:
    model, results = tiny(kind).train(), []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        torch.manual_seed(3)
        given, passes = reading() if kind is RealmReader else example(kind), []
        hooks = [
            part.register_forward_hook(lambda *_, passes=passes: passes.append(1))
            for part in model.modules()
            if isinstance(part, RealmAttention)
        ]
        output = model(**given)
        (output.loss if kind is RealmReader else output[0].float().square().mean()).backward()
        results.append((output[0].detach(), gradients(model), len(passes)))
        for hook in hooks:
            hook.remove()
    # Every layer was computed once more on the way back.
    assert results[1][2] == 2 * results[0][2]
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [RealmEmbedder, RealmReader, RealmKnowledgeAugEncoder])
def test_changing_the_vocabulary_changes_the_masked_token_head_too(kind: type[RealmPreTrainedModel]) -> None:
    model = tiny(kind)
    model.resize_token_embeddings(PIECES + 3)
    assert not any(PIECES in parameter.shape for parameter in model.parameters())
    assert model.get_output_embeddings().weight.shape == (PIECES + 3, 12)
    assert model.get_output_embeddings().bias.shape == (PIECES + 3,)
