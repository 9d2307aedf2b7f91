"""How similar two texts are, in [0, 1], by the metrics of OpenAI's `text_similarity` grader.

OpenAI names the metrics, not their settings. Here:

=============  ===================================================================================================
fuzzy_match    rapidfuzz's ``fuzz.ratio``: normalised indel similarity of characters. Symmetric
bleu           sacrebleu's sentence BLEU: 13a tokens, exponential smoothing, effective order. Case matters
gleu           nltk's sentence GLEU (Wu et al. 2016, arXiv:1609.08144, section 5.2) over words and punctuation, n = 1-4.
               Case matters. Symmetric
meteor         nltk's METEOR (Lavie and Agarwal 2007) with exact and stemmed matches. Deviation: no synonyms, because
               WordNet is a download of its own. One matched word alone scores 0.5, by METEOR's fragmentation penalty
rouge_1 … _5   F-measure of n-gram overlap (Lin 2004) by rouge-score, lower case, no stemming. Symmetric
rouge_l        F-measure of the longest common subsequence of the same tokens; the subsequence is rapidfuzz's, which is
               bit-parallel where rouge-score's is a Python table of n x m cells. Symmetric
cosine         cosine of the word counts, lower case. Deviation: OpenAI's compares embeddings, which takes a model call;
               this one sees words, not meaning. Symmetric
=============  ===================================================================================================

Tokens are runs of letters and digits of any script, where rouge-score's own tokenizer drops all but ASCII. Where neither
text has anything a metric could compare (no words, or fewer than n for n-grams), equal tokens, or without any tokens
equal texts, score 1 and others 0; where only one of them has, the score is 0.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.schemas.graders import SimilarityMetric

MAX_TEXT_CHARACTERS = 100_000  # keeps the slowest metric within a few tenths of a second of CPU
_WORD = re.compile(r"[^\W_]+")
_WORD_OR_PUNCTUATION = re.compile(r"\w+|[^\w\s]+")


def similarity(metric: SimilarityMetric, text: str, reference: str) -> float:
    """Similarity of `text` to `reference`, at most `MAX_TEXT_CHARACTERS` each, in [0, 1]; never NaN."""
    if not text or not reference:
        return float(text == reference)
    return min(1.0, max(0.0, _METRICS[metric](text, reference)))


def _fuzzy_match(text: str, reference: str) -> float:
    from rapidfuzz import fuzz

    return fuzz.ratio(text, reference) / 100


def _bleu(text: str, reference: str) -> float:
    if text == reference:  # holds by definition, but not where nothing is left after tokenizing
        return 1.0
    score = float(_sacrebleu().sentence_score(text, [reference]).score) / 100
    _forget_tokens()
    return score


def _gleu(text: str, reference: str) -> float:
    tokens, expected = _WORD_OR_PUNCTUATION.findall(text), _WORD_OR_PUNCTUATION.findall(reference)
    if not tokens or not expected:
        return _nothing_to_compare(tokens, expected, text == reference)
    from nltk.translate.gleu_score import sentence_gleu

    return float(sentence_gleu([expected], tokens))


def _meteor(text: str, reference: str) -> float:
    tokens, expected = _WORD_OR_PUNCTUATION.findall(text), _WORD_OR_PUNCTUATION.findall(reference)
    if not tokens or not expected:
        return _nothing_to_compare(tokens, expected, text == reference)
    from nltk.translate.meteor_score import single_meteor_score

    return float(single_meteor_score(expected, tokens, wordnet=_NoSynonyms()))


def _rouge_n(n: int) -> Callable[[str, str], float]:
    def score(text: str, reference: str) -> float:
        tokens, expected = _words(text), _words(reference)
        if max(len(tokens), len(expected)) < n:
            return _nothing_to_compare(tokens, expected, text == reference)
        return float(_rouge_scorer(f"rouge{n}").score(reference, text)[f"rouge{n}"].fmeasure)

    return score


def _rouge_l(text: str, reference: str) -> float:
    tokens, expected = _words(text), _words(reference)
    if not tokens or not expected:
        return _nothing_to_compare(tokens, expected, text == reference)
    from rapidfuzz.distance import LCSseq

    return 2 * LCSseq.similarity(tokens, expected) / (len(tokens) + len(expected))


def _cosine(text: str, reference: str) -> float:
    counts, expected = Counter(_words(text)), Counter(_words(reference))
    if not counts or not expected:
        return _nothing_to_compare(list(counts), list(expected), text == reference)
    product = sum(count * expected[word] for word, count in counts.items())
    return product / math.sqrt(_squares(counts) * _squares(expected))


def _squares(counts: Counter[str]) -> int:
    return sum(count * count for count in counts.values())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _nothing_to_compare(tokens: list[str], expected: list[str], same_text: bool) -> float:  # noqa: FBT001  # a measured fact
    return float(tokens == expected if tokens or expected else same_text)


@cache
def _sacrebleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True, force=True)


def _forget_tokens() -> None:
    """Empty sacrebleu's caches: they keep the last 65,536 texts alive, twice, which a server cannot afford."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

    Tokenizer13a.__call__.cache_clear()
    TokenizerRegexp.__call__.cache_clear()


@cache
def _rouge_scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=_Words())


class _Words:
    """Our tokens for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return _words(text)


class _NoSynonyms:
    """A WordNet without words for nltk's METEOR."""

    def synsets(self, _word: str) -> list[Any]:
        return []


_METRICS: dict[SimilarityMetric, Callable[[str, str], float]] = {
    "fuzzy_match": _fuzzy_match,
    "bleu": _bleu,
    "gleu": _gleu,
    "meteor": _meteor,
    "cosine": _cosine,
    "rouge_1": _rouge_n(1),
    "rouge_2": _rouge_n(2),
    "rouge_3": _rouge_n(3),
    "rouge_4": _rouge_n(4),
    "rouge_5": _rouge_n(5),
    "rouge_l": _rouge_l,
}
