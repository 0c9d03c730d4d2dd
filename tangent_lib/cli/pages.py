"""What is written from finished results: ``tangent gallery`` and ``tangent overview``."""

from __future__ import annotations


def gallery() -> None:
    """Write the gallery of the book, out of the notebooks in book/executed."""
    from tangent_lib.report.gallery import COUNTERPARTS, write_gallery

    page = write_gallery()
    sizes = [path.stat().st_size for path in (page.parent / "thumbnails").iterdir()]
    print(f"wrote {page}: {len(COUNTERPARTS)} counterparts, {len(sizes)} thumbnails, {sum(sizes) / 1e6:.1f} MB")


def overview() -> None:
    """Draw the figure of the README from the recorded results of the miniature."""
    from tangent_lib.report.overview import write_overview

    print(f"wrote {write_overview()}")
