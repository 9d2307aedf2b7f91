from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.schemas.canaries import CanaryFailure, CanarySummary
from common.schemas.evaluation import Unscored, Usage
from common.schemas.progress import RunProgress, WaitingFor
from common.schemas.runs import GraderSummary, ModelUsage, RunSummary, Sides, SideSum, WorstItem
from common.schemas.stopping import Stopped
from functions.aggregate.pages.page import content_security_policy
from functions.aggregate.pages.report import UNSCORED_SHOWN, UnscoredVerdict, render
from tests.support.pages import HOSTILE, Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.schemas.runs import ItemResult

    Build = Callable[..., ItemResult]


CANARIES = CanarySummary(total=9, done=9, passed=8, failed=1, unscored=0)
STOPPED = Stopped(rule="a: mean 0.5", decision="above", at_items=3)


def page_of(summary: RunSummary, items: list[ItemResult] | None = None, unscored: list[UnscoredVerdict] | None = None) -> Page:
    html = render(summary, load=lambda _: items or [], unscored=unscored or [], rendered_at=1_700_000_100)
    html.encode()
    return Page(html)


def everything(summary: RunSummary, item: Build, text: str) -> Page:
    """A report in which `text` stands in every place that a user or a model can fill."""
    grader = summary.graders[0].model_copy(update={"name": text, "labels": {text: 3}, "unscored_reasons": {text: 1}})
    labels = GraderSummary(name=text, type="label_model", scored=3, passed=3, mean=1.0, pass_rate=1.0, labels={text: 3})
    hostile = summary.model_copy(
        update={
            "name": text,
            "status": "failed",
            "error": Unscored(code=text, message=text),
            "simulated": True,
            "metadata": {text: text},
            "eval_id": text,
            "graders": [grader, labels],
            "worst": {text: [WorstItem(index=4, score=1.0)]},
            "suspect": True,
            "suspect_reason": text,
            "canaries": CanarySummary(
                total=1, done=1, passed=0, failed=1, unscored=0, failing=[CanaryFailure(line=0, grader=text, outcome="failed")]
            ),
            "models": [ModelUsage(model=text, calls=1, unpriced_calls=1), ModelUsage(model=text, role="target", calls=1)],
        }
    )
    unscored = item(unscored=Unscored(code=text, message=text, raw=text or None)).verdicts[0]
    bad = item(fields={text: text, f"{text}2": {text: [text]}}, output=text, reason=text, label=text)
    verdict = bad.verdicts[0].model_copy(update={"name": text, "judge": text})
    entry = UnscoredVerdict(4, unscored.model_copy(update={"name": text}))
    return page_of(hostile, [bad.model_copy(update={"verdicts": [verdict]})], [entry])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(summary: RunSummary, item: Build, text: str) -> None:
    """A report full of hostile text has the very elements and attributes of one full of harmless text."""
    assert everything(summary, item, text).shape == everything(summary, item, "harmless").shape


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(text=st.text(alphabet=st.characters(exclude_categories=()), min_size=1, max_size=30).filter(str.strip))
def test_any_text_is_only_text(summary: RunSummary, item: Build, text: str) -> None:
    """No text at all changes the page's structure."""
    assert everything(summary, item, text).shape == everything(summary, item, "harmless").shape


def test_hostile_text_can_still_be_read(summary: RunSummary, item: Build) -> None:
    """What was written is shown as it was written, and what would mislead the eye is spelled out."""
    page = everything(summary, item, HOSTILE[0])
    assert page.text.count(HOSTILE[0]) >= 15
    spelled = everything(summary, item, "safe\u202egnp.exe\0")
    assert "safe[U+202E]gnp.exe[U+0000]" in spelled.text


def test_nothing_runs_and_nothing_loads(summary: RunSummary, item: Build) -> None:
    """The page has no script, no inline style, no handler, no frame, no image, and links that stay within the run."""
    page = everything(summary, item, HOSTILE[1])
    assert not {tag for tag, _ in page.elements} & {"script", "iframe", "img", "link", "object", "embed", "form", "base"}
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "srcset", "action")}
    assert all(re.match(r"(#grader-\d+|results\?|\.\./)", href) for href in page.attributes("href"))


def test_the_policy_allows_the_stylesheet_by_its_hash_and_nothing_else(summary: RunSummary) -> None:
    """The hash in the Content-Security-Policy is the one of the page's only style element."""
    html = render(summary, load=lambda _: [], unscored=[], rendered_at=0)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in content_security_policy()
    assert content_security_policy().startswith("default-src 'none'; ")
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]


def test_a_megabyte_of_text_stays_out(summary: RunSummary, item: Build) -> None:
    """Huge fields, outputs and reasons are cut, and the page says how long they are."""
    page = everything(summary, item, "x" * 1_000_000)
    assert sum(map(len, page.texts)) < 60_000
    assert "1,000,000 characters in all" in page.text


def test_the_page_tells_the_run(summary: RunSummary, item: Build) -> None:
    """Name, judge, cost, tokens, times, counts, mean, interval and pass rate stand in the text."""
    text = page_of(summary, [item()]).text
    for told in (
        "November answers", "Completed", "10 of 10 items", "lab:judge-1", "$0.0050".rstrip("0"), "1,000",
        "2023-11-14 22:13:30 UTC", "1 min 25 s", "eval_1", "version 3", "run_1", "6 Passed 60.0 %", "3 Failed", "1 Errored",
        "Mean 7.40", "6.10 to 8.70", "66.7 %", "35.4 % to 87.9 %", "malformed_reply", "Item 4", "It names no time limit.",
        "Whenever you like.", "30 days",
    ):  # fmt: skip
        assert told in text, told


def test_a_complete_real_run_has_no_banner(summary: RunSummary) -> None:
    """Warnings stand only where there is something to warn about."""
    assert not [attributes for tag, attributes in page_of(summary).elements if tag == "aside"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"simulated": True}, "Simulated. A simulator took part"),
        (
            {"suspect": True, "suspect_reason": "1 of 9 canaries failed", "canaries": CANARIES},
            "Not to be believed. 1 of 9 canaries",
        ),
        ({"done": 4, "stopped": STOPPED}, "Stopped early. a: mean 0.5 was decided after 3 items in random order: above ."),
        ({"status": "in_progress", "done": 4, "ended_at": None}, "Not complete. 6 of 10 items are still to be judged."),
        ({"status": "queued", "done": 0, "started_at": None, "ended_at": None}, "Not complete. 10 of 10 items"),
        ({"status": "canceled", "done": 4}, "Canceled. This run ended with 4 of 10 items judged."),
        ({"status": "failed", "error": Unscored(code="budget_exhausted", message="spent")}, "budget_exhausted spent"),
    ],
)
def test_banners(summary: RunSummary, change: dict[str, Any], told: str) -> None:
    """A run that is simulated, or not whole, says so before any figure."""
    page = page_of(summary.model_copy(update=change))
    assert told in page.text
    assert page.text.index(told) < page.text.index("Outcome")


def _going(summary: RunSummary, model: str) -> Page:
    waits = [WaitingFor(reason="rate_limit", model=model, since=1, items=3), WaitingFor(reason="broker", since=2)]
    now = RunProgress(items_per_s=1.25, eta_s=75, cost_projected_usd=0.0125, waiting_for=waits)
    return page_of(summary.model_copy(update={"status": "in_progress", "done": 4, "ended_at": None, "progress": now}))


def test_a_run_under_way_says_how_it_gets_on(summary: RunSummary) -> None:
    """Pace, end, cost to expect and what is waited for stand at the top; a model's name is only text there."""
    text = " ".join(_going(summary, "lab:judge-1").text.split())
    assert "1.2 items/s in the last minute, about 1 min 15 s left. About $0.01 in all" in text
    assert "Waiting for the rate limit of lab:judge-1 , the broker." in text
    assert _going(summary, HOSTILE[0]).shape == _going(summary, "harmless").shape


def test_unknown_cost_stays_unknown(summary: RunSummary) -> None:
    """A missing price is named, for the run and for its model, and no dollar amount stands in its place."""
    models = [ModelUsage(model="lab:judge-1", calls=10, usage=Usage(), unpriced_calls=10)]
    text = page_of(summary.model_copy(update={"cost_microusd": None, "cost_usd": None, "models": models})).text
    assert "Cost unknown" in text
    assert "unknown 10 calls without a price" in text
    assert "$" not in text


def test_answers_from_the_cache_stand_apart(summary: RunSummary) -> None:
    """Calls that were not made, because their answers were kept, are named beside those that were."""
    models = [ModelUsage(model="lab:judge-1", calls=2, cached_calls=8)]
    assert "2 and 8 from the cache" in page_of(summary.model_copy(update={"models": models})).text


def test_no_figure_is_made_up_for_a_grader_without_scores(summary: RunSummary) -> None:
    """A grader that scored nothing has no mean, no rate and no drawing; its reasons are still listed."""
    empty = GraderSummary(name="tone", type="score_model", unscored=10, bins=[0] * 20, unscored_reasons={"refusal": 10})
    page = page_of(summary.model_copy(update={"graders": [empty], "worst": {}}))
    assert "No verdict has a score yet" in page.text
    assert "refusal 10" in page.text
    assert "Mean 0" not in page.text
    assert [a["class"] for tag, a in page.elements if tag == "svg"] == ["outcome"]


def test_labels_are_shown_by_share(summary: RunSummary) -> None:
    """A label grader shows how often each label was given, the most frequent first, instead of a histogram."""
    tone = GraderSummary(
        name="tone", type="label_model", scored=4, passed=3, failed=1, mean=0.75, pass_rate=0.75, labels={"bad": 1, "good": 3}
    )
    page = page_of(summary.model_copy(update={"graders": [tone], "worst": {}}))
    assert page.text.index("good 3 75.0 %") < page.text.index("bad 1 25.0 %")
    assert "histogram" not in [a.get("class") for tag, a in page.elements if tag == "svg"]


def test_drawings_speak(summary: RunSummary) -> None:
    """Every drawing that carries data has a role and words for those who do not see it."""
    drawings = [attributes for tag, attributes in page_of(summary).elements if tag == "svg"]
    assert len(drawings) == 4
    assert all(a.get("aria-hidden") == "true" or (a.get("role") == "img" and a.get("aria-label")) for a in drawings)
    labels = " ".join(str(a.get("aria-label")) for a in drawings)
    assert "Passed 6, Failed 3, Errored 1 of 10 items" in labels
    assert "counts by slice: 1, 0, 0, 0" in labels


def test_tables_are_tables(summary: RunSummary, item: Build) -> None:
    """Each table has a caption, each header cell its scope, and the page one main heading."""
    page = everything(summary, item, "harmless")
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption") > 4
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
    assert tags.count("h1") == 1
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert set(page.attributes("aria-labelledby")) <= set(ids)


def test_unscored_verdicts_are_listed_up_to_a_bound(summary: RunSummary, item: Build) -> None:
    """The first two hundred stand on the page; a link leads to the rest."""
    verdict = item(unscored=Unscored(code="timeout", message="no answer", raw="half a rep")).verdicts[0]
    many = summary.model_copy(update={"graders": [summary.graders[0].model_copy(update={"unscored": 1000})]})
    page = page_of(many, unscored=[UnscoredVerdict(index, verdict) for index in range(500)])
    assert page.text.count("no answer") == UNSCORED_SHOWN
    assert "The first 200 are listed" in page.text
    assert "results?outcome=errored&format=json" in page.attributes("href")
    assert "half a rep" in page.text


def test_an_item_that_is_gone_says_so(summary: RunSummary) -> None:
    """A lowest score whose item was deleted keeps its line."""
    page = page_of(summary, items=[])
    assert "Item 4 1.00" in page.text
    assert "no longer kept" in page.text


def test_a_pass_is_no_lowest_score(summary: RunSummary) -> None:
    """Where scores are only 0 or 1, the list of lowest scores holds the zeros, in the order of their items."""
    check = GraderSummary(name="exact", type="string_check", scored=4, passed=2, failed=2, mean=0.5, pass_rate=0.5)
    worst = {"exact": [WorstItem(index=i, score=s) for i, s in ((11, 0.0), (2, 0.0), (0, 1.0), (1, 1.0))]}
    text = page_of(summary.model_copy(update={"graders": [check], "worst": worst})).text
    assert text.index("Item 2 0") < text.index("Item 11 0")
    assert "Item 0" not in text


def test_both_sides_of_pairs_are_shown(summary: RunSummary) -> None:
    """Pairs judged by scores have a table of both sides' totals and means."""
    sides = Sides(a=SideSum(total=580, mean=580 / 77), b=SideSum(total=688, mean=688 / 77))
    pair = summary.graders[0].model_copy(update={"type": "pairwise_model", "sides": sides})
    text = page_of(summary.model_copy(update={"graders": [pair]})).text
    assert "a, the sample 580 7.5325" in text
    assert "b, the other 688 8.9351" in text


def test_many_fields_are_counted(summary: RunSummary, item: Build) -> None:
    """An item with hundreds of fields shows a dozen and says how many it hides."""
    assert "288 more fields are not shown" in page_of(summary, [item(fields={f"f{i}": i for i in range(300)})]).text


def test_many_graders_show_fewer_items_each(summary: RunSummary) -> None:
    """However many graders a run has, the page loads few items at a time and few in all."""
    asked: list[int] = []

    def load(indexes: object) -> list[ItemResult]:
        asked.append(len(list(indexes)))  # type: ignore[call-overload]  # a sequence of indexes
        return []

    worst = [WorstItem(index=i, score=1.0) for i in range(20)]
    graders = [summary.graders[0].model_copy(update={"name": f"g{i}"}) for i in range(64)]
    render(
        summary.model_copy(update={"graders": graders, "worst": {g.name: worst for g in graders}}),
        load=load,
        unscored=[],
        rendered_at=0,
    )
    assert asked == [3] * 64
