"""The structure of a checkout in numbers: ``python benchmarks/structure.py [FOLDER]``, of this one by default.

A room is a module of ``tangent_lib`` itself, or a folder in it. An arrow leads from a room to another that it imports; a
circle is a set of rooms that reach each other; a room's floor is the length of the longest way down from it, a circle
counting as one room. Arrows within circles that run against the best order found are upward.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

PACKAGE = "tangent_lib"


def lines_of(paths: Iterator[Path] | list[Path]) -> int:
    """How many lines some files have together."""
    return sum(len(path.read_text().splitlines()) for path in paths)


def imports_of(path: Path) -> list[tuple[str, str]]:
    """The modules that a file imports, each with a name out of it, or an empty one; what is for type checkers is left out."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in (node for node in ast.walk(tree) if id(node) not in for_types):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.module, each.name) for each in node.names]
        elif isinstance(node, ast.Import):
            found += [(each.name, "") for each in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == PACKAGE]


def room_of(root: Path, module: str, name: str = "") -> str:
    """The room that a module belongs to, such as ``runtime`` for ``tangent_lib.runtime.store``."""
    parts = [*module.split("."), name]
    if len(parts) < 3 or not parts[1]:
        parts = [PACKAGE, name or "__init__"]
    here = root / PACKAGE / parts[1]
    return parts[1] if here.is_dir() or here.with_suffix(".py").is_file() else "__init__"


def house(root: Path) -> nx.DiGraph:
    """The rooms of a checkout and the arrows between them."""
    graph = nx.DiGraph()
    for path in sorted((root / PACKAGE).rglob("*.py")):
        room = path.relative_to(root / PACKAGE).parts[0].removesuffix(".py")
        graph.add_node(room)
        for module, name in imports_of(path):
            if (other := room_of(root, module, name)) != room:
                graph.add_edge(room, other)
    return graph


def circles(graph: nx.DiGraph) -> list[list[str]]:
    """The sets of rooms that reach each other."""
    return [sorted(rooms) for rooms in nx.strongly_connected_components(graph) if len(rooms) > 1]


def upward(graph: nx.DiGraph) -> list[tuple[str, str]]:
    """Arrows that run against an order of each circle's rooms, those that import most first (Eades, Lin and Smyth 1993)."""
    found = []
    for rooms in circles(graph):
        inside = graph.subgraph(rooms)
        order = sorted(rooms, key=lambda room: (inside.in_degree(room) - inside.out_degree(room), room))
        found += [(a, b) for a, b in inside.edges if order.index(a) > order.index(b)]
    return found


def measure(root: Path) -> dict[str, int]:
    """The numbers, by what they count."""
    package, graph = root / PACKAGE, house(root)
    core, whole = sorted(package.glob("*.py")), sorted(package.rglob("*.py"))
    notebooks = [json.loads(path.read_text()) for path in sorted((root / "notebooks").glob("*.ipynb"))]
    code = "\n".join("".join(c["source"]) + "\n" for nb in notebooks for c in nb["cells"] if c["cell_type"] == "code")
    used = {(n.module, a.name) for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ImportFrom) for a in n.names}
    ours = {(module, name) for module, name in used if module.split(".")[0] == PACKAGE}
    return {
        "modules of the core": len(core),
        "lines of the core": lines_of(core),
        "modules": len(whole),
        "lines": lines_of(whole),
        "lines of tests": lines_of(sorted((root / "tests").rglob("*.py"))),
        "lines of code in notebooks": len(code.splitlines()),
        "rooms": len(graph),
        "floors": nx.dag_longest_path_length(nx.condensation(graph)) + 1,
        "arrows": graph.number_of_edges(),
        "upward arrows": len(upward(graph)),
        "circles": len(circles(graph)),
        "names that notebooks import": len(ours),
        "modules that they come from": len({module for module, _ in ours}),
    }


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    for what, number in measure(root).items():
        print(f"{what:32}{number:8,}")
    for rooms in circles(house(root)):
        print(f"circle: {', '.join(rooms)}")
