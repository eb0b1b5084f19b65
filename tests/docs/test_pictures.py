"""The picture of README is made from real decodes, small, and says what the decodes came to."""

from __future__ import annotations

from xml.etree import ElementTree

from docs.pictures import FILE, POSITIONS, picture


def test_every_position_of_both_decodes_is_drawn_once_and_the_page_shows_them(root):
    made = ElementTree.fromstring(picture())
    squares = [one for one in made.iter("{http://www.w3.org/2000/svg}rect") if one.get("fill")]
    assert len({(one.get("x"), one.get("y")) for one in squares}) == 2 * POSITIONS
    assert len({one.get("x") for one in squares}) == 2 * POSITIONS
    assert FILE.stat().st_size < 60_000
    label = ElementTree.fromstring(FILE.read_text()).get("aria-label")
    llada, said = (int(part.split()[-2]) for part in label.split(","))
    assert f"LLaDA's rule takes {llada} forwards, SAID {said}" in (root / "README.md").read_text()
