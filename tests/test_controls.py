"""The slider carries its data and needs nothing from elsewhere."""

import json
import re

from tangent_lib.controls import alpha_slider

ACCURACIES = {"linear": {"Signs": [0.4, 0.8125]}, "non-linear": {"Signs": [0.4, 0.7]}}


def test_the_data_in_the_page_are_the_accuracies_in_percent():
    page = alpha_slider([0.0, 1.0], ACCURACIES, "validation accuracy").data
    data = json.loads(re.search(r"const data = (\{.*\});", page).group(1))
    assert data["modes"]["linear"]["Signs"] == [40.0, 81.2] and data["alphas"] == [0.0, 1.0]


def test_two_sliders_on_a_page_do_not_meet():
    ids = {re.search(r'id="(slider-\w+)"', alpha_slider([0.0, 1.0], ACCURACIES, title).data).group(1) for title in "ab"}
    assert len(ids) == 2


def test_nothing_is_fetched_and_a_title_cannot_end_the_script():
    page = alpha_slider([0.0, 1.0], ACCURACIES, "</script><b>").data
    assert "http" not in page and page.count("</script>") == 1
