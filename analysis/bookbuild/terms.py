"""Words of the glossary, marked where a page first uses them.

The glossary (``chapters/glossary.md``) is the one source: a term is ``name`` or ``name (other
form, another)``, and the first paragraph below it is its definition. On every other page the first
use of a term in running text becomes a link to its place in the glossary that carries the
definition; ``_static/terms.js`` shows it to mouse, keyboard and touch. Without scripts the link
remains.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docutils import nodes

__all__ = ["Term", "forms_of", "mark", "read"]

#: Elements whose text is running text, and elements in which nothing is marked: other links, code,
#: drawings, headings, tables, controls.
PROSE = frozenset({"p", "li", "dd", "figcaption"})
CLOSED = frozenset(
    (
        *("a", "abbr", "button", "code", "details", "form", "label", "nav", "option", "pre"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "script", "select", "style", "summary", "svg"),
        *("table", "textarea", "title"),
    )
)
#: Folded parts are closed, but for those that hold more of the same text.
OPEN_DETAILS = re.compile(r'class="[^"]*\bev-more\b')
#: Classes of elements in which nothing is marked: text to be copied, equations, live parts.
CLOSED_CLASS = re.compile(r'(?:class="[^"]*\b(?:ev-copy|math|headerlink|ev-links)\b|\sdata-part=)')
VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
_TAG = re.compile(r"""<(?:!--.*?--|(?:"[^"]*"|'[^']*'|[^'">])*)>""", re.DOTALL)
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)")


@dataclass(frozen=True)
class Term:
    """A word of the glossary: the forms in which it is written, its place, what it means."""

    forms: tuple[str, ...]
    anchor: str
    definition: str


def forms_of(name: str) -> tuple[str, ...]:
    """Return the forms of a term: ``tau (τ)`` gives ``tau`` and ``τ``."""
    match = re.fullmatch(r"(?P<first>.*?)(?:\s*\((?P<others>[^()]*)\))?", name.strip())
    assert match is not None
    others = (match["others"] or "").split(",")
    return tuple(form.strip() for form in [match["first"], *others] if form.strip())


def read(doctree: nodes.document) -> list[Term]:
    """Return the terms of a page with glossaries, in its order.

    Parameters
    ----------
    doctree : docutils.nodes.document
        The page, as Sphinx has read it.

    Raises
    ------
    ValueError
        If a form belongs to two terms.
    """
    from docutils import nodes
    from sphinx.addnodes import glossary

    found: list[Term] = []
    owners: dict[str, str] = {}
    for part in doctree.findall(glossary):
        for item in part.findall(nodes.definition_list_item):
            paragraph = next(item.findall(nodes.paragraph))
            for name in item.findall(nodes.term):
                term = Term(forms_of(name.astext()), name["ids"][0], _line(paragraph.astext()))
                for form in term.forms:
                    if owners.setdefault(_key(form), name.astext()) != name.astext():
                        raise ValueError(f"glossary: {form!r} belongs to two terms.")
                found.append(term)
    return found


def _line(text: str) -> str:
    return " ".join(text.split())


def mark(body: str, terms: Sequence[Term], page: str) -> str:
    """Return a page's body with the first use of each term in running text marked.

    Parameters
    ----------
    body : str
        HTML.
    terms : sequence of Term
        What to mark.
    page : str
        Address of the glossary, relative to the page.
    """
    by_form = {_key(form): term for term in terms for form in term.forms}
    left = dict.fromkeys(term.anchor for term in terms)
    pattern = _pattern(by_form)
    if pattern is None:
        return body

    def link(match: re.Match[str]) -> str:
        term = by_form[_key(match["form"])]
        if term.anchor not in left:
            return match[0]
        del left[term.anchor]
        return (
            f'<a class="ev-term" href="{html.escape(page)}#{html.escape(term.anchor)}" '
            f'data-definition="{html.escape(term.definition)}">{match[0]}</a>'
        )

    out: list[str] = []
    # for each open element whether its text may be marked; None where that is still open
    stack: list[tuple[str, bool | None]] = []
    at = 0
    for tag in _TAG.finditer(body):
        text = body[at : tag.start()]
        state = stack[-1][1] if stack else None
        out.append(pattern.sub(link, text) if state and text.strip() else text)
        out.append(tag[0])
        at = tag.end()
        _step(stack, tag[0])
    out.append(body[at:])
    return "".join(out)


def _step(stack: list[tuple[str, bool | None]], tag: str) -> None:
    """Follow a tag into an element or out of it."""
    named = _NAME.match(tag)
    if named is None:
        return
    name = named[1].lower()
    if tag.startswith("</"):
        for place in range(len(stack) - 1, -1, -1):
            if stack[place][0] == name:
                del stack[place:]
                return
        return
    if name in VOID or tag.endswith("/>"):
        return
    state = stack[-1][1] if stack else None
    if state is not False:
        if CLOSED_CLASS.search(tag) or (name in CLOSED and not OPEN_DETAILS.search(tag)):
            state = False
        elif name in PROSE:
            state = True
    stack.append((name, state))


def _key(form: str) -> str:
    """Words are found in small and in capital letters, abbreviations only as they are."""
    form = " ".join(html.unescape(form).split())
    return form.lower() if _is_word(form) else form


def _is_word(form: str) -> bool:
    return sum(sign.islower() for sign in form) > 3


def _pattern(forms: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    if not ordered:
        return None
    said = []
    for form in ordered:
        escaped = re.escape(html.escape(form, quote=False)).replace(r"\ ", r"\s+")
        said.append(f"(?i:{escaped})" if _is_word(form) else escaped)
    # a plural counts as the term, a part of a longer word does not
    return re.compile(rf"(?<![\w@/.-])(?P<form>{'|'.join(said)})s?(?![\w@/-])")
