"""Paragraphs of facts about invented people, with questions on them, in the manner of SQuAD.

A paragraph tells several facts about each of a few people, so that for every question there are other people
of whom the same is told, and other facts about the same person. Surnames and places are built of pieces, so
that the names of one split are unknown to the others. A paragraph depends on its split and number alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Split = Literal["training", "validation", "calibration"]
SEED = 20240401


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    "Ada Aldo Alma Anton Astrid Bela Boris Bruno Carla Clara Cyril Dora Edda Egon Elias Elsa Emil Enno Erika "
    "Ezra Fanny Felix Flora Frida Greta Gustav Hanna Heidi Hugo Ida Igor Ilse Irma Ivan Jana Jonas Julia "
    "Karl Klara Lena Leo Lotte Luca Magda Marko Mila Nadia Nils Nora Olga Oscar Otto Paula Petra Quirin René "
    "Rosa Rufus Selma Sören Theo Tilda Ulla Vera Viktor Wanda Willem Xaver Yvonne Zoë"
)
SURNAME_STARTS = _words(
    "hal bren kor dal fen gris hol jar kel lam mor nor ost pel quar ros sel tor ul ver wal yor zan bar cas "
    "dor fal gar hen jun kas lor mel ned orl pras"
)
SURNAME_ENDS = _words(
    "den mann sen gard wick ström berg hurst ley row man dal quist rup zel tov nik ard ell ix"
)
PLACE_STARTS = _words(
    "ald birk crom dun east farn glen hart ing knar lang mist north oak pen red stan thorn upp wey ash black "
    "clif deep elm frost gold high iron lake"
)
PLACE_ENDS = _words("ford ville bury ham mouth stead worth bridge haven field port wood hill mere")
MONTHS = _words("January February March April May June July August September October November December")
JOBS = (
    "baker", "printer", "teacher", "weaver", "gardener", "tailor", "painter", "clockmaker", "surgeon",
    "miller", "ship builder", "stone mason", "glass blower", "bridge engineer", "harbour pilot",
    "book seller", "court singer", "night watchman", "tax collector", "chess master",
)  # fmt: skip
ANIMALS = (
    "goat", "falcon", "tortoise", "donkey", "ferret", "hedgehog", "peacock", "badger", "grey parrot",
    "white mouse", "brown bear", "blind horse", "three-legged dog", "black swan", "tame fox", "one-eyed cat",
)  # fmt: skip
INSTRUMENTS = (
    "violin", "flute", "cello", "trumpet", "harp", "oboe", "accordion", "church organ", "bass drum",
    "steel guitar", "double bass", "French horn",
)  # fmt: skip
SUBJECTS = (
    "law", "botany", "geometry", "astronomy", "medicine", "chemistry", "ancient history", "marine biology",
    "music theory", "civil engineering", "Roman poetry", "naval architecture",
)  # fmt: skip
DISHES = (
    "dumplings", "pancakes", "trout", "porridge", "goulash", "lentils", "onion soup", "plum cake",
    "smoked eel", "rye bread", "roast goose", "pickled herring",
)  # fmt: skip
FILLERS = (
    "The winters in this valley were long and mild.",
    "Nobody remembers who laid the first stone of the old mill.",
    "The market opened before sunrise, and closed at noon.",
    "A letter from those days is kept in the archive (box 12).",
    "Most of the records were lost in a flood; the rest is hard to read.",
    "The river froze only twice in that century.",
    "Travellers praised the quiet streets and the clean wells.",
    "The railway came late, and with it the newspapers.",
    "Some of this is told in a song that children still sing.",
    "The council met every week, though little was decided.",
    "For many years the road was closed — snow, mud, and then snow again.",
    "Prices rose by 15% in a single summer.",
)
"""Sentences that say nothing about anybody."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "birthplace": ("{who} was born in {what}.", "{who} comes from {what}.", "{who} grew up in {what}."),
    "birthday": ("{who} was born on {what}.", "{who} has a birthday on {what}.",
                 "{who} came to the world on {what}."),
    "home": ("{who} lives in {what}.", "{who} moved to {what}.", "{who} owns a house in {what}."),
    "job": ("{who} works as a {what}.", "{who} earns a living as a {what}.", "{who} became a {what}."),
    "animal": ("{who} keeps a {what}.", "{who} walks around with a {what}.", "{who} feeds a {what}."),
    "instrument": ("{who} plays the {what}.", "{who} practises the {what}.", "{who} performs on the {what}."),
    "subject": ("{who} studied {what}.", "{who} took a degree in {what}.", "{who} lectured on {what}."),
    "dish": ("{who} likes to eat {what}.", "{who} cooks {what}.", "{who} orders {what}."),
    "wedding": ("{who} married in {what}.", "{who} wed in {what}.", "{who} celebrated a wedding in {what}."),
}  # fmt: skip
QUESTIONS: dict[str, tuple[str, ...]] = {
    "birthplace": ("Where was {who} born?", "What is the birthplace of {who}?", "From which town is {who}?"),
    "birthday": ("On what day was {who} born?", "When is the birthday of {who}?",
                 "What is the birth date of {who}?"),
    "home": ("Where does {who} live?", "In which town is the home of {who}?", "Where is {who} at home?"),
    "job": ("What is the profession of {who}?", "What job does {who} have?", "What is {who} by trade?"),
    "animal": ("Which animal does {who} keep?", "What pet does {who} have?", "What is the animal of {who}?"),
    "instrument": ("Which instrument does {who} play?", "What is the instrument of {who}?",
                   "On which instrument is {who} good?"),
    "subject": ("What did {who} study?", "Which subject did {who} study?",
                "What was the degree of {who} in?"),
    "dish": ("Which dish does {who} like?", "What does {who} eat?", "What is the favourite food of {who}?"),
    "wedding": ("When did {who} marry?", "In what year did {who} marry?",
                "What was the wedding year of {who}?"),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A question with its one answer; `start` is the index of the answer's first character in the context."""

    question: str
    answer: str
    start: int


@dataclass(frozen=True)
class Told:
    """A paragraph with its questions."""

    context: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class _Fact:
    who: str
    relation: str
    what: str


def paragraph(split: Split, number: int, *, longest: int = 60) -> Told:
    """Return a paragraph with one to three questions.

    Args:
        split: whose names are used.
        number: 0, 1, …
        longest: upper limit of facts and fillers; 60 make more than 384 pieces.
    """
    draw = random.Random(f"{SEED} {split} {number}")  # noqa: S311
    size = draw.randint(4, 16) if draw.random() < 0.94 else draw.randint(17, 60)
    size = min(size, longest)
    people = _people(draw, split, max(2, min(12, size // 3 + draw.randint(0, 1))))
    pairs = [(who, relation) for who in people for relation in TEMPLATES]
    told = draw.sample(pairs, min(size, len(pairs)))
    facts = [_Fact(who, relation, _value(draw, split, relation)) for who, relation in told]
    text, starts = _tell(draw, facts)
    wanted = draw.sample(range(len(facts)), min(len(facts), draw.randint(1, 3)))
    asked = tuple(Asked(_ask(draw, facts[number]), facts[number].what, starts[number]) for number in wanted)
    return Told(text, asked)


def vocabulary_texts() -> Iterator[str]:
    """Yield every text whose words are in the vocabulary whole; names built of pieces are not among them."""
    yield from FIRST_NAMES
    yield from MONTHS
    for values in (JOBS, ANIMALS, INSTRUMENTS, SUBJECTS, DISHES, FILLERS):
        yield from values
    for group in (TEMPLATES, QUESTIONS):
        for texts in group.values():
            yield from (text.replace("{who}", "").replace("{what}", "") for text in texts)


def _tell(draw: random.Random, facts: list[_Fact]) -> tuple[str, list[int]]:
    """Return the facts as a text, and where the answer of each begins."""
    text, starts = "", []
    for fact in facts:
        if draw.random() < 0.18:
            text += draw.choice(FILLERS) + " "
        template = draw.choice(TEMPLATES[fact.relation])
        if draw.random() < 0.1:
            template = template.replace("a {what}", "a “{what}”").replace("in {what}", "in ({what})")
        before, after = template.split("{what}")
        sentence = before.replace("{who}", fact.who)
        starts.append(len(text) + len(sentence))
        text += sentence + fact.what + after + draw.choice((" ", " ", " ", "\n", "\u202f", "  "))
    return text.strip(" \n\u202f"), starts


def _ask(draw: random.Random, fact: _Fact) -> str:
    return draw.choice(QUESTIONS[fact.relation]).replace("{who}", fact.who)


def _people(draw: random.Random, split: Split, count: int) -> list[str]:
    first = draw.sample(FIRST_NAMES, count)
    return [f"{name} {_built(draw, split, SURNAME_STARTS, SURNAME_ENDS)}" for name in first]


def _built(draw: random.Random, split: Split, starts: tuple[str, ...], ends: tuple[str, ...]) -> str:
    """Return a name of two pieces; each pair of pieces belongs to one split: one half of them to training."""
    while True:
        start, end = draw.randrange(len(starts)), draw.randrange(len(ends))
        if ("training", "validation", "training", "calibration")[(start + 3 * end) % 4] == split:
            return (starts[start] + ends[end]).capitalize()


def _value(draw: random.Random, split: Split, relation: str) -> str:
    match relation:
        case "birthplace" | "home":
            return _built(draw, split, PLACE_STARTS, PLACE_ENDS)
        case "birthday":
            day = f"{draw.randint(1, 28)} {draw.choice(MONTHS)}"
            return f"{day} {draw.randint(1820, 1990)}" if draw.random() < 0.5 else day
        case "wedding":
            return str(draw.randint(1840, 2019))
    values = {"job": JOBS, "animal": ANIMALS, "instrument": INSTRUMENTS, "subject": SUBJECTS, "dish": DISHES}
    return draw.choice(values[relation])
