"""Plain values to the typed fields of `metainit.config.fields`."""

import dataclasses
import difflib
import functools
import operator
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from metainit.config.fields import ConfigError

Fields = TypeVar("Fields")

_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a name in quotes",
}


def parse(values: Mapping[str, Any], of: type[Fields]) -> Fields:
    """Makes the dataclass that a nested dict describes; what it lacks has its default.

    Lists are taken for tuples and whole numbers for numbers, as JSON has them. Raises
    ConfigError naming the dotted field, its value and what would work.
    """
    return _section(of, values, "", of)


def replaced(config: Fields, changes: Mapping[str, Any]) -> Fields:
    """Changes fields by dotted name; raises ConfigError as `parse` does."""
    values = dataclasses.asdict(config)  # type: ignore[call-overload]
    for name, value in changes.items():
        *sections, last = name.split(".")
        try:
            functools.reduce(operator.getitem, sections, values)[last] = value
        except (KeyError, TypeError):
            raise unknown(name, type(config)) from None
    return parse(values, type(config))


def names(of: type, prefix: str = "") -> Iterator[str]:
    """Lists dotted names of every field of a dataclass that is no section."""
    for name, kind in _types(of).items():
        if dataclasses.is_dataclass(kind):
            yield from names(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield prefix + name


@functools.cache
def _types(of: type) -> dict[str, Any]:
    return typing.get_type_hints(of, include_extras=True)


def unknown(field: str, root: type) -> ConfigError:
    """Makes the error of a field that `root` has not; it names the nearest it has."""
    known = list(names(root))
    # Of the same last name first: "learning_rate" is inner's or outer's; then of those
    # that contain it, in the same section.
    section, _, last = field.rpartition(".")
    near = [name for name in known if name.split(".")[-1] == last]
    longer = [x for x in known if x.startswith(f"{section}.") and last in x]
    near = near or difflib.get_close_matches(field, longer or known, n=1, cutoff=0)
    return ConfigError(f"{field}: there is no such field; the nearest: {near[0]}")


def _section(of: Any, values: Any, prefix: str, root: type) -> Any:
    types, given = _types(of), {}
    fields = f"a section with the fields {', '.join(types)}"
    _require(isinstance(values, Mapping), prefix.rstrip("."), values, fields)
    for name, value in values.items():
        field = prefix + name
        if name not in types:
            raise unknown(field, root)
        if dataclasses.is_dataclass(types[name]):
            given[name] = _section(types[name], value, f"{field}.", root)
        else:
            given[name] = _value(types[name], value, field)
    return of(**given)


def _value(kind: Any, value: Any, field: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = _value(arguments[0], value, field)
        for rule in arguments[1:]:
            _require(rule.holds(value), field, value, rule.words)
        return value
    if origin is Literal:
        fits = any(value == x and type(value) is type(x) for x in arguments)
        _require(fits, field, value, f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        listed = isinstance(value, list | tuple)
        _require(listed, field, value, "a tuple, as (VALUE, VALUE) or (VALUE,)")
        elements = enumerate(value)
        return tuple(_value(arguments[0], x, f"{field}[{i}]") for i, x in elements)
    fits = isinstance(value, int | float if kind is float else kind)
    fits = fits and (kind is bool or not isinstance(value, bool))
    _require(fits, field, value, _WORDS[kind])
    return kind(value)


def _require(holds: object, field: str, value: Any, words: str) -> None:
    if not holds:
        raise ConfigError(f"{field}={value!r} must be {words}")
