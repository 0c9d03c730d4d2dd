"""Sphinx: an output whose figure is named ``tab-...`` counts as a table, so that it is numbered and referred to as one."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class OutputTable(nodes.figure):
    """A figure that counts as a table."""


class MakeTables(SphinxTransform):
    """Before Sphinx collects labels (priority 850)."""

    default_priority = 800

    def apply(self) -> None:
        for figure in list(self.document.findall(nodes.figure)):
            if any(name.startswith("tab-") for name in figure["names"]):
                table = OutputTable("", *figure.children, **figure.attributes)
                table.source, table.line = figure.source, figure.line
                figure.replace_self(table)
                self.document.ids.update(dict.fromkeys(table["ids"], table))


def setup(app: Sphinx) -> dict:
    draw = (lambda self, node: self.visit_figure(node), lambda self, node: self.depart_figure(node))
    app.add_enumerable_node(OutputTable, "table", html=draw)
    app.add_transform(MakeTables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
