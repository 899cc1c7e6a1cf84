"""What mkdocs calls while it builds the site: pages that lie elsewhere, notebooks, and formulas as MathML."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files at the top of the repository, with their names in the site."""


def on_config(config: Any) -> Any:
    """Add what mkdocs.yml does not name to the list of pages: notebooks, and whatever page is new."""
    listed = json.dumps(config.nav)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").glob("**/*.md"))]
    new = [page for page in pages if f'"{page}"' not in listed]
    notebooks = [f"notebooks/{path.stem}.md" for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))]
    new += [page for page in notebooks if f'"{page}"' not in listed]
    config.nav += [{"More": new}] if new else []
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/, and the notebooks."""
    for name, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=from_the_top((ROOT / name).read_text(encoding="utf-8"))))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text = as_markdown(json.loads(notebook.read_text(encoding="utf-8")), notebook.name)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from docs/ to the pages that lie outside of it, and to notebooks, as links within the site."""
    for name, target in ELSEWHERE.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(name)}(#[\w-]+)?\)", rf"](\1{target}\2)", markdown)
    return (
        re.sub(r"\]\(([\w./-]+)\.ipynb\)", r"](\1.md)", markdown) if page.file.src_uri[:9] != "notebooks" else markdown
    )


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, which browsers typeset by themselves."""
    content = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', _inline, content, flags=re.DOTALL)
    return re.sub(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', _display, content, flags=re.DOTALL)


def from_the_top(text: str) -> str:
    """A text of the top folder with its links as they are from docs/."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, target in ELSEWHERE.items():
        text = text.replace(f"]({name}", f"]({target}")
    return text


def as_markdown(notebook: dict[str, Any], name: str) -> str:
    """A notebook's cells as a page: its text, and its code as blocks."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    parts = [text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells if text.strip()]
    return "\n\n".join([*parts, f"[The notebook itself]({name}), to run."]) + "\n"


def _inline(found: re.Match[str]) -> str:
    made = str(convert(html.unescape(found[1])))
    return made.replace("<math ", '<math displaystyle="true" ', 1)  # fractions as large as in a line of their own


def _display(found: re.Match[str]) -> str:
    return str(convert(html.unescape(found[1]), display="block"))
