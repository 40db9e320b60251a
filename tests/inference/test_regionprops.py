"""Measures of masks against the formulas of discs, ellipses and rectangles."""

import math

import numpy as np
import pytest

from maskrcnn.inference.regionprops import regionprops


def ellipse(a: float, b: float, angle: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[-80:81, -80:81]
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


@pytest.mark.parametrize("radius", [8, 20, 45])
def test_a_disc(radius):
    region = regionprops(ellipse(radius, radius))
    assert region.area == pytest.approx(math.pi * radius**2, rel=0.03)
    assert region.equivalent_diameter == pytest.approx(2 * radius, rel=0.015)
    assert region.perimeter == pytest.approx(2 * math.pi * radius, rel=0.045)
    assert region.eccentricity < 0.1


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 4, 1.3])
def test_an_ellipse_however_it_lies(angle):
    a, b = 60, 25
    region = regionprops(ellipse(a, b, angle))
    h = ((a - b) / (a + b)) ** 2
    ramanujan = math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert region.eccentricity == pytest.approx(math.sqrt(1 - (b / a) ** 2), abs=0.01)
    assert region.perimeter == pytest.approx(ramanujan, rel=0.04)


def test_small_ones():
    assert regionprops(np.zeros((5, 5), bool)) == (0, 0, 0, 0, 0, 0)
    one = np.zeros((5, 5), bool)
    one[2, 2] = True
    assert regionprops(one).area == 1
    assert regionprops(one).eccentricity == 0
    row = np.ones((1, 10), bool)
    assert regionprops(row).eccentricity == pytest.approx(math.sqrt(1 - 1 / 100))  # a rectangle of 10 x 1


def test_the_border_of_the_image_is_outline_too():
    half = ellipse(40, 40)[:, 80:]  # its straight side lies on the border
    assert regionprops(half).perimeter == pytest.approx(math.pi * 40 + 80, rel=0.06)
