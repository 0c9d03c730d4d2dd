"""The README's figure is drawn from the record alone, and not without one."""

from __future__ import annotations

import shutil

import pytest

from tangent_lib.experiments import records
from tangent_lib.report.overview import write_overview
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError


def test_the_overview_is_drawn_from_the_record(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "RECORDED", tmp_path)
    with pytest.raises(InputError, match="nothing is recorded"):
        write_overview()
    shutil.copy(ROOT / "book" / "recorded" / "ViT-Mini-8.json", tmp_path)
    assert write_overview() == tmp_path / "ViT-Mini-8.svg"
    assert "zero-shot" in (tmp_path / "ViT-Mini-8.svg").read_text()
