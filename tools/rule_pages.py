"""The page of the rules, made from the code: `python -m tools.rule_pages` writes docs/rules.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlperf_submission.rounds import ROUNDS
from mlperf_submission.validation.catalogue import ELSEWHERE
from mlperf_submission.validation.judge import SECTIONS
from mlperf_submission.validation.rules import Rule

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rules.md"
_COVERS = {
    "root": "the whole tree",
    "division": "the division",
    "submitter": "the submitter",
    "system": "the system's results",
    "model": "the model's results",
    "result": "the result",
    "nothing": "nothing else: other results stay accepted",
}


def anchor(rule_id: str) -> str:
    """Return the name of a rule's place on the page."""
    return rule_id.lower().replace("+", "plus-")


def page() -> str:
    """Return the page as Markdown."""
    lines = [
        "# The rules of a submission",
        "",
        "Made from the code by `python -m tools.rule_pages`. Ids are those of the catalogue. Ids with",
        "a leading `+` are our own: the official checker lets these pass, and the rule says why it is wrong.",
        "[differences.md](differences.md) says where ours and the official checkers differ on purpose.",
    ]
    for section in SECTIONS:
        title = (section.__doc__ or "").strip().split("\n")[0]
        lines += ["", f"## {title}"]
        for rule in section.RULES:
            lines += ["", *_rule(rule)]
    lines += ["", "## Ids of the catalogue without a rule", "", "| id | where it is |", "|---|---|"]
    lines += [f"| {one} | {place} |" for one, place in ELSEWHERE.items()]
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> Iterator[str]:
    yield f'### <a id="{anchor(rule.id)}"></a>{rule.id}'
    yield ""
    yield rule.what
    yield ""
    yield f"- **Severity**: {_severity(rule)}"
    yield f"- **Why**: {rule.why}"
    yield f"- **What to do**: {rule.remedy}"
    yield f"- **Looked at**: {_row(rule)}"
    if rule.usual_severity == "error" or rule.covers != "nothing":
        more = {name: round_.covers[rule.id] for name, round_ in ROUNDS.items() if rule.id in round_.covers}
        wider = "".join(f"; in {name} {_COVERS[cover]}" for name, cover in more.items())
        yield f"- **Refused with it**, when it is an error: {_COVERS[rule.covers]}{wider}"
    if rule.in_rehearsal:
        yield "- **In a rehearsal**: a notice, because it hangs on speed, length or completeness"


def _severity(rule: Rule) -> str:
    enforced = [name for name, round_ in ROUNDS.items() if rule.id in round_.enforced]
    relaxed = [name for name, round_ in ROUNDS.items() if rule.id in round_.unenforced]
    if rule.later:
        return f"error in {', '.join(enforced)}; other rounds do not have it"
    text = rule.usual_severity + ("" if rule.usual_severity == "error" else " (`--strict` makes it an error)")
    if relaxed:
        text += f"; only a warning in {', '.join(relaxed)}, whose checker does not look"
    return f"{text}; an error in {', '.join(enforced)}" if enforced else text


def _row(rule: Rule) -> str:
    text = (rule.frame.__doc__ or "").split("\n\n")[0].split(". ")[0].rstrip(".")
    return " ".join(text.split())


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
