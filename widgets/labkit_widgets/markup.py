"""The HTML and CSS of the forms; every text that comes from outside is escaped here."""

from __future__ import annotations

import html
import traceback
from typing import TYPE_CHECKING

from labkit.errors import LabkitError

if TYPE_CHECKING:
    import pandas as pd

SHOWN_COLUMNS = (
    "vm_id",
    "name",
    "status",
    "worker_ip",
    "vnc_port",
    "cores",
    "ram_gb",
    "disk_gb",
    "interfaces",
    "ip",
)

CSS = """<style>
.labkit-form {
  max-width: 920px; padding: 14px 18px 16px; gap: 2px; box-sizing: border-box;
  border: 1px solid var(--jp-border-color2, #d0d0d0); border-radius: 6px;
  background: var(--jp-layout-color1, #ffffff); color: var(--jp-ui-font-color1, #212121);
}
.labkit-form, .labkit-form * { overflow-wrap: anywhere; }
.labkit-form .labkit-row { align-items: center; gap: 10px; overflow: visible; }
.labkit-form .labkit-action { min-height: 44px; margin-top: 4px; }
.labkit-form .labkit-title { font-size: 15px; font-weight: 600; margin: 0 0 4px; }
.labkit-form .labkit-message { flex: 1 1 0; min-width: 0; }
.labkit-form .labkit-message .widget-html-content { line-height: 1.35; }
.labkit-form .labkit-problem { color: var(--jp-error-color1, #d32f2f); font-size: 12px; }
.labkit-form .labkit-invalid input { border-color: var(--jp-error-color1, #d32f2f); }
.labkit-form .labkit-note { color: var(--jp-ui-font-color2, #616161); font-size: 12px; }
.labkit-form .widget-html-content p { margin: 0; line-height: 1.5; }
.labkit-form pre {
  margin: 2px 0 0; padding: 8px 12px; border-radius: 4px; line-height: 1.45; font-size: 12px;
  font-family: var(--jp-code-font-family, monospace); white-space: pre-wrap;
  color: var(--jp-content-font-color1, #212121); background: var(--jp-layout-color2, #f3f3f3);
}
.labkit-form pre.labkit-code { user-select: all; cursor: copy; }
.labkit-form .labkit-error {
  padding: 8px 12px; border-left: 4px solid var(--jp-error-color1, #d32f2f);
  background: var(--jp-layout-color2, #f3f3f3);
}
.labkit-form summary { cursor: pointer; margin-top: 4px; font-size: 12px; }
.labkit-form table { border-collapse: collapse; font-size: 12px; margin: 8px 0 4px; }
.labkit-form .labkit-table th, .labkit-form .labkit-table td {
  padding: 4px 12px 4px 0; text-align: left; border: none; white-space: nowrap;
  border-bottom: 1px solid var(--jp-border-color2, #d0d0d0);
}
.labkit-form .labkit-table { overflow-x: auto; }
</style>"""


def title(text: str) -> str:
    """The heading of a form."""
    return f'<div class="labkit-title" role="heading" aria-level="3">{html.escape(text)}</div>'


def problem(text: str) -> str:
    """What is wrong with a field, to stand beside it; empty when nothing is."""
    if not text:
        return ""
    return f'<span role="alert" class="labkit-problem">{html.escape(text)}</span>'


def note(text: str) -> str:
    """A remark; empty when there is none."""
    return f'<p role="status" class="labkit-note">{html.escape(text)}</p>' if text else ""


def status(text: str) -> str:
    """What is going on or was done; read out by screen readers without interrupting."""
    return f'<p role="status">{html.escape(text)}</p>'


def error(problem: Exception) -> str:
    """An error as a person reads it: what, why, what to do; the traceback is folded away."""
    if isinstance(problem, LabkitError):
        lines = [f"<strong>{_sentence(problem.what)}</strong>"]
        lines += [_sentence(text) for text in (problem.why, problem.fix) if text]
    else:
        what = f"{type(problem).__name__}: {problem}"
        lines = [
            f"<strong>{_sentence(what)}</strong>",
            "labkit did not expect this: please report it together with the details.",
        ]
    shown = "".join(f"<p>{line}</p>" for line in lines)
    details = html.escape("".join(traceback.format_exception(problem)))
    return (
        f'<div role="alert" class="labkit-error">{shown}</div>'
        f"<details><summary>Details</summary><pre>{details}</pre></details>"
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return html.escape(text if text.endswith((".", "?", "!")) else f"{text}.")


PYTHON_LATER = "The same in Python is shown here once all fields are right."


def code(python: str) -> str:
    """Python that one click selects as a whole, if there is any."""
    if not python:
        return f'<p class="labkit-note">{PYTHON_LATER}</p>'
    return (
        '<p class="labkit-note">The same in Python (a click selects it all, then copy):</p>'
        '<pre class="labkit-code" tabindex="0" aria-label="The same in Python">'
        f"{html.escape(python)}</pre>"
    )


def table(vms: pd.DataFrame) -> str:
    """The VMs, in the columns that matter to a person."""
    if not len(vms):
        return '<p class="labkit-note">No VMs yet.</p>'
    shown = vms[[column for column in SHOWN_COLUMNS if column in vms.columns]].astype(object)
    body = shown.where(shown.notna(), "").to_html(index=False, border=0)
    return (
        f'<div class="labkit-table">{body}</div>'
        '<p class="labkit-note">As a DataFrame, with all columns: <code>form.vms</code></p>'
    )


def fallback(python: str) -> str:
    """The form where widgets cannot be shown: on a page, or before the notebook is run."""
    words = "The same in Python:" if python else PYTHON_LATER
    return (
        f"<p><em>A form that creates VMs; run the notebook to use it. {words}</em></p>"
        f"<pre>{html.escape(python)}</pre>"
    )


def python_words(python: str) -> str:
    """The same as plain text."""
    return f"The same in Python:\n\n{python}" if python else PYTHON_LATER
