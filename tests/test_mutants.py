"""The list of wrong programs fits the library; that the tests notice them is what ``make mutants`` shows."""

from mutants import MUTANTS, ROOT


def test_every_mutant_has_its_one_place():
    for each in MUTANTS:
        assert (ROOT / "tangent_lib" / each.file).read_text().count(each.old) == 1, each
        assert all((ROOT / "tests" / name).exists() for name in each.tests.split() if not name.startswith("-")), each
