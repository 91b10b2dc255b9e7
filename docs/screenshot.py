#!/usr/bin/env python3
"""Turns what a terminal shows into docs/screenshot.svg.

    tmux capture-pane -e -p | docs/screenshot.py > docs/screenshot.svg

Reads text with SGR colours on standard input. Needs nothing but Python.
"""

import html
import re
import sys
import unicodedata

COLUMNS = 80
CELL_WIDTH, LINE_HEIGHT, FONT = 8.43, 18, 14
BACKGROUND, PLAIN = "#16181d", "#d7dae0"
COLOURS = {
    30: "#5c6370", 31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd", 36: "#56b6c2",
    37: PLAIN, 90: "#7f848e", 91: "#e06c75", 92: "#98c379", 93: "#e5c07b", 94: "#61afef", 95: "#c678dd",
    96: "#56b6c2", 97: "#ffffff",
}


def cells(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def spans(line):
    """The runs of one line: text, colour, bold, dim."""
    colour, bold, dim = PLAIN, False, False
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b["):
            if part:
                yield part, colour, bold, dim
            continue
        for code in (int(c or 0) for c in part[2:-1].split(";")):
            if code == 0:
                colour, bold, dim = PLAIN, False, False
            elif code == 1:
                bold = True
            elif code == 2:
                dim = True
            elif code == 22:
                bold = dim = False
            elif code == 39:
                colour = PLAIN
            elif code in COLOURS:
                colour = COLOURS[code]


lines = sys.stdin.read().rstrip("\n").split("\n")
# Charset switches and the like are of no interest.
lines = [re.sub(r"\x1b\([A-Z0-9]|\x0e|\x0f", "", line) for line in lines]
width = round(COLUMNS * CELL_WIDTH + 32)
height = len(lines) * LINE_HEIGHT + 32
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">')
print(f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>')
print(f'<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="{FONT}" xml:space="preserve">')
for row, line in enumerate(lines):
    column = 0
    for text, colour, bold, dim in spans(line):
        # Each run of words is placed by itself, so that columns stand whatever the font's blanks are like.
        for words in re.finditer(r"\S+(?: \S+)*", text):
            x = 16 + (column + cells(text[: words.start()])) * CELL_WIDTH
            y = 16 + (row + 1) * LINE_HEIGHT - 5
            style = (' font-weight="bold"' if bold else "") + (' opacity="0.6"' if dim else "")
            length = f'textLength="{cells(words[0]) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
            print(f'<text x="{x:.1f}" y="{y}" fill="{colour}"{style} {length}>{html.escape(words[0])}</text>')
        column += cells(text)
print("</g>\n</svg>")
