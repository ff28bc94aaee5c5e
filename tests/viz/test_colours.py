"""The colours that stand for names, as they look to colour-blind readers.

1. Linear RGB is multiplied by the matrices of Machado, Oliveira and Fernandes (2009) at full
   severity. 2. Distances are Euclidean in CIE L*a*b* (D65); 2.3 is just noticeable.
"""

from itertools import combinations

import numpy as np
import pytest

from retrieval_lens.viz.overlap import AGAINST_K
from retrieval_lens.viz.statistics_frame import BLUE, GREEN, ORANGE, PURPLE
from retrieval_lens.viz.style import MARKS, PALETTE

SEEN = {
    "trichromat": np.eye(3),
    "protanope": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranope": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanope": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(colour):
    channel = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    ratio = TO_XYZ @ rgb.clip(0, 1) / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def closest(palette, eye):
    seen = {colour: lab(SEEN[eye] @ linear(colour)) for colour in palette}
    return min(float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(palette, 2))


@pytest.mark.parametrize("eye", SEEN)
def test_no_two_look_alike(eye):
    assert len(set(PALETTE)) == 8 and closest(PALETTE, eye) > 15
    assert closest((BLUE, ORANGE, GREEN, PURPLE), eye) > 15


def test_lines_that_may_coincide_differ_in_colour_dash_and_mark():
    looks = list(AGAINST_K.values())
    for place in range(4):
        assert len({look[place] for look in looks}) > 3
    assert len({look[1:] for look in looks}) == len({look[3] for look in looks}) == len(looks)


def test_the_simulation_tells_red_from_green_for_some_eyes_only():
    traffic = ("#c0504d", "#7f7f3f")
    assert closest(traffic, "trichromat") > 40 > 15 > closest(traffic, "deuteranope")


def test_they_are_seen_on_white_and_on_dark_ground():
    def contrast(a, b):
        low, high = sorted(float(TO_XYZ[1] @ linear(one)) + 0.05 for one in (a, b))
        return high / low

    # 3:1 is what graphics want (WCAG 1.4.11); eight that differ on both grounds reach 2.5 on dark
    assert all(contrast(one, "#ffffff") > 3 and contrast(one, "#111111") > 2.5 for one in PALETTE)


def test_each_has_a_mark_of_its_own():
    assert len(set(MARKS)) == len(PALETTE)
