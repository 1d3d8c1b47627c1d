"""Makes leaf.woff, the status icons, from leaf.svg and leaf-off.svg; run by hand, with fonttools, when a leaf changes."""

from __future__ import annotations

import re
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib.tables._g_l_y_f import Glyph

HERE = Path(__file__).parent
EM = 1000
BOX = 24
CODE_POINTS = {"leaf": 0xE001, "leaf-off": 0xE002}


def contours(path: str) -> list[list[tuple[str, list[tuple[float, float]]]]]:
    """The absolute M, L, C and Z commands of an SVG path, a list per contour, in font units (y upwards)."""
    found: list[list[tuple[str, list[tuple[float, float]]]]] = []
    for command, text in re.findall(r"([MLCZ])([^MLCZ]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", text)]
        scale = EM / BOX
        points = [(x * scale, (BOX - y) * scale) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        if command == "M":
            found.append([])
        found[-1].append((command, points))
    return found


def glyph(name: str) -> Glyph:
    """The drawing of NAME.svg, which is one path."""
    path = re.search(r' d="([^"]+)"', (HERE / f"{name}.svg").read_text())
    assert path is not None
    pen = TTGlyphPen(None)
    # Fonts fill by winding: the vein runs against the outline, and so is cut out.
    target = Cu2QuPen(pen, max_err=0.5)
    for contour in contours(path.group(1)):
        for command, points in contour:
            if command == "M":
                target.moveTo(points[0])
            elif command == "L":
                target.lineTo(points[0])
            elif command == "C":
                target.curveTo(*points)
            else:
                target.closePath()
    return pen.glyph()


def main() -> None:
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder([".notdef", *CODE_POINTS])
    builder.setupCharacterMap({code: name for name, code in CODE_POINTS.items()})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **{name: glyph(name) for name in CODE_POINTS}})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *CODE_POINTS), (EM, 0)))
    builder.setupHorizontalHeader(ascent=EM, descent=0)
    builder.setupNameTable({"familyName": "green-code", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=EM, sTypoDescender=0, usWinAscent=EM, usWinDescent=0)
    builder.setupPost()
    builder.font.flavor = "woff"
    builder.font["head"].created = builder.font["head"].modified = 0
    builder.font.recalcTimestamp = False
    builder.save(HERE / "leaf.woff")


if __name__ == "__main__":
    main()
