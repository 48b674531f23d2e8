"""The answer in five seconds: what looks off the object, how sure that is, and where to begin reviewing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from markupsafe import Markup

from audit.concepts.kept import Concept
from audit.drawing.vectors import as_image, heat_frame, interval_bar
from audit.findings import Claim
from audit.findings.claims.registry import kind_of
from audit.findings.dependence import units_said
from audit.findings.pages.basis import basis_of
from audit.findings.pages.unfound import explain_silence
from audit.findings.words import OUTCOMES, RESTS_ON, SIGNS, sure
from audit.store.verdicts.log import target_of
from audit.wording import number, plain, shorten
from dashboards.browsing.queues import CLAIM, NEXT, Queue
from dashboards.cards import Card, cards_of
from dashboards.patches import about_concepts, concept_picture, concepts_of, first_channel, patch_strip, words_of
from dashboards.state import SENTENCE, Context, go, show_notices, small_picture
from dashboards.words import html_figures

MOST_CARDS = 6
_EXAMPLES = 4
_SILENT = 20
_ODDNESS = "oddness"
_MOST_CLAIMS = 40


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    cards = cards_of(context)
    st.html(Markup('<p class="lede">{}</p>').format(_answer(context, cards)))
    st.html(html_figures(_figures(context, cards)))
    if cards:
        grid = st.grid(3, min_column_width=300, gap="small", border=True)
        for card in cards[:MOST_CARDS]:
            with grid.cell():
                _show_card(context, card)
        untried = about_concepts(context, [card.claim for card in cards[:MOST_CARDS]])
        if untried:
            st.html(Markup('<p class="tags">{}</p>').format(untried))
    _show_ways(context)
    _show_others(context, cards[MOST_CARDS:])
    _show_basis(context)
    _show_silence(context)


def _answer(context: Context, cards: Sequence[Card]) -> str:
    """What was found, in a sentence."""
    tables = context.tables
    account = tables.account()
    classes = list(dict.fromkeys(c.claim.class_name for c in cards if c.claim.class_name and kind_of(c.claim).whole))
    if classes:
        looks = "class looks" if len(classes) == 1 else "classes look"
        more = f" and {len(classes) - 4} more" if len(classes) > 4 else ""
        names = ", ".join(shorten(name, 30) for name in classes[:4])
        return f"{len(classes)} {looks} off the object: {names}{more}."
    if cards:
        first = "No class looks off the object as a whole" if tables.classes() else "No object is known"
        claims = "1 claim is" if len(cards) == 1 else f"{number(len(cards))} claims are"
        return f"{first}; {claims} about places or groups."
    if not tables.flagged or account is None or not account.processed:
        return "Nothing was judged yet."
    if tables.findings_count():
        return "No claim stands; single images look off the object."
    if tables.judged:
        return "Nothing was found. What could not be tested stands below."
    return "Nobody told where the objects are, so images are ranked by what needs no mask."


def _figures(context: Context, cards: Sequence[Card]) -> dict[str, tuple[str, str]]:
    account = context.tables.account()
    findings, reviewed = context.tables.findings_count(), sum(map(bool, map(target_of, context.standing)))
    failed = "unknown" if account is None else number(account.failed)
    of = "" if account is None else f"of {number(account.samples)} images"
    outcomes = [card.claim.outcome for card in cards]
    told = ", ".join(f"{outcomes.count(name)} {name}" for name in OUTCOMES if name in outcomes)
    if _only_ranked(context):
        look = {"images ranked, none flagged": (number(context.tables.images_ranked), "by what needs no mask")}
        done = (number(reviewed), "")
    else:
        look = {"images to look at": (number(findings), of)}
        done = (number(reviewed), f"of {number(findings)}")
    return {"claims": (number(len(cards)), told), **look, "reviewed": done, "failed": (failed, of)}


def _only_ranked(context: Context) -> bool:
    """Whether no image could be flagged, for no object is known, and all that there is is their order."""
    tables = context.tables
    return tables.flagged and not tables.judged and not tables.findings_count() and tables.images_ranked > 0


def _show_card(context: Context, card: Card) -> None:
    """A claim: its sentence, what shows it, how sure it is, and the way to its images."""
    claim = card.claim
    st.html(_pictured(context, card))
    count = number(card.targets)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        queue = Queue(CLAIM, claim.claim_id, as_of=context.log.last())
        if st.button(
            f"Review these {count}", key=f"review {claim.claim_id}", type="primary", disabled=not card.targets
        ):
            go("review", queue.query())
        if st.button("Browse", key=f"browse {claim.claim_id}", type="tertiary"):
            go("browse", {"claim": claim.claim_id})


def _pictured(context: Context, card: Card) -> str:
    """The card but for its buttons, as HTML."""
    claim = card.claim
    pictures = [_thumbnail(context, target) for target in card.examples[:_EXAMPLES]]
    frame = [as_image(heat_frame(card.heat, claim.details.get("box")))] if card.heat else []
    bar = interval_bar(claim.share, claim.low, claim.high, claim.expected)
    bar = Markup("") if kind_of(claim).difference or not bar else as_image(bar)
    return str(
        Markup(
            '<p class="says cut" title="{says}">{says}</p><div class="strip">{strip}</div>{seen}{bar}'
            '<p class="tags"><span class="{outcome}">{sign} {outcome}</span> · {sure} · rests on {rests}{also} · '
            "{reviewed}</p>"
        ).format(
            says=shorten(claim.says, SENTENCE),
            strip=Markup("").join([*frame, *pictures]),
            seen=_seen(context, claim.claim_id) + _concepts(context, claim),
            bar=bar,
            outcome=claim.outcome,
            sign=SIGNS.get(claim.outcome, ""),
            sure=sure(claim.q, claim.fdr),
            rests=RESTS_ON.get(claim.rests_on, claim.rests_on),
            also=_also(card),
            reviewed=context.precision(claim.claim_id).says,
        )
    )


def _seen(context: Context, claim_id: str) -> Markup:
    """What the heat lies on: the patches of the channel that sets the claim apart most; nothing without."""
    row = first_channel(context, claim_id)
    data = patch_strip(context, row) if row else None
    if row is None or data is None:
        return Markup("")
    encoded = b64encode(data).decode()
    picture = Markup('<img src="data:image/webp;base64,{}" alt="{}">').format(encoded, words_of(row))
    return Markup('<div class="patches">{}</div><p class="tags">{}</p>').format(picture, words_of(row))


def _concepts(context: Context, claim: Claim) -> Markup:
    """What lies under the claim's heat, the first concept at once and the others when they are asked for."""
    kept = concepts_of(context, claim)
    if isinstance(kept, str):
        return Markup('<p class="tags">{}</p>').format(kept) if kept else Markup("")
    first, *others = (_concept(context, claim, concept) for concept in kept.concepts)
    if not others:
        return first
    more = "1 more concept" if len(others) == 1 else f"{len(others)} more concepts"
    return first + Markup('<details class="tags"><summary>{}</summary>{}</details>').format(
        more, Markup("").join(others)
    )


def _concept(context: Context, claim: Claim, concept: Concept) -> Markup:
    data = concept_picture(context, claim, concept)
    said = concept.said()
    encoded = b64encode(data).decode() if data else ""
    picture = Markup('<img src="data:image/webp;base64,{}" alt="{}">').format(encoded, said) if data else Markup("")
    return Markup('<div class="patches">{}</div><p class="tags">{}</p>').format(picture, said)


def _also(card: Card) -> str:
    if not card.also:
        return ""
    return f" · and {number(len(card.also))} more {'claim' if len(card.also) == 1 else 'claims'} about the same images"


def _thumbnail(context: Context, target: Mapping[str, Any]) -> Markup:
    data, _ = small_picture(context, target)
    alt = f"{shorten(target['class'], 40)} in {shorten(target['id'], 60)}: the heat over the image"
    return Markup('<img src="data:image/webp;base64,{}" alt="{}">').format(b64encode(data).decode(), alt)


def _show_ways(context: Context) -> None:
    """Where to begin, beside the cards."""
    with st.container(horizontal=True, gap="small"):
        if context.tables.claims() and st.button("Review whatever teaches most"):
            go("review", Queue(NEXT, as_of=context.log.last()).query())
        ranked = _only_ranked(context)
        if ranked and st.button("Review the oddest first", type="primary"):
            go("review", Queue(sort=_ODDNESS, as_of=context.log.last()).query())
        if st.button("Browse all targets"):
            go("browse", {"sort": _ODDNESS} if ranked else None)


def _show_others(context: Context, cards: Sequence[Card]) -> None:
    if not cards:
        return
    st.subheader("Other claims")
    for card in cards[:_MOST_CLAIMS]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(gap=None, width="stretch"):
                st.text(shorten(card.claim.says, SENTENCE))
                st.caption(plain(f"{card.claim.outcome} · {sure(card.claim.q, card.claim.fdr)}"))
            if st.button(f"Review {number(card.targets)}", key=f"review {card.claim.claim_id}"):
                go("review", Queue(CLAIM, card.claim.claim_id, as_of=context.log.last()).query())


def _show_basis(context: Context) -> None:
    """What findings rest on, what was not tested, and what it would take."""
    basis = basis_of(context.tables.findings) if context.tables.summary() else None
    if basis:
        st.subheader("What it rests on")
        st.markdown("\n".join(f"- {plain(line, SENTENCE)}" for line in basis.lines()))


def _show_silence(context: Context) -> None:
    """What stands out without proof, what could not be tested, how common a shortcut must be to have been found."""
    summary = context.tables.summary() or {}
    units = units_said(summary)
    if units:
        st.caption(plain(f"{units}."))
    said = explain_silence(summary, most=_SILENT)
    if said:
        st.subheader("What silence means here")
        st.markdown("\n".join(f"- {plain(text)}" for text in said))
