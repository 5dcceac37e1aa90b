"""Sections 1 and 2 of the catalogue: what lies where in the tree (G, S), and open's mapping file (D-07)."""

from __future__ import annotations

from mlperf_submission.submission.files import DIVISIONS, LARGEST_FILE
from mlperf_submission.validation.frames import Entries, Mask, Names, Places, Readings
from mlperf_submission.validation.rules import Rule, catalogue

IGNORED_ROOT_FOLDERS = (".git", ".github", "assets")
_SKIPS = "The official checker skips the whole submitter."
_MOVE = "Move the files into the submitter's folder, or delete them."
_CALIBRATION = "Add calibration.md to the submitter's folder or to documentation/."


def _names(level: str, kind: str) -> Mask:
    return lambda d: (d.level == level) & (d.kind == kind)


RULES = catalogue(
    {
        "S-03": Rule(
            Names.where(_names("root", "file")),
            "The root holds no files but `*.md` and `*.pdf`.",
            passes=lambda d: d.name.str.endswith((".md", ".pdf")),
            message="files in the root: {each}",
            why="The official checker refuses the whole tree.",
            remedy=_MOVE,
            covers="root",
        ),
        "S-04": Rule(
            Names,
            "A division folder holds submitters' folders and no files.",
            passes=lambda d: ~_names("division", "file")(d),
            message="files beside the submitters: {each}",
            why="The official checker skips the whole division.",
            remedy=_MOVE,
            covers="division",
        ),
        "S-05": Rule(
            Places.where(lambda d: d.has_results),
            "`results` is a folder that can be listed.",
            passes=lambda d: d.results_is_folder,
            message="results cannot be listed as a folder",
            why="The official checker crashes on a file of this name.",
            remedy="Make `results` a folder with one folder per system.",
            covers="submitter",
        ),
        "D-07": Rule(
            Readings.where(role="mapping"),
            "`model_mapping.json` of an open submission is a JSON object.",
            passes=lambda d: d.readable,
            message="{name}: {problem}",
            why="The official checker crashes on it.",
            remedy="Write an object that maps each own model name to an official one.",
            covers="submitter",
        ),
        "S-06": Rule(
            Entries.where(lambda d: d.is_link),
            "No symbolic link to a file is broken, with its target's text read from the root of the tree.",
            passes=lambda d: d.text_resolves_from_root & d.resolves,
            message=lambda row: (
                "the target of this symbolic link does not exist when it is read from the root of the tree"
                if row["resolves"]
                else "this symbolic link does not lead to a file"
            ),
            why="The official checker resolves the text from the root, so it refuses sound relative links, "
            "and it crashes on a link that only resolves from there.",
            remedy="Put the file itself in the place of the link.",
            covers="submitter",
        ),
        "S-07": Rule(
            Entries,
            "No file is larger than 50 MiB.",
            passes=lambda d: d["size"] <= LARGEST_FILE,
            message=f"the file has {{size}} bytes, at most {LARGEST_FILE} are allowed",
            why=_SKIPS,
            remedy="Truncate logs as the rules ask, and leave data, networks and engines out of the tree.",
            covers="submitter",
        ),
        "S-08": Rule(
            Entries,
            "No file or folder name begins with a dot.",
            passes=lambda d: ~d.name.str.startswith("."),
            message="the name {name} begins with a dot",
            why=_SKIPS,
            remedy="Delete or rename it; `.gitkeep` and `.DS_Store` count too.",
            covers="submitter",
        ),
        "S-09": Rule(
            Entries,
            "No file or folder name holds a blank.",
            passes=lambda d: ~d.name.str.contains(" ", regex=False),
            message="the name {name!r} holds a blank",
            why=_SKIPS,
            remedy="Rename it, with an underscore for the blank.",
            covers="submitter",
        ),
        "S-10": Rule(
            Entries.where(lambda d: (d.kind == "folder") & ~d.is_link),
            "There are no `__pycache__` folders.",
            passes=lambda d: ~d.name.str.endswith("__pycache__"),
            message="this is a folder of compiled Python files",
            why=_SKIPS,
            remedy="Delete the folder.",
            covers="submitter",
        ),
        "S-11": Rule(
            Entries,
            "There are no empty folders.",
            passes=lambda d: ~d.is_empty_folder,
            message="the folder is empty",
            why=_SKIPS,
            remedy="Delete the folder, or put what belongs into it.",
            covers="submitter",
        ),
        "+another-round": Rule(
            Places,
            "The performance logs have the seeds of the round that the tree is judged by.",
            passes=lambda d: d.logged_round == d["round"],
            message="this is a tree of {logged_round}: most of its logs have the seeds of that round",
            why="A tree of another round breaks most rules of this one, beginning with P-05.",
            remedy="Name the tree's own round, or none: it is read from the logs.",
            severity="error",
            covers="nothing",
        ),
        "+nothing-to-check": Rule(
            Places.where(level="root"),
            "The tree holds at least one result.",
            passes=lambda d: d.result_count > 0,
            message=lambda row: f"no results were found (folders here: {row['folders'] or 'none'})",
            why="A folder without results is no submission. v4.1's checker accepts it (G-04), also when "
            "`closed` is misspelled.",
            remedy="Check the path and the spelling of closed, open or network and of results.",
            severity="error",
            covers="root",
        ),
        "+unknown-root-folder": Rule(
            Names.where(_names("root", "folder")),
            "The folders in the root are divisions.",
            passes=lambda d: d.name.isin([*DIVISIONS, *IGNORED_ROOT_FOLDERS]),
            message="folders that are no division: {each}",
            why="The official checker logs an error and ignores the folder (S-02).",
            remedy="Rename it to closed, open or network, or delete it.",
            covers="nothing",
        ),
        "+no-results-folder": Rule(
            Places.where(level="submitter"),
            "A submitter has a folder `results` with systems in it.",
            passes=lambda d: d.has_results & (d.result_count > 0),
            message="the submitter has no results that are looked at",
            why="The official checker passes such a submitter over in silence (S-05).",
            remedy="Add the results, or delete the submitter's folder.",
            covers="nothing",
        ),
        "+unreadable-folder": Rule(
            Readings.where(role="folder"),
            "The folder can be listed.",
            passes=lambda d: d.readable,
            message="the folder cannot be read: {problem}",
            why="What cannot be read is not checked.",
            remedy="Give read permission, and validate again.",
            severity="error",
            covers="nothing",
        ),
        "+unused-system": Rule(
            Names.where(_names("submitter", "system")),
            "Every system that is described or has measurements has results.",
            passes=lambda d: d.has_results,
            message="systems without results: {each}",
            why="v4.1 accepts it (Y-13); the checker of v5.1 did not, and readers look for results.",
            remedy="Delete the description and the measurements, or add the results.",
            covers="nothing",
        ),
        "V-18": Rule(
            Places.where(lambda d: d.has_results & ~d.path.str.startswith("open/")),
            "In v5.1, a submission in closed or network has calibration.md, there or in documentation/.",
            passes=lambda d: d.has_calibration_md,
            message="there is no calibration.md",
            why="The checker of v5.1 refuses the tree.",
            remedy=_CALIBRATION,
            covers="nothing",
            later=True,
        ),
        "+calibration": Rule(
            Places.where(lambda d: d.has_results),
            "A submission describes its calibration.",
            passes=lambda d: d.has_calibration,
            message="there is no calibration document",
            why="The rules ask for it; the checker does not look (S-12).",
            remedy=_CALIBRATION,
            covers="nothing",
        ),
    }
)
