"""A document of headings, words, tables, pictures and code, as a part of an HTML page or Markdown.

Whatever it is made of is text: nothing in it is taken for HTML or Markdown.
"""

import html
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's own."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Words:
    """A paragraph; the `answer` of a study stands out."""

    text: str
    answer: bool = False


@dataclass(frozen=True)
class Table:
    """A table; its cells are numbers, which stand to the right, or words."""

    head: Sequence[str]
    body: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture: a chart (HTML that can be trusted), and the PNG file of the same name."""

    name: str
    caption: str
    chart: str


@dataclass(frozen=True)
class Code:
    """Lines that are to be copied as they are."""

    text: str


FIGURES = re.compile(r"[-+#\d.e]+( […±/] [-+\d.e]+)?")
"""A number, two, or an interval: never broken into lines."""

Block = Heading | Words | Table | Picture | Code


def to_html(blocks: Iterable[Block]) -> str:
    """The document as what stands in the body of a page."""
    return "\n".join(map(_html, blocks))


def _html(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
        case Words():
            kind = ' class="answer"' if block.answer else ""
            return f"<p{kind}>{html.escape(block.text)}</p>"
        case Table():
            head = "".join(f"<th>{_breakable(each)}</th>" for each in block.head)
            rows = (
                "".join(f'<td class="{_kind(block, each)}">{_breakable(each)}</td>' for each in row)
                for row in block.body
            )
            lines = "".join(f"<tr>{row}</tr>" for row in rows)
            return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'
        case Picture():
            caption = html.escape(block.caption)
            return f"<figure>{block.chart}<figcaption>{caption}</figcaption></figure>"
        case Code():
            return f"<pre>{html.escape(block.text)}</pre>"


def _kind(table: Table, cell: str) -> str:
    kinds = ("figure", "words") if table.words else ("number", "value")
    return kinds[0] if FIGURES.fullmatch(cell) else kinds[1]


def _breakable(text: str) -> str:
    """A name may be broken behind its underscores, so that a table of many columns fits."""
    return html.escape(text).replace("_", "_<wbr>")


def to_markdown(blocks: Iterable[Block], pictures: Collection[str]) -> str:
    """The document as Markdown.

    Args:
        blocks: its blocks.
        pictures: the names of the pictures that have a file, `pictures/NAME.png`.
    """
    told = (_markdown(each) for each in blocks if not _missing(each, pictures))
    return "\n\n".join(told) + "\n"


def _missing(block: Block, pictures: Collection[str]) -> bool:
    return isinstance(block, Picture) and block.name not in pictures


def _markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_plain(block.text)}"
        case Words():
            return f"**{_plain(block.text)}**" if block.answer else _plain(block.text)
        case Table():
            rule = ["---" if block.words or not at else "---:" for at in range(len(block.head))]
            head, *body = (list(map(_plain, line)) for line in (block.head, *block.body))
            return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))
        case Picture():
            alt = block.name.replace("_", " ")
            return f"![{alt}](pictures/{block.name}.png)\n\n{_plain(block.caption)}"
        case Code():
            longest = max((len(each) for each in re.findall("`+", block.text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{block.text.rstrip()}\n{fence}"


def _plain(text: str) -> str:
    """On one line, with whatever Markdown or HTML would make of it escaped."""
    return re.sub(r"([\\`*\[|<&~$])", r"\\\1", " ".join(text.split()))
