"""The set of templates: which file serves a template name, a channel and a language.

File names: `<template>/<form>[.<language>].<extension>`, forms email (txt with a first line `Subject:`, and html),
wecom (md), webhook (json) and text (txt; what every other channel falls back to).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.notify.core.filters import RenderError
from services.notify.core.json_template import compile_json
from services.notify.core.model import Content
from services.notify.core.render import Compiled, Context, TemplateMistake, compile_text

FALLBACK = "default"  # its forms serve every template that lacks them
READ_MARKDOWN = {"wecom"}
# Which forms may serve a channel, best first.
FORMS: Mapping[str, tuple[str, ...]] = {
    "email": ("email",),
    "wecom": ("wecom", "text"),
    "webhook": ("webhook",),
    "apprise": ("text", "email"),
    "sink": ("text", "email", "webhook"),
}


@dataclass(frozen=True, slots=True)
class _Form:
    """What one form needs in one language."""

    subject: Compiled | None = None
    text: Compiled | None = None
    markdown: Compiled | None = None  # the text with values made harmless, for channels that read markdown
    html: Compiled | None = None
    body: Compiled | None = None


class Templates:
    """Compiled templates by (template, form, language); "" is the language of a file that names none."""

    def __init__(self, files: Mapping[str, str], language: str = "en") -> None:
        """files: path inside the templates folder → text. Raises TemplateMistake listing every mistake, one a line."""
        self._language = language
        self._forms: dict[tuple[str, str], dict[str, _Form]] = {}
        mistakes: list[str] = []
        for path, source in sorted(files.items()):
            try:
                self._add(path, source)
            except TemplateMistake as mistake:
                mistakes.append(str(mistake))
        mistakes += [
            f"{template}/{form}.{language}.html: has no email.{language}.txt beside it (the text part and the subject)"
            for (template, form), languages in self._forms.items()
            for language, found in languages.items()
            if form == "email" and found.text is None
        ]
        if mistakes:
            raise TemplateMistake("\n".join(mistakes))
        self.names = {template for template, _ in self._forms} - {FALLBACK}

    def _add(self, path: str, source: str) -> None:
        template, _, file = path.partition("/")
        stem, _, extension = file.rpartition(".")
        form, _, language = stem.partition(".")
        slot = self._forms.setdefault((template, form), {})
        found = slot.get(language, _Form())
        if form == "webhook" and extension == "json":
            slot[language] = _Form(body=compile_json(source, path))
        elif form == "email" and extension == "txt":
            subject, text = _split_subject(source, path)
            subject_part, text_part = compile_text(subject, path, "text"), compile_text(text, path, "text")
            slot[language] = replace(found, subject=subject_part, text=text_part)
        elif form == "email" and extension == "html":
            slot[language] = replace(found, html=compile_text(source, path, "html"))
        elif (form, extension) in (("wecom", "md"), ("text", "txt")):
            slot[language] = _Form(text=compile_text(source, path, "text"), markdown=compile_text(source, path, "md"))
        else:
            raise TemplateMistake(
                f"{path}: expected <template>/email.<language>.txt, .html, wecom.<language>.md, text.<language>.txt or"
                " webhook.json"
            )

    def render(self, template: str, channel: str, language: str, context: Context) -> Content:
        """The content of a message. Raises RenderError: no such template or form, undefined name, limit."""
        wanted = template.replace("-", "_")  # rules spell names with hyphens, folders with underscores
        if wanted not in self.names:
            raise RenderError(f"template {template!r} does not exist")
        for name in (wanted, FALLBACK):
            for form in FORMS.get(channel, ("text",)):
                languages = self._forms.get((name, form))
                if languages:
                    chosen = self._choose(languages, language)
                    return _fill(languages[chosen], chosen, context, channel in READ_MARKDOWN)
        raise RenderError(f"template {template!r} has no form for the channel {channel!r}")

    def _choose(self, languages: Mapping[str, _Form], wanted: str) -> str:
        base = wanted.partition("-")[0]
        candidates = (wanted, base, self._language, self._language.partition("-")[0], "")
        return next((language for language in candidates if language in languages), min(languages))


def _split_subject(source: str, path: str) -> tuple[str, str]:
    first, _, rest = source.partition("\n")
    if not first.lower().startswith("subject:"):
        raise TemplateMistake(f"{path}:1: expected `Subject: …` in the first line")
    return first[len("subject:") :].strip(), rest.lstrip("\n")


def _fill(form: _Form, language: str, context: Context, is_markdown: bool) -> Content:
    def part(compiled: Compiled | None) -> str:
        return compiled(context) if compiled is not None else ""

    # A subject is one header line whatever a customer is called.
    subject = " ".join(part(form.subject).split())
    text = part(form.markdown if is_markdown else form.text)
    return Content(subject, text, part(form.html), part(form.body), language)
