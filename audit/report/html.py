"""A run's report as one HTML page that needs nothing else: pictures inside, no scripts, no fonts from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audit.drawing.palette import DARK, LIGHT, css_variables
from audit.drawing.vectors import STYLE, heat_frame, interval_bar
from audit.findings import Claim, Effect, Finding, Outcome
from audit.findings.claims.kind import ClaimKind
from audit.findings.claims.registry import kind_of
from audit.findings.words import OUTCOMES, RESTS_ON, SIGNS, sure
from audit.report.reviewed import Reviewed
from audit.wording import images, number, percent, shorten

LONGEST_NAME = 60
LONGEST_TEXT = 600


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        jpeg: the file's bytes.
        alt: what it shows, for those who do not see it.
    """

    jpeg: bytes = field(repr=False)
    alt: str

    @property
    def uri(self) -> str:
        """As the page holds it."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode()}"


@dataclass(frozen=True)
class Note:
    """Something that a reader should know, and the command that would tell more, if there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class ShownConcept:
    """A concept of a claim.

    Attributes:
        says: what it is worth, whether it comes back, and its words.
        pictures: its patches, and their whole images with where it is; none where no image can be read.
    """

    says: str
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class ShownClaim:
    """A claim with what shows it.

    Attributes:
        outcome: what interventions say of it, or None.
        pictures: of targets it is about, with their heat.
        chosen: how those were chosen, in a sentence.
        heat: [64] mean share of the heat by cell of the frame, or None.
        notices: what could not be shown and why.
        patches: of the channel that sets it apart most, beside one another; None without.
        seen: what these are, in a sentence.
        concepts: the first of those that lie under its heat; `more` others were found.
        lacking: why there are none to be seen, with the command that makes them; None where nobody looked for any.
    """

    claim: Claim
    outcome: Outcome | None = None
    pictures: Sequence[Picture] = ()
    chosen: str = ""
    heat: Sequence[float] | None = None
    notices: Sequence[str] = ()
    patches: Picture | None = None
    seen: str = ""
    concepts: Sequence[ShownConcept] = ()
    more: int = 0
    lacking: Note | None = None

    @property
    def kind(self) -> ClaimKind:
        """Its kind, which knows the words."""
        return kind_of(self.claim)

    def _repr_html_(self) -> str:
        return _render_cards("claim", self)


@dataclass(frozen=True)
class ShownTarget:
    """A finding about one target with its pictures.

    Attributes:
        effect: what interventions did to it, or None.
        pictures: the image, the heat over it, the object outlined.
        notices: what could not be shown and why.
    """

    finding: Finding
    effect: Effect | None = None
    pictures: Sequence[Picture] = ()
    notices: Sequence[str] = ()

    def _repr_html_(self) -> str:
        return _render_cards("target", self)


@dataclass(frozen=True)
class ShownMap:
    """The map of a target, whether it is a finding or not.

    Attributes:
        found: the finding about it, with its pictures; None where nothing was found.
        pictures, notices: as of a `ShownTarget`, where nothing was found.
    """

    class_name: str
    role: str
    probability: float
    found: ShownTarget | None = None
    pictures: Sequence[Picture] = ()
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class ShownSample:
    """A sample with its maps.

    Attributes:
        labels: names of its classes.
        failure: why it has no maps; empty for one that has.
    """

    id: str
    labels: Sequence[str]
    maps: Sequence[ShownMap]
    failure: str = ""

    def _repr_html_(self) -> str:
        return _render_cards("sample", self)


@dataclass(frozen=True)
class SizeBin:
    """Targets whose object covers a share of what was seen from `low` to below `high`.

    Attributes:
        named: how many were named with confidence.
        flagged: how many of those look off the object.
        share_low, share_high: 95 % interval of flagged / named; NaN where none was named.
    """

    low: float
    high: float
    named: int
    flagged: int
    share_low: float
    share_high: float


@dataclass(frozen=True)
class Report:
    """All that the page says.

    Attributes:
        name: of the collection.
        samples: counts by `samples`, `processed`, `failed`, `pending`.
        failures: ids and reasons of the first that failed.
        facts: what was audited, name and value.
        provenance: fingerprints and versions, name and value.
        findings: number of findings about targets by kind.
        scored: targets that were compared with an object.
        claims: found, with pictures; unpictured: found, without.
        targets: the most suspicious.
        sizes: how often targets look off the object, by its size.
        checks: of the method.
        limits: what was not tested, and what cannot be said.
        unjudged: why nothing was judged; empty where something was.
        reviewed: what reviewers decided; None where nobody decided anything.
        basis: what the findings rest on, what was not tested, and what it would take, in sentences.
        concepts: what to do where no claim shows concepts, or why there can be none; None where one does.
    """

    name: str
    samples: Mapping[str, int]
    failures: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    provenance: Sequence[tuple[str, str]]
    findings: Mapping[str, int]
    scored: int
    claims: Sequence[ShownClaim]
    unpictured: Sequence[Claim]
    targets: Sequence[ShownTarget]
    sizes: Sequence[SizeBin]
    checks: Sequence[Note]
    limits: Sequence[Note]
    unjudged: str = ""
    reviewed: Reviewed | None = None
    basis: Sequence[str] = ()
    concepts: Note | None = None

    @property
    def claim_count(self) -> int:
        """Number of claims that were found."""
        return len(self.claims) + len(self.unpictured)

    @property
    def flagged(self) -> int:
        """Number of findings about targets."""
        return sum(self.findings.values())

    @property
    def all_claims(self) -> list[Claim]:
        """Claims that were found, with pictures and without."""
        return [*(shown.claim for shown in self.claims), *self.unpictured]

    @property
    def off_classes(self) -> list[str]:
        """Names of the classes that look off the object as a whole."""
        return [claim.class_name or "" for claim in self.all_claims if kind_of(claim).whole]

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of claims by what interventions made of them."""
        counts = Counter(claim.outcome for claim in self.all_claims)
        return {name: counts[name] for name in OUTCOMES if counts[name]}

    @property
    def by_class(self) -> list[tuple[str | None, list[ShownClaim]]]:
        """Claims by class, in the order of each class's first; what is said of the class as a whole comes first."""
        first: dict[str | None, int] = {}
        for place, shown in enumerate(self.claims):
            first.setdefault(shown.claim.class_name, place)
        ordered = sorted(self.claims, key=lambda shown: (first[shown.claim.class_name], not shown.kind.whole))
        return [(name, list(group)) for name, group in groupby(ordered, key=lambda shown: shown.claim.class_name)]


def render_report(report: Report) -> str:
    """The page as HTML; every text of the run is escaped, and long ones are cut."""
    return _environment().get_template("report.html.j2").render(report=report)


def _render_cards(macro: str, shown: object) -> str:
    """Something shown as HTML for a notebook, its style with it and for it alone."""
    return _environment().get_template("notebook.j2").render(macro=macro, shown=shown)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("audit.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "name": lambda text: shorten(text, LONGEST_NAME),
        "text": lambda text: _unbroken(shorten(text, LONGEST_TEXT)),
        "percent": lambda share: _unbroken(percent(share)),
        "number": number,
        "images": images,
        "sure": sure,
    }
    words = {"outcomes": OUTCOMES, "signs": SIGNS, "rests_on": RESTS_ON}
    environment.globals |= words | {"bar": interval_bar, "frame": heat_frame, "drawing_style": Markup(STYLE)}
    environment.globals |= {
        name: Markup(css_variables(colours)) for name, colours in (("light", LIGHT), ("dark", DARK))
    }
    return environment


def _unbroken(text: str) -> str:
    """The text with no line break before a percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
