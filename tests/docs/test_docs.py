"""The documents: their links lead somewhere, their commands exist, and the tutorial runs."""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from detr_common.options import get_args_parser, get_training_parser
from parity.cli import app
from parity.train_cli import COMMANDS as OF_WHOLE_RUNS

ROOT = Path(__file__).resolve().parent.parent.parent
READMES = ("README.md", "README_CN.md")
TUTORIAL = ROOT / "docs" / "port-a-model.md"
PAGES = [ROOT / name for name in READMES] + sorted((ROOT / "docs").glob("*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Runs the blocks of Python one after another in one namespace; a traceback names the page and its line.
RUN_BLOCKS = """
import re, sys
page = sys.argv[1]
text = open(page, encoding="utf8").read()
names = {"__name__": "tutorial"}
for block in re.finditer(r"^```python\\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
    above = text.count("\\n", 0, block.start(1))
    exec(compile("\\n" * above + block[1], page, "exec"), names)
print("all blocks ran")
"""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text(encoding="utf8")))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: those of its headings, as GitHub makes them, and those it has itself."""
    text = FENCED.sub("", page.read_text(encoding="utf8"))
    found = set(re.findall(r'<a id="([^"]+)">', text))
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.+)$", text, re.MULTILINE):
        plain = re.sub(r"<[^>]+>|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    known: dict[Path, set[str]] = {}
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(link)
        elif anchor:
            known.setdefault(target, anchors(target))
            if anchor not in known[target]:
                broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", ["README.md", "README_CN.md", "docs/port-a-model.md", "docs/does-not-align.md"])
def test_pages_that_must_link_do(page: str) -> None:
    assert re.search(r"\]\([^)]+\.md", (ROOT / page).read_text(encoding="utf8"))


def test_the_readmes_link_to_each_other_at_the_top() -> None:
    for page, other in (READMES, READMES[::-1]):
        assert f"]({other})" in "\n".join((ROOT / page).read_text(encoding="utf8").splitlines()[:5])


def without_comments(block: str) -> list[str]:
    return [re.split(r"(?:^|\s+)#", line)[0].rstrip() for line in block.splitlines()]


def test_the_readmes_have_the_same_code_and_sections() -> None:
    ours, theirs = ((ROOT / page).read_text(encoding="utf8") for page in READMES)
    blocks, others = FENCED.findall(ours), FENCED.findall(theirs)
    assert len(blocks) == len(others)
    for (kind, block), (other_kind, other) in zip(blocks, others, strict=True):
        assert kind == other_kind
        assert without_comments(block) == without_comments(other)
    sections = [re.findall(r"^## ", FENCED.sub("", text), re.MULTILINE) for text in (ours, theirs)]
    assert len(sections[0]) == len(sections[1]) > 10
    assert len(re.findall(r"^\|", ours, re.MULTILINE)) == len(re.findall(r"^\|", theirs, re.MULTILINE))


def commands(page: Path) -> list[str]:
    """Return the commands of a page, from the subcommand to the end of the line or of the code."""
    text = page.read_text(encoding="utf8").replace("\\\n", " ")
    fenced = "\n".join(block for _, block in FENCED.findall(text))
    # A span may be broken into two lines.
    spans = re.findall(r"`([^`]+)`", FENCED.sub("", text))
    lines = [*fenced.splitlines(), *(span.replace("\n", " ") for span in spans)]
    found = []
    for line in lines:
        match = re.search(r"(?:python -m parity|^parity) ([a-z]+)\b(?!\.)(.*)", line)
        if match:
            found.append(match[1] + re.split(r"\s+#|\s\|\s|;|\s&&", match[2])[0])
    return found


def test_commands_are_found_in_the_documents() -> None:
    found = {command.split()[0] for page in PAGES for command in commands(page)}
    assert {"port", "record", "compare", "bisect", "layers", "train", "gotchas", "report"} <= found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_has_its_subcommand_and_options(page: Path) -> None:
    group = get_command(app)
    of_detector, of_training = (
        {option for action in parser()._actions for option in action.option_strings}
        for parser in (get_args_parser, get_training_parser)
    )
    wrong = []
    for command in commands(page):
        sub, *words = command.split()
        if sub not in group.commands:
            wrong.append(f"no such subcommand: {command}")
            continue
        known = group.commands[sub]
        options = {option for one in known.params for option in (*one.opts, *one.secondary_opts)}
        options |= set(known.context_settings.get("help_option_names", ["-h", "--help"]))
        if known.context_settings.get("ignore_unknown_options"):
            options |= of_training if sub in OF_WHOLE_RUNS else of_detector
        given = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
        wrong += [f"no such option: {word} of {command}" for word in given if word not in options]
    assert not wrong


def test_the_tutorial_runs(record_property: Callable[[str, object], None]) -> None:
    """About a minute once the kernels are compiled."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS, str(TUTORIAL)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.rstrip().endswith("all blocks ran")
    record_property("figures", f"tutorial: {time.monotonic() - start:.0f} s")
