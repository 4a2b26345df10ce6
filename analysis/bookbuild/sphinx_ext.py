"""Sphinx extension of the book: sound caching, parallel execution, and what every page carries.

- The results of chapters are cached under a digest of everything they depend on besides their own
  code (`analysis.digest.inputs_digest`). A change of a data file, of a line in ``analysis/`` or of
  the requirements changes the digest: every chapter is then outdated and runs again.
- Chapters that have to run do so several at a time (``BOOK_JOBS``, see `execution`), while the
  data package is checked; no page is written from data with an error.
- When a chapter has changed, pages that quote its numbers are written again too.
- Every page shows the data version and its sha256, offers its executed notebook, and loads the
  math library only where it has an equation.
- What the theme writes is made valid, accessible and light (see `mending`).
- Words of the glossary are marked where a page first uses them (see `terms`).
- Every page describes itself to machines, and the book has a list of its files as an RO-Crate
  (see `metadata`).
- ``index.html`` at the top is the front page itself, not a redirect, and ``_data/`` has the files
  of the data package for download.
"""

from __future__ import annotations

import hashlib
import html
import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ExtensionError
from sphinx.util import logging

from analysis.bookbuild import execution, gate, mending, metadata, terms, warm
from analysis.digest import data_digest, data_version, files_digest, inputs_digest

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.config import Config

LOGGER = logging.getLogger(__name__)
DATA_PAGE = "chapters/data"
GLOSSARY = "chapters/glossary"
UNMARKED = frozenset({GLOSSARY, "chapters/references"})
"""Pages on which the words of the glossary are not marked."""
VENDOR = "_vendor"
"""Folder of files of other projects; its content is copied to ``_static/`` of the built book."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    # a value that belongs to the environment: when it differs from the last build's, every chapter
    # is outdated
    app.add_config_value("book_inputs", "", "env", str)
    # a value that belongs to the pages: when it differs, every page is written again
    app.add_config_value("book_assets", "", "html", str)
    app.connect("config-inited", set_digests)
    app.connect("config-inited", start_helpers)
    app.connect("config-inited", serve_vendored)
    app.connect("builder-inited", place_notebook_style)
    app.connect("builder-inited", mend_pages)
    app.connect("env-before-read-docs", execute_outdated)
    app.connect("doctree-read", keep_executed_notebook)
    app.connect("doctree-read", note_quotes)
    app.connect("env-updated", name_pages_to_rewrite, priority=900)
    # before the theme makes its buttons, and after the math extension added its scripts
    app.connect("html-page-context", offer_notebook, priority=100)
    app.connect("html-page-context", show_data_version, priority=900)
    app.connect("html-page-context", describe_page, priority=910)
    app.connect("html-page-context", drop_unused_math, priority=990)
    app.connect("html-page-context", mend_bibliography_roles, priority=990)
    app.connect("html-page-context", mark_terms, priority=995)
    app.connect("build-finished", end_helpers, priority=100)
    app.connect("build-finished", finish)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": False}


def set_digests(app: Sphinx, config: Config) -> None:
    """Tie the cache of results to the digest of what the results depend on."""
    root = Path(app.srcdir)
    digest = inputs_digest(root)
    config.book_inputs = digest
    # pages name style sheets and scripts with their checksums
    config.book_assets = files_digest(root, ["_static", VENDOR])
    caches = Path(app.outdir).parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(caches / digest[:16])
    if caches.is_dir():
        for old in caches.iterdir():
            if old.name != digest[:16]:
                shutil.rmtree(old, ignore_errors=True)


def start_helpers(app: Sphinx, config: Config) -> None:
    """Start what can run while Sphinx gets ready.

    That is the check of the data, and, where every chapter will have to run, the process of which
    kernels are copies: it imports and reads the data.
    """
    helpers: Any = app
    root = Path(app.srcdir)
    helpers._book_check = helpers._book_parent = None
    helpers._book_check = gate.start(
        _checked(app), config.book_inputs, root, execution.kernel_environment(root)
    )
    if not Path(config.nb_execution_cache_path).is_dir():
        helpers._book_parent = execution.start_warm_parent(root)


def end_helpers(app: Sphinx, exception: Exception | None = None) -> None:
    """End what was started at the side."""
    helpers: Any = app
    for helper in (helpers._book_check, helpers._book_parent):
        if helper is not None:
            helper.close()
    helpers._book_check = helpers._book_parent = None


def _checked(app: Sphinx) -> Path:
    return Path(app.outdir).parent / ".checked"


def serve_vendored(app: Sphinx, config: Config) -> None:
    """Copy vendored files into the book.

    Named in ``_config.yml``, Jupyter Book would also put every script among them on every page.
    """
    config.html_static_path = [*config.html_static_path, VENDOR]


def place_notebook_style(app: Sphinx) -> None:
    """Put the style sheet of MyST-NB in its place before the pages are written.

    A page names a style sheet with its checksum only if the file is there already, so that pages
    of a first build would differ from those of a second.
    """
    from myst_nb.sphinx_ext import add_global_html_resources

    (Path(app.outdir) / "_static").mkdir(parents=True, exist_ok=True)
    add_global_html_resources(app, None)


def mend_pages(app: Sphinx) -> None:
    """Have every page mended as it leaves the templates."""
    if app.builder.name != "html":
        return
    bridge: Any = app.builder.templates
    render = bridge.render
    bridge.render = lambda template, context: mending.mend(render(template, context))


def execute_outdated(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Run the chapters that are about to be read and have no cached result.

    The check of the data runs beside them, and has the first word: where it finds an error, what
    the chapters say does not matter.
    """
    app._book_outdated = bool(docnames)  # type: ignore[attr-defined]
    outcomes: list[execution.Outcome] = []
    if env.mystnb_config.execution_mode == "cache":
        outcomes = _run_outdated(app, env, docnames)
    _pass_gate(app)
    end_helpers(app)
    failures = [outcome for outcome in outcomes if outcome.error]
    for failure in failures:
        _log_error("a cell failed", (failure.error or "").splitlines(), failure.chapter.name)
    if failures:
        raise ExtensionError(f"{len(failures)} of {len(outcomes)} chapters failed")


def _run_outdated(app: Sphinx, env: Any, docnames: list[str]) -> list[execution.Outcome]:
    cache_path = Path(env.mystnb_config.execution_cache_path)
    chapters = [chapter for name in docnames if (chapter := _chapter(env, name)) is not None]
    todo = execution.missing(cache_path, chapters)
    if not todo:
        return []
    jobs = execution.job_count()
    LOGGER.info("running %d chapters, %d at a time", len(todo), min(jobs, len(todo)))
    helpers: Any = app
    parent = helpers._book_parent
    if parent is not None and (state := parent.state()) != warm.READY:
        LOGGER.info("running them in kernels that start anew: %s", " ".join(state.split()))
        parent = None

    def report(outcome: execution.Outcome) -> None:
        state = "failed" if outcome.error else "ran"
        LOGGER.info("chapter %s %s in %.1f s", outcome.chapter.name, state, outcome.seconds)

    outcomes = execution.run_chapters(
        todo,
        root=Path(app.srcdir),
        jobs=jobs,
        timeout=env.mystnb_config.execution_timeout,
        report=report,
        parent=parent,
        give_up=lambda: helpers._book_check is not None and helpers._book_check.failed(),
    )
    execution.store(cache_path, outcomes)
    return outcomes


def _pass_gate(app: Sphinx) -> None:
    check = app._book_check  # type: ignore[attr-defined]
    if check is None:
        return
    valid, lines = check.wait()
    if not valid:
        _log_error("the data package has errors", lines, "data")
        raise ExtensionError("the data package has errors")
    LOGGER.info("checked: %s", lines[-1] if lines else "no findings")
    _checked(app).write_text(app.config.book_inputs, encoding="utf-8")


def _log_error(what: str, lines: list[str], where: str) -> None:
    LOGGER.error("\n".join([what, *(f"{execution.QUOTE}{line}" for line in lines)]), location=where)


def _chapter(env: Any, docname: str) -> execution.Chapter | None:
    """Read a chapter in the way MyST-NB will, so that it finds the result under the same key."""
    from myst_nb.core.read import create_nb_reader

    path = Path(env.doc2path(docname))
    text = path.read_text(encoding="utf-8")
    reader = create_nb_reader(str(path), env.myst_config, env.mystnb_config, text)
    if reader is None:
        return None
    notebook = reader.read(text)
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        return None
    return execution.Chapter(docname, path, notebook)


def name_pages_to_rewrite(app: Sphinx, env: Any) -> list[str]:
    """Name the pages that a change of other chapters changes.

    Sphinx writes the chapters that it read again. A page that quotes numbers of another chapter
    (glue) is written again as well; and every page is when anything changed that pages share:
    titles, the table of contents, the numbers of figures and tables, references.
    """
    if not app._book_outdated:  # type: ignore[attr-defined]
        return []
    shared = _shared_digest(env)
    if shared != getattr(env, "book_shared", None):
        env.book_shared = shared
        return sorted(env.found_docs)
    return sorted(name for name in env.found_docs if env.metadata[name].get("quotes_chapters"))


def _shared_digest(env: Any) -> str:
    standard, cite = env.domaindata["std"], env.domaindata["cite"]
    parts = [
        sorted((name, title.astext()) for name, title in env.titles.items()),
        sorted(env.toctree_includes.items()),
        sorted((name, data.get("myst_slugs")) for name, data in env.metadata.items()),
        sorted((key, value) for key, value in standard["labels"].items()),
        sorted((key, value) for key, value in standard["anonlabels"].items()),
        sorted((name, repr(value)) for name, value in env.toc_secnumbers.items()),
        sorted((name, repr(value)) for name, value in env.toc_fignumbers.items()),
        [(item.citation_id, item.key, item.formatted_entry.label) for item in cite["citations"]],
        _terms(env),
    ]
    return hashlib.sha256(repr(parts).encode("utf-8")).hexdigest()


def note_quotes(app: Sphinx, doctree: nodes.document) -> None:
    """Remember that a chapter quotes another one."""
    from myst_nb.ext.glue.utils import PendingGlueReference

    quotes = any(True for _ in doctree.findall(PendingGlueReference))
    app.env.metadata[app.env.docname]["quotes_chapters"] = quotes


def keep_executed_notebook(app: Sphinx, doctree: object) -> None:
    """Write the executed notebook of a chapter that was just read, the same bytes at every build.

    MyST-NB writes one as well, but without the results when they came out of the cache.
    """
    env: Any = app.env  # MyST-NB hangs its settings on it
    chapter = _chapter(env, env.docname)
    if chapter is None or env.mystnb_config.execution_mode != "cache":
        return
    notebook = execution.executed(Path(env.mystnb_config.execution_cache_path), chapter)
    target = _executed_path(app, env.docname)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(notebook, encoding="utf-8")


def _executed_path(app: Sphinx, docname: str) -> Path:
    return Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb"


def offer_notebook(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Offer the executed notebook in the page's download menu."""
    source = _executed_path(app, pagename)
    if doctree is None or not source.is_file():
        return
    target = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    context["ipynb_source"] = f"{pagename}.ipynb"
    up = posixpath.relpath("_sources", posixpath.dirname(pagename) or ".")
    name = posixpath.basename(pagename)
    context["body"] = context.get("body", "") + (
        '<p class="book-files">This page as <a download '
        f'href="{up}/{pagename}.ipynb">executed notebook</a> ({html.escape(name)}.ipynb) and '
        f'<a download href="{up}/{pagename}.md">source</a> ({html.escape(name)}.md).</p>\n'
    )


def show_data_version(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Put the data version and its sha256 into the page's footer and its metadata."""
    version, digest = _data_identity(app)
    version = html.escape(version)
    context["theme_extra_footer"] = (
        '<p class="data-version">Data version '
        f'<span data-data-version="{version}">{version}</span>, sha256 '
        f'<code data-data-sha256="{digest}">{digest}</code></p>'
    )
    context["metatags"] = (
        context.get("metatags", "")
        + f'<meta name="data-version" content="{version}" />\n'
        + f'<meta name="data-sha256" content="{digest}" />\n'
    )


def _data_identity(app: Sphinx) -> tuple[str, str]:
    cached = getattr(app, "_book_data_identity", None)
    if cached is None:
        folder = Path(app.srcdir) / "data"
        cached = (data_version(folder), data_digest(folder))
        app._book_data_identity = cached  # type: ignore[attr-defined]
    return cached


def describe_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Put what the page is, in the terms of schema.org, into its head."""
    if doctree is None or pagename not in app.env.titles:
        return
    _, digest = _data_identity(app)
    folder = Path(app.srcdir) / "data"
    package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    body = context.get("body", "")
    here = [name for name in _pinned(folder) if f'id="{name.partition("@")[0]}"' in body]
    title = app.env.titles[pagename].astext()
    said = metadata.script(metadata.article(title, package, digest, here))
    if pagename == DATA_PAGE:
        files = [path.name for path in _data_files(folder)]
        up = posixpath.relpath("_data", posixpath.dirname(pagename) or ".")
        said += metadata.script(metadata.dataset(package, digest, files, up))
    context["metatags"] = context.get("metatags", "") + said


def _pinned(folder: Path) -> list[str]:
    """Name the pinned estimates, ``estimand@version``; none where there is no such file."""
    path = folder / "estimates.json"
    if not path.is_file():
        return []
    return [entry["estimate_id"] for entry in json.loads(path.read_text(encoding="utf-8"))]


def drop_unused_math(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Leave the math library out of pages without an equation.

    Sphinx adds it to every page that has an equation in itself or in any page below it.
    """
    if 'class="math' in context.get("body", "") or "script_files" not in context:
        return
    context["script_files"] = [
        script
        for script in context["script_files"]
        if not str(getattr(script, "filename", "")).endswith(app.config.mathjax_path)
        and "window.MathJax" not in (getattr(script, "attributes", {}).get("body") or "")
    ]


def mend_bibliography_roles(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Make the entries of a bibliography items of their list for assistive technology.

    The role that docutils gives them is deprecated, and is not allowed inside a list.
    """
    if "doc-biblioentry" in context.get("body", ""):
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def _terms(env: Any) -> list[terms.Term]:
    """Return the words of the glossary; none where the book has no glossary."""
    return terms.read(env.get_doctree(GLOSSARY)) if GLOSSARY in env.found_docs else []


def mark_terms(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Mark the words of the glossary where the page first uses them."""
    if doctree is None or pagename in UNMARKED:
        return
    words = getattr(app, "_book_terms", None)
    if words is None:
        words = app._book_terms = _terms(app.env)  # type: ignore[attr-defined]
    if words:
        address = app.builder.get_relative_uri(pagename, GLOSSARY)
        context["body"] = terms.mark(context.get("body", ""), words, address)


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write ``index.html`` and remove what pages of earlier builds left behind."""
    if exception is not None or app.builder.name != "html":
        return
    outdir = Path(app.outdir)
    root_page = outdir / f"{app.config.root_doc}.html"
    if app.config.root_doc != "index" and root_page.is_file():
        page = root_page.read_text(encoding="utf-8")
        (outdir / "index.html").write_text(
            relocate(page, posixpath.dirname(app.config.root_doc)), encoding="utf-8"
        )
    _publish_data(Path(app.srcdir) / "data", outdir / "_data")
    _remove_leftovers(app, outdir)
    _write_crate(app, outdir)
    _clean_search_index(outdir / "searchindex.js")


_LINK = re.compile(
    r'(?P<before>\s(?:href|src|data-content_root|action)=")(?P<url>[^"]*)(?P<after>")'
)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


def relocate(page: str, folder: str) -> str:
    """Rewrite the relative addresses of a page for a copy at the top of the book.

    Parameters
    ----------
    page : str
        The HTML of a page.
    folder : str
        The folder it is in, relative to the top of the book, with forward slashes.

    Returns
    -------
    str
        The same page with addresses that hold from the top.
    """

    def replace(match: re.Match[str]) -> str:
        url = match["url"]
        if not url or url == "#" or _SCHEME.match(url):
            return match[0]
        path, mark, rest = url.partition("#")
        if not path:
            return match[0]
        ending = "/" if path.endswith("/") else ""
        moved = posixpath.normpath(posixpath.join(folder, path))
        moved = "./" if moved == "." else moved + ending
        return f"{match['before']}{moved}{mark}{rest}{match['after']}"

    return _LINK.sub(replace, page)


def _clean_search_index(path: Path) -> None:
    """Remove words that only earlier versions of the pages had."""
    before, after = "Search.setIndex(", ")"
    text = path.read_text(encoding="utf-8")
    if not (text.startswith(before) and text.endswith(after)):
        raise ExtensionError(f"{path.name} is not in the form that this version of Sphinx writes")
    index = json.loads(text[len(before) : -len(after)])
    for name in ("terms", "titleterms"):
        index[name] = {word: found for word, found in index[name].items() if found != []}
    path.write_text(before + json.dumps(index, sort_keys=True) + after, encoding="utf-8")


def _publish_data(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in _data_files(source):
        shutil.copyfile(path, target / path.name)


def _data_files(folder: Path) -> list[Path]:
    """List the files of the data package that can be downloaded."""
    return [path for path in sorted(folder.iterdir()) if path.suffix in {".csv", ".json", ".md"}]


def _write_crate(app: Sphinx, outdir: Path) -> None:
    """Write ``ro-crate-metadata.json`` at the top of the book."""
    _, digest = _data_identity(app)
    package = json.loads((outdir / "_data" / "datapackage.json").read_text(encoding="utf-8"))
    titles = {name: title.astext() for name, title in app.env.titles.items()}
    titles["index"] = titles[app.config.root_doc]
    content = metadata.crate(outdir, package, digest, titles)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (outdir / "ro-crate-metadata.json").write_text(text + "\n", encoding="utf-8")


def _remove_leftovers(app: Sphinx, outdir: Path) -> None:
    pages = {*app.env.found_docs, "index", "search"}
    for page in outdir.rglob("*.html"):
        name = page.relative_to(outdir)
        if not name.parts[0].startswith("_") and name.with_suffix("").as_posix() not in pages:
            page.unlink()
    for source in (outdir / "_sources").rglob("*.*"):
        name = source.relative_to(outdir / "_sources")
        if source.is_file() and name.with_suffix("").as_posix() not in pages:
            source.unlink()
    wanted = {name for _, name in app.env.images.values()}
    images = outdir / "_images"
    for image in images.glob("*"):
        if image.name not in wanted:
            image.unlink()
    if images.is_dir() and not wanted:
        images.rmdir()
