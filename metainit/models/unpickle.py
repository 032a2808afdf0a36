"""Reads pickles of plain values and calls nothing that they name.

A pickle is a program for a small stack machine. Here the machine knows containers,
numbers and strings; a global is its name, and the caller says what may be done with
it. So no code of the file's choice can run, and none is imported.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple


class Global(NamedTuple):
    """A function or class that a pickle names; it was not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Refused(ValueError):
    """What a pickle asks for and does not get, or how it is damaged."""


class Rules(NamedTuple):
    """What a pickle may ask for beyond plain values; each raises `Refused` if not.

    Attributes:
      find: `(Global) -> value` of the stack for it.
      call: `(value, arguments) -> value`: the call of what `find` gave.
      persistent: `(id) -> value`: of an object kept outside of the pickle.
    """

    find: Callable[[Global], Any]
    call: Callable[[Any, tuple], Any]
    persistent: Callable[[Any], Any]


_MARK = object()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
# Their argument is the value.
_LITERALS = frozenset(
    "BININT BININT1 BININT2 INT LONG LONG1 FLOAT BINFLOAT UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES".split()
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file: io.BytesIO, rules: Rules) -> Any:
    """The value of the pickle that starts at the file's position; leaves it behind.

    Raises:
      Refused: for anything but plain values and what the rules allow.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}  # a dict, so that a large index costs nothing
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return stack.pop()
            _step(opcode.name, argument, stack, memo, rules)
    except Refused:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"its pickle is damaged or cut short ({error!r})") from None
    raise Refused("its pickle has no end")


def _step(name: str, argument: Any, stack: list, memo: dict, rules: Rules) -> None:
    if name in _LITERALS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name]())
    elif name in ("PROTO", "FRAME"):
        pass
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name in _TUPLES:
        count = _TUPLES[name]
        if len(stack) < count:
            raise IndexError("empty stack")
        stack[-count:] = [tuple(stack[-count:])]
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name == "LIST":
        stack.append(_to_mark(stack))
    elif name == "DICT":
        stack.append(_pairs(_to_mark(stack)))
    elif name == "APPEND":
        value = stack.pop()
        _of_type(stack[-1], list).append(value)
    elif name == "APPENDS":
        values = _to_mark(stack)
        _of_type(stack[-1], list).extend(values)
    elif name == "SETITEM":
        key, value = stack.pop(-2), stack.pop()
        _of_type(stack[-1], dict)[key] = value
    elif name == "SETITEMS":
        items = _pairs(_to_mark(stack))
        _of_type(stack[-1], dict).update(items)
    elif name == "GLOBAL":
        stack.append(rules.find(Global(*argument.split(" ", 1))))
    elif name == "STACK_GLOBAL":
        attribute, module = stack.pop(), stack.pop()
        stack.append(rules.find(Global(_of_type(module, str), attribute)))
    elif name == "REDUCE":
        arguments = _of_type(stack.pop(), tuple)
        stack.append(rules.call(stack.pop(), arguments))
    elif name == "BUILD":
        # torch hangs versions of layers on a state dict: attributes, which we drop.
        stack.pop()
        _of_type(stack[-1], dict)
    elif name == "BINPERSID":
        stack.append(rules.persistent(stack.pop()))
    else:
        raise Refused(f"it has the pickle instruction {name}, which no weights need")


def _to_mark(stack: list) -> list:
    """Takes the values above the last mark, and the mark, from the stack."""
    values = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _pairs(values: list) -> dict:
    return dict(zip(values[::2], values[1::2], strict=True))


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where a {kind.__name__} belongs")
    return value
