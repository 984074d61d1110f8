"""The text form of a wish as JSON Schema, for editors and forms."""

from __future__ import annotations

from typing import Any

from labkit import rules
from labkit.flavors import MEMORY_FLOOR_MB, SIZES
from labkit.wish.links import IMPAIRMENTS
from labkit.wish.vms import MOST_DATA_INTERFACES

_NAMES = {"pattern": f"^{rules.NAME.pattern}$"}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _by_name(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": _NAMES, "additionalProperties": schema}


def _file() -> dict[str, Any]:
    mode = {"type": "string", "pattern": "^0?[0-7]{3,4}$"}
    forms = [_object({key: _TEXT, "mode": mode}, key) for key in ("text", "base64", "source")]
    return {"oneOf": [_TEXT, *forms]}


def _vm() -> dict[str, Any]:
    address = {"oneOf": [_TEXT, _TEXTS]}
    settings = {
        "flavor": {"enum": list(SIZES), "default": "micro"},
        "interfaces": {
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_DATA_INTERFACES,
            "default": 1,
        },
        "internet": _FLAG,
        "addresses": {"type": "object", "additionalProperties": address},
        "routes": _TEXTS,
        "forwarding": _FLAG,
        "hosts": {"type": "object", "additionalProperties": _TEXT},
        "knows_others": {**_FLAG, "default": True},
        "files": {"type": "object", "additionalProperties": _file()},
        "commands": _TEXTS,
        "screen": _FLAG,
        "cores": {"type": "integer", "minimum": 1},
        "memory_mb": {"type": "integer", "minimum": MEMORY_FLOOR_MB},
        "disk_gb": {"type": "number", "exclusiveMinimum": 0},
        "image": _TEXT,
        "host": _TEXT,
    }
    return {"oneOf": [{"type": "null"}, _object(settings)]}


def schema() -> dict[str, Any]:
    """The JSON Schema of what `spec.from_dict` reads; a dict of its own, safe to change.

    It knows the form. What must fit together (ends, names, networks) `from_dict` checks.
    """
    impairments = dict.fromkeys(IMPAIRMENTS, _TEXT)
    ends = {**_TEXTS, "minItems": 2}
    link = {
        "ends": ends,
        "up": {**_FLAG, "default": True},
        **impairments,
        "sends": {"type": "object", "additionalProperties": _object(impairments)},
    }
    named = _by_name({"oneOf": [ends, _object(link, "ends")]})
    listed = {"type": "array", "items": {"oneOf": [ends, _object({"name": _TEXT, **link}, "ends")]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A labkit slice",
        **_object(
            {
                "name": {"type": "string", **_NAMES},
                "vms": _by_name(_vm()),
                "links": {"oneOf": [named, listed]},
            },
        ),
    }
