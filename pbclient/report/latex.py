"""Tables for LaTeX: booktabs, ready to paste, whatever characters the names in them have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from pbclient.report.terminal import Grid

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_ACCENTS = (
    "\u0300\u0301\u0302\u0303\u0308\u030a\u030c"  # what LaTeX sets on a letter without further packages
)
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"
_NUMBER = re.compile(r"(?<![\w.-])-(?=\d)")


def latex(title: str, label: str, grids: Sequence[Grid]) -> str:
    """A table environment with a tabular for each grid, shrunk where the page is too narrow for it.

    It needs booktabs and graphicx.
    """
    tabulars = "\n\n\\medskip\n\n".join(f"{_FITTED}{{%\n{'\n'.join(_tabular(grid))}}}" for grid in grids)
    return (
        "% \\usepackage{booktabs,graphicx}\n"
        "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{escaped(title)}}}\n\\label{{{re.sub(r'[^A-Za-z0-9:.-]', '-', label)}}}\n"
        f"{tabulars}\n\\end{{table}}\n"
    )


def escaped(text: str) -> str:
    """Text as LaTeX sets it: no character of it commands anything."""
    return "".join(map(_character, text)).replace("--", "-{}-").replace("``", "`{}`").replace("''", "'{}'")


def _character(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if not character.isprintable():
        return " "
    letter, *accents = list(unicodedata.normalize("NFD", character))
    known = letter.isascii() and len(accents) <= 1 and all(accent in _ACCENTS for accent in accents)
    return character if known and ord(character) < 0x180 else f"U+{ord(character):04X}"


def _tabular(grid: Grid) -> Iterator[str]:
    yield f"\\begin{{tabular}}{{{'l' * grid.left}{'r' * (len(grid.headings) - grid.left)}}}"
    yield "\\toprule"
    yield _row(grid.headings)
    yield "\\midrule"
    last = len(grid.rows) - 1
    for number, row in enumerate(grid.rows):
        if number in grid.breaks or (grid.total and number == last and number):
            yield "\\midrule"
        yield _row(row)
    yield "\\bottomrule"
    yield "\\end{tabular}"


def _row(cells: Sequence[str]) -> str:
    first, *others = (_cell(cell) for cell in cells)
    # What stands first after a line's end must not be taken for its argument.
    first = f"{{}}{first}" if first.startswith(("[", "*")) else first
    return " & ".join([first, *others]) + " \\\\"


def _cell(cell: str) -> str:
    indented = "\\quad " if cell.startswith("  ") else ""
    mark = "$^{*}$" if cell.endswith("*") else ""
    text = escaped(cell.strip().removesuffix("*") if mark else cell.strip())
    return indented + _NUMBER.sub("$-$", text) + mark
