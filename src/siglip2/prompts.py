"""Labels become prompts: templates, and the canonical form in which the reference's evaluator compares them.

Source: big_vision `evaluators/proj/image_text/prompt_engineering.py`; the template sets are CLIP's.
"""

import json
import re
import string
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources

from siglip2.errors import InvalidInput

PLAIN = "a photo of a {}."
"""The default template.

One sentence in the style of the captions that the models were trained on, and a member of CLIP's sets; eight
times cheaper than `clip8` to set up and as good on labels that are no ImageNet classes.
"""

TEMPLATE_SETS = ("plain", "clip8", "clip81")
"""Names that `resolve_templates` knows."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)", re.IGNORECASE)
_TEMPLATE_ARTICLE = re.compile(r"\b(?:an?|the)\s+$", re.IGNORECASE)


def canonicalize(text: str, *, keep: str = "") -> str:
    """The reference evaluator's form of a text: lower case, single spaces, no underscores or punctuation.

    Lower-casing is Python's full one, as in big_vision's evaluator; the tokenizer's own is ASCII only.

    Args:
        text: a class name, prompt or template.
        keep: a string whose occurrences survive: `,` in names, `{}` in templates.
    """
    text = text.replace("_", " ")
    if len(keep) > 1:
        stripped = keep.join(part.translate(_PUNCTUATION) for part in text.split(keep))
    else:  # in one go, since a text may hold thousands of commas
        stripped = text.translate(str.maketrans("", "", string.punctuation.replace(keep, "")))
    return " ".join(stripped.lower().split())


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The templates of a named set, of one template, or of several.

    Args:
        templates: `plain`, `clip8` (CLIP's best eight), `clip81` (the 80 of CLIP's paper and the bare label),
            one template with `{}`, or a sequence of templates.

    Raises:
        InvalidInput: a template without exactly one `{}`, or none at all.
    """
    if templates == "plain":
        return (PLAIN,)
    if isinstance(templates, str):
        return _template_sets()[templates] if templates in TEMPLATE_SETS else _checked([templates])
    return _checked(templates)


def label_prompts(label: str, templates: Iterable[str], *, canonical: bool = True) -> tuple[str, ...]:
    """The prompts of one label, one per template.

    A label that brings its own article ("a cat") loses it where the template has one ("a photo of a {}").
    That is ours: the reference knows bare class names only.

    Args:
        label: what the user calls the class.
        templates: each with one `{}`.
        canonical: bring label and templates into canonical form first.

    Raises:
        InvalidInput: nothing of the label is left in canonical form.
    """
    name = label.strip()
    if canonical:
        name = canonicalize(label, keep=",")
        templates = [_canonical_template(template) for template in templates]
        if not name.replace(",", "").strip():
            raise InvalidInput(
                f"label {label!r} is nothing but punctuation, which the canonical form drops: "
                "give it a prompt in words or turn canonicalisation off"
            )
    return tuple(_fill(template, name) for template in templates)


@lru_cache(maxsize=256)  # those of one label are those of the next
def _canonical_template(template: str) -> str:
    return canonicalize(template, keep="{}")


def _fill(template: str, name: str) -> str:
    before, after = template.split("{}")
    if _TEMPLATE_ARTICLE.search(before):
        name = _ARTICLE.sub("", name, count=1) if _ARTICLE.match(name) else name
    return f"{before}{name}{after}"


def _checked(templates: Sequence[str]) -> tuple[str, ...]:
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise InvalidInput(
                f"template {template!r} must contain {{}} once, where the label goes, as in {PLAIN!r}; "
                f"named sets are {', '.join(TEMPLATE_SETS)}"
            )
    if not templates:
        raise InvalidInput(f"no template given; {PLAIN!r} is the usual one and '{{}}' the bare label")
    return tuple(templates)


def _template_sets() -> dict[str, tuple[str, ...]]:
    file = resources.files("siglip2") / "assets" / "prompt_templates.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    return {name: tuple(content[name]) for name in ("clip8", "clip81")}
