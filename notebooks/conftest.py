"""What nbval compares of the checked cells."""

from __future__ import annotations


def pytest_collectstart(collector):
    """What a machine says on stderr, such as a driver's warning, is no result of a cell and no difference."""
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)
