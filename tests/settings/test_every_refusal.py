"""Nothing the models refuse goes without a wrong file that shows the refusal."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pytest
from pydantic import ValidationError
from pydantic.functional_validators import AfterValidator, PlainValidator

from settings import loading, model, values
from settings.checks import CHECKS
from settings.keys import KEYS, path_of
from settings.loading import SettingsError
from settings.model import StackSettings
from settings.values import AddressRange, Section
from tests.settings.test_wrong_files import WRONG

PLAIN_TYPES = {bool: "bool_type", int: "int_type", str: "string_type"}
BOUNDS = {
    annotated_types.Ge: "greater_than_equal",
    annotated_types.Le: "less_than_equal",
    annotated_types.MinLen: "too_short",
    annotated_types.MaxLen: "too_long",
}


def refusals() -> Iterator[tuple[str, str]]:
    """Everything the models can refuse, as (path, pydantic's type of error or our function)."""
    yield "", "extra_forbidden"
    for key in KEYS.values():
        if key.field.is_required():
            yield key.path, "missing"
        yield from refusals_of(key.path, key.field.annotation, key.field.metadata)


def refusals_of(path: str, annotation: Any, metadata: Any = ()) -> Iterator[tuple[str, str]]:
    metadata = [part for item in metadata for part in getattr(item, "metadata", None) or [item]]
    for item in metadata:
        if type(item) in BOUNDS:
            yield path, BOUNDS[type(item)]
        elif isinstance(item, AfterValidator | PlainValidator):
            yield path, item.func.__name__
        else:
            assert "Strict" in repr(item), f"{path}: a constraint this test does not know: {item}"
    if any(isinstance(item, PlainValidator) for item in metadata):
        return  # it reads any value itself, of whatever type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from refusals_of(path, arguments[0], arguments[1:])
    elif origin is Literal:
        yield path, "literal_error"
    elif origin is tuple:
        yield path, "tuple_type"
        yield from refusals_of(f"{path}[]", arguments[0])
    elif origin is dict:
        yield path, "dict_type"
        names, values_in_it = (set(refusals_of(f"{path}.*", one)) for one in arguments)
        # A name that is no text was refused before the models saw it.
        yield from names - {(f"{path}.*", "string_type")}
        yield from values_in_it
    elif origin in (Union, UnionType):
        for member in arguments:
            if member is not NoneType:
                yield from refusals_of(path, member)
    elif annotation is AddressRange:
        yield path, values.parse_vendor_network.__name__
        yield path, "extra_forbidden"
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        yield path, "model_type"
        yield path, "extra_forbidden"
    else:
        yield path, PLAIN_TYPES[annotation]


def errors_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What the models say of a wrong file: (path of the key, pydantic's error)."""
    try:
        document, _ = loading.read_yaml_file(path)
        raw, _ = loading.config_of(document, path.name, [])
        tree = loading.plain(raw, (), [], loading.Refused())
        loading.validated(tree)
    except SettingsError:
        return []  # refused before the models saw it
    except ValidationError as error:
        return [(path_of(loading.location_of(one["loc"], tree)), one) for one in error.errors()]
    return []


@pytest.fixture(scope="module")
def seen() -> list[tuple[str, dict[str, Any]]]:
    return [error for path in WRONG for error in errors_of(path)]


def test_every_constraint_has_a_wrong_file(seen):
    """A constraint nobody saw refuse anything may have been lost, or speak gibberish."""
    shown = set()
    for path, error in seen:
        shown.add((path, error["type"]))
        if error["type"] == "extra_forbidden":
            shown.add((path.rpartition(".")[0], "extra_forbidden"))
        if error["type"] == "value_error":
            frames = traceback.extract_tb(error["ctx"]["error"].__traceback__)
            shown |= {(path, frame.name) for frame in frames}
    assert sorted(set(refusals()) - shown) == []


def test_every_sentence_of_a_value_has_a_wrong_file(seen):
    """Each `raise` of a reader of values is reached, and its words are in a .txt."""
    reached = set()
    for _, error in seen:
        if error["type"] == "value_error":
            last = traceback.extract_tb(error["ctx"]["error"].__traceback__)[-1]
            reached.add((Path(last.filename).name, last.lineno))
    missed = [
        f"{Path(module.__file__).name}:{node.lineno} {ast.unparse(node)}"
        for module in (values, model)
        for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)  # with words of its own
        if not any(
            (Path(module.__file__).name, line) in reached
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        )
    ]
    assert missed == []


def test_every_check_across_keys_has_a_wrong_file(monkeypatch):
    """Without the check some wrong file would pass, or say less."""
    monkeypatch.setattr(loading, "CHECKS", ())
    without = {path: told(path) for path in WRONG}
    idle = []
    for check in CHECKS:
        monkeypatch.setattr(loading, "CHECKS", (check,))
        if not any(told(path) != without[path] for path in WRONG):
            idle.append(check.__name__)
    assert idle == []


def told(path: Path) -> str:
    try:
        loading.load_stack_file(path)
    except SettingsError as error:
        return str(error)
    return ""


def test_every_check_is_run():
    """A check that is written but not listed would refuse nothing."""
    from settings import checks

    written = {
        node.name
        for node in ast.parse(Path(checks.__file__).read_text()).body
        if isinstance(node, ast.FunctionDef)
        and node.returns is not None
        and ast.unparse(node.returns) == "Iterator[Clash]"
    }
    assert written == {check.__name__ for check in CHECKS}


def test_required_keys_and_lists_have_an_example():
    """An example is what "is missing" suggests, and what stands in for a refused value."""
    for key in KEYS.values():
        if key.field.is_required():
            assert key.field.examples, key.path
        elif get_origin(key.field.annotation) is tuple:
            assert key.field.examples or key.field.default, key.path


def test_examples_are_accepted():
    """Following the advice of an error leads to no other error."""
    examples = {
        str(field.alias): field.examples[0]
        for field in StackSettings.model_fields.values()
        if field.examples
    }
    loading.parse_settings(examples)
    for key in KEYS.values():
        for example in key.field.examples or ():
            path = f"{key.section.__name__}.{key.name}"
            try:
                key.section.model_validate({key.name: example}, by_alias=True, by_name=False)
            except ValidationError as error:
                wrong = [one["loc"] for one in error.errors() if one["type"] != "missing"]
                assert wrong == [], path
