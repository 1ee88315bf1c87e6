"""Documents as HTML and as Markdown."""

from sweep.answers.document import (
    Block,
    Code,
    Heading,
    Picture,
    Table,
    Words,
    to_html,
    to_markdown,
)

BLOCKS: list[Block] = [
    Heading("a <b> & *c*", 1),
    Words("what\n| is it?", answer=True),
    Table(["x|y", "n_n"], [["_<i>_", "1"], ["[z](u)", "2"]]),
    Picture("a_curve", "It rises.", "<div>drawn</div>"),
    Code("a: `b`\n```\nc: <d>\n"),
]


def test_html_takes_nothing_for_html_but_charts() -> None:
    text = to_html(BLOCKS)
    assert "<h1>a &lt;b&gt; &amp; *c*</h1>" in text
    assert '<p class="answer">what\n| is it?</p>' in text
    assert "<th>x|y</th><th>n_<wbr>n</th>" in text  # a name may be broken, a number not
    assert '<td class="value">_<wbr>&lt;i&gt;_<wbr></td><td class="number">1</td></tr>' in text
    figures = ["#12", "0.9 ± 1e-05", "1.5 / 2", "[1, 2]"]
    numbers = to_html([Table(["a"], [[each] for each in figures])])
    kinds = [each.partition('"')[0] for each in numbers.split('<td class="')[1:]]
    assert kinds == ["number", "number", "number", "value"]
    words = to_html([Table(["a"], [["-0.1 … +2e-05"], ["3"], ["a 3"]], words=True)])
    assert [each[:6] for each in words.split('<td class="')[1:]] == ["figure", "figure", 'words"']
    assert "<div>drawn</div><figcaption>It rises.</figcaption>" in text
    assert "<pre>a: `b`\n```\nc: &lt;d&gt;\n</pre>" in text


def test_markdown_takes_nothing_for_markdown() -> None:
    assert to_markdown(BLOCKS, ["a_curve"]).split("\n\n") == [
        r"# a \<b> \& \*c\*",
        r"**what \| is it?**",
        "| x\\|y | n_n |\n| --- | ---: |\n| _\\<i>_ | 1 |\n| \\[z](u) | 2 |",
        "![a curve](pictures/a_curve.png)",
        "It rises.",
        "````\na: `b`\n```\nc: <d>\n````\n",
    ]


def test_markdown_shows_no_picture_that_has_no_file() -> None:
    assert "curve" not in to_markdown(BLOCKS, [])
