from __future__ import annotations

import math
import string
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.graders.checks.similarity import MAX_TEXT_CHARACTERS, similarity
from common.schemas.graders import SimilarityMetric

METRICS: tuple[SimilarityMetric, ...] = get_args(SimilarityMetric)
SYMMETRIC: tuple[SimilarityMetric, ...] = tuple(metric for metric in METRICS if metric not in {"bleu", "meteor"})
CAT, MAT = "the cat sat on the mat", "the cat lay on the mat today"
TEXTS = (
    st.text(max_size=60) | st.text(alphabet="ab .\n-<&", max_size=60) | st.sampled_from(["", " ", "<skipped>", "-\n", "_", "…"])
)
METRIC = st.sampled_from(METRICS)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("fuzzy_match", 2 * 20 / (22 + 28)),  # 20 characters in common order
        ("gleu", 9 / 22),  # 5 + 2 + 1 + 1 shared n-grams of 7 + 6 + 5 + 4
        ("rouge_1", 2 * 5 / 13),
        ("rouge_2", 2 * 3 / 11),
        ("rouge_3", 2 * 1 / 9),
        ("rouge_4", 0.0),
        ("rouge_5", 0.0),
        ("rouge_l", 2 * 5 / 13),
        ("cosine", 7 / math.sqrt(8 * 9)),
    ],
)
def test_values_worked_out_by_hand(metric: SimilarityMetric, expected: float) -> None:
    """On two short sentences each metric gives what its definition gives on paper."""
    assert similarity(metric, CAT, MAT) == pytest.approx(expected)


def test_bleu_is_sacrebleus_brought_to_one() -> None:
    """BLEU on paper: precisions 5/6, 3/5, 1/4 and a smoothed 1/6, brevity penalty exp(1 - 7/6)."""
    precisions = 5 / 6 * 3 / 5 * 1 / 4 * 1 / (2 * 3)
    assert similarity("bleu", CAT, MAT) == pytest.approx(math.exp(1 - 7 / 6) * precisions**0.25)


def test_meteor_matches_words_and_stems() -> None:
    """METEOR on paper: 3 of 3 words match, one by its stem, in one piece; no synonyms."""
    assert similarity("meteor", "the cats sleep", "The cat sleeps") == pytest.approx(1 - 0.5 * (1 / 3) ** 3)
    assert similarity("meteor", "automobile", "car") == 0.0


def test_rouge_l_equals_the_reference_implementation() -> None:
    """The bit-parallel subsequence gives rouge-score's own figure."""
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer(["rougeL"]).score(MAT, CAT + " " + MAT[::-1])["rougeL"].fmeasure
    assert similarity("rouge_l", CAT + " " + MAT[::-1], MAT) == pytest.approx(expected)


@given(METRIC, TEXTS, TEXTS)
def test_every_similarity_lies_within_zero_and_one(metric: SimilarityMetric, text: str, reference: str) -> None:
    """No pair of texts, however odd, leads out of [0, 1], to NaN or to an error."""
    assert 0.0 <= similarity(metric, text, reference) <= 1.0


@given(st.sampled_from(SYMMETRIC), TEXTS, TEXTS)
def test_symmetric_metrics_are_symmetric(metric: SimilarityMetric, text: str, reference: str) -> None:
    """Except for BLEU and METEOR, which take a side, the order of the texts does not matter."""
    assert similarity(metric, text, reference) == similarity(metric, reference, text)


@given(METRIC, TEXTS)
def test_a_text_equals_itself(metric: SimilarityMetric, text: str) -> None:
    """Identical texts score 1, short and empty ones too; METEOR alone takes something off for fragmentation."""
    assert similarity(metric, text, text) == pytest.approx(1.0) if metric != "meteor" else similarity(metric, text, text) >= 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_is_only_like_nothing(metric: SimilarityMetric) -> None:
    """Two empty texts are identical; an empty and another text have nothing in common."""
    assert similarity(metric, "", "") == 1.0
    assert similarity(metric, "", "word") == similarity(metric, "word", "") == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_other_scripts_count(metric: SimilarityMetric) -> None:
    """Words in letters beyond ASCII are words."""
    assert similarity(metric, "Москва столица России сегодня вечером", "Москва столица России сегодня вечером") > 0.99
    assert similarity(metric, "Москва", "Париж") < 0.5


def test_fewer_words_than_an_n_gram_needs() -> None:
    """Where neither text has an n-gram equal words score 1, and where only one has the score is 0."""
    assert similarity("rouge_3", "New York", "new york!") == 1.0
    assert similarity("rouge_3", "New York", "New Delhi") == 0.0
    assert similarity("rouge_3", "New York", "New York City") == 0.0


def test_texts_are_not_kept() -> None:
    """BLEU's tokenizer caches are empty afterwards, so that a long-lived process does not hoard texts."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

    similarity("bleu", CAT, MAT)
    assert Tokenizer13a.__call__.cache_info().currsize == TokenizerRegexp.__call__.cache_info().currsize == 0


@pytest.mark.parametrize("metric", METRICS)
def test_one_endless_word_is_no_trouble(metric: SimilarityMetric) -> None:
    """A text of the greatest length without a single blank is compared like any other."""
    text = (string.ascii_lowercase * (MAX_TEXT_CHARACTERS // 26))[:MAX_TEXT_CHARACTERS]
    assert 0.0 <= similarity(metric, text, "y" * MAX_TEXT_CHARACTERS) <= 1.0
