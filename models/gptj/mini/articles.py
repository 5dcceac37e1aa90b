"""Short newspaper articles with highlights, made from templates over a small world.

An article tells one event: who, where, when, how many, why. Its highlights repeat these facts in other words,
so that they can be derived from the text and from nothing else. Other people and places stand in the article
too; which ones count is said by the sentence around them. A sample depends on its split and number alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Split = Literal["validation", "calibration", "training"]
SEED = 41
_SPLITS: tuple[Split, ...] = ("validation", "calibration", "training")
_LONG_SHARE = 0.02
"""Articles longer than the longest prompt: cut like the official ones, end of the prompt included."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Alice Bruno Carla David Elena Frank Grace Henry Irene Jacob Karen Louis Maria Nadia Oscar Paula "
    "Quinn Rosa Simon Tessa Ulrich Vera Walter Zoe"
)
LAST = _words(
    "Abbott Baker Carter Dawson Ellis Fischer Graham Hughes Ingram Jensen Keller Lambert Morgan Norris "
    "Osborne Parker Quigley Ramsey Shaw Turner Underwood Vaughan Weaver York"
)
CITY = _words(
    "Ashford Brookdale Clifton Dunmore Eastvale Fairview Glenwood Harborough Inverton Kingsley Lakeside "
    "Midland Northgate Oakham Pinecrest Queensbury Riverton Stonebridge Thornbury Westport"
)
DAY = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBER = _words("two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty")


@dataclass(frozen=True)
class Story:
    """A kind of event: its sentences and highlights, and the words for its two free facts."""

    lead: tuple[str, ...]
    details: tuple[str, ...]
    highlights: tuple[str, ...]
    thing: tuple[str, ...]
    cause: tuple[str, ...]


STORIES = (
    Story(
        lead=(
            "A fire destroyed {thing} in {city} on {day}, and {number} people were taken to hospital.",
            "On {day} {number} people were taken to hospital after a fire in {thing} in {city}.",
        ),
        details=(
            "Fire chief {first} {last} said that the blaze was caused by {cause}.",
            "Crews fought the flames for {hours} hours.",
        ),
        highlights=(
            "A fire has completely destroyed {thing} in the town of {city} .",
            "On {day} {number} people were taken to hospital with burns .",
            "Fire chief {first} {last} says that {cause} caused the blaze .",
            "After {hours} hours firefighters brought the flames under control , and no one was missing .",
        ),
        thing=("a warehouse", "a bakery", "a hotel", "a theatre", "a paper mill", "a farm"),
        cause=("a broken heater", "faulty wiring", "a burning candle", "an oil lamp", "a gas leak"),
    ),
    Story(
        lead=(
            "Thieves stole {thing} from the museum in {city} on {day} while {number} guards were on duty.",
            "The museum in {city} lost {thing} to thieves on {day}, although {number} guards were on duty.",
        ),
        details=(
            "Detective {first} {last} said that the thieves came through {cause}.",
            "The alarm rang only {hours} hours later.",
        ),
        highlights=(
            "Thieves have stolen {thing} from a museum in the town of {city} .",
            "On {day} {number} guards were on duty and saw nothing at all .",
            "Detective {first} {last} believes that they entered through {cause} .",
            "It took {hours} hours until the alarm of the museum rang , and they were far away by then .",
        ),
        thing=("a painting", "a golden crown", "an old map", "a silver sword", "a rare violin", "a statue"),
        cause=("a cellar window", "the roof", "an open gate", "a tunnel", "the back door"),
    ),
    Story(
        lead=(
            "Rescuers found {thing} alive near {city} on {day} after a search with {number} helicopters.",
            "After a search with {number} helicopters, {thing} were found alive near {city} on {day}.",
        ),
        details=(
            "Rescue leader {first} {last} said that they had lost their way because of {cause}.",
            "They had waited for help for {hours} hours.",
        ),
        highlights=(
            "Rescuers have found {thing} alive in the hills near {city} .",
            "The search on {day} was made with {number} helicopters and many dogs .",
            "Rescue leader {first} {last} says that {cause} made them lose their way .",
            "They had been waiting for help for {hours} hours in the cold , and they are well again now .",
        ),
        thing=(
            "two hikers",
            "three climbers",
            "a school class",
            "four skiers",
            "two children",
            "some divers",
        ),
        cause=("thick fog", "heavy snow", "a wrong map", "a sudden storm", "a broken radio"),
    ),
    Story(
        lead=(
            "The mayor of {city} opened {thing} on {day} and thanked the {number} companies that built it.",
            "On {day} {city} celebrated {thing}, the work of {number} companies, which the mayor opened.",
        ),
        details=(
            "Engineer {first} {last} said that the work took longer because of {cause}.",
            "The celebration lasted {hours} hours.",
        ),
        highlights=(
            "The people of the town of {city} can use {thing} from now on .",
            "The mayor opened it on {day} and thanked {number} companies for the work .",
            "Engineer {first} {last} explains that {cause} delayed the project .",
            "Visitors danced and sang for {hours} hours at the celebration , with free food for everyone .",
        ),
        thing=(
            "a new bridge",
            "a new library",
            "a new station",
            "a new stadium",
            "a new park",
            "a new school",
        ),
        cause=("soft ground", "rising prices", "a court case", "a cold winter", "missing steel"),
    ),
)
FILLER = (
    "Neighbours in the street said that they were surprised by the news.",
    "{first2} {last2}, a shopkeeper from {city2}, said that nobody had expected this.",
    "A similar case was reported from {city2} last year.",
    "Many people came to the town hall to ask for news.",
    "The governor called {first2} {last2} by telephone in the evening.",
    "Newspapers in {city2} sent {number2} reporters to the place.",
    "Local schools stayed closed in the morning.",
    "The weather service expects rain for the rest of the week.",
    "Traffic between the town and {city2} was stopped for a while.",
    "The council will talk about the matter in its next meeting.",
)


@dataclass(frozen=True)
class Article:
    """One sample: the text of the article, and its highlights, one per line."""

    text: str
    highlights: str


def article(split: Split, index: int) -> Article:
    """Return a sample; the same split and number give the same text."""
    random = np.random.default_rng([SEED, _SPLITS.index(split), index])

    def one(values: tuple[str, ...]) -> str:
        return values[int(random.integers(len(values)))]

    def two(values: tuple[str, ...]) -> tuple[str, str]:
        first, second = random.choice(len(values), 2, replace=False)
        return values[first], values[second]

    story = STORIES[int(random.integers(len(STORIES)))]
    facts = {"day": one(DAY), "thing": one(story.thing), "cause": one(story.cause)}
    for name, values in (("first", FIRST), ("last", LAST), ("city", CITY), ("number", NUMBER)):
        facts[name], facts[f"{name}2"] = two(values)
    facts["hours"] = one(NUMBER)
    fillers = list(FILLER)
    random.shuffle(fillers)
    count = int(random.integers(1, 5)) if random.random() >= _LONG_SHARE else len(fillers) * 3
    middle = [*story.details, *(fillers * 3)[:count]]
    random.shuffle(middle)
    body = " ".join([one(story.lead), *middle])
    return Article(body.format(**facts), "\n".join(story.highlights).format(**facts))


def articles(split: Split, count: int) -> Iterator[Article]:
    """Yield the first samples of a split."""
    return (article(split, index) for index in range(count))
