"""A pickle read as the data it describes; nothing in it is ever looked up or called.

Python's own reader runs a pickle as a program. This one follows the same instructions
on plain values: numbers, text, bytes, lists, tuples and dicts come out as they are. A
global stays the `Name` it was written as, an object stays a `Call`: what would have
been called, with what, and the entries that it was given as a dict. The state that a
pickle sets on an object is dropped. `pickle_names` says which names may be there; the
caller says what stands for that which lies outside the pickle.

It takes no more than MAX_INSTRUCTIONS; every value it makes is already in the file, so
a declared length cannot ask for memory.
"""

import dataclasses
import pickletools
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

from sdd_jax.errors import InputError
from weights_conversion import pickle_names

# IR-101's 917 tensors take 29,000, with AdamW's state 81,000, and with running averages
# of the weights and a second copy of them as well 144,000.
MAX_INSTRUCTIONS = 300_000

_LONGEST = 1000  # characters of a name

_MARK = object()


@dataclasses.dataclass(frozen=True, eq=False)
class Name:
    """A global, as "module.name"."""

    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """An object that a pickle would have made; `arguments` is all there is to know."""

    name: str
    arguments: tuple[Any, ...]
    entries: dict[Any, Any] = dataclasses.field(default_factory=dict)


def read(stream: BytesIO, outside: Callable[[Any], Any]) -> Any:
    """Return the value of the next pickle, and leave the stream behind it.

    A dict's keys are text, names and calls; a number is a call of its type.

    Args:
        stream: at the start of a pickle.
        outside: returns the value for a persistent id.

    Raises:
        InputError: the pickle is damaged, too long, or names what no trainer writes.
    """
    try:
        return _Machine(outside).run(stream)
    except (ValueError, OverflowError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"its pickle is damaged: {reason}") from None
    except (IndexError, KeyError, TypeError, AttributeError):
        raise InputError("its pickle is damaged: the instructions do not fit") from None


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, outside: Callable[[Any], Any]):
        self.outside = outside
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BytesIO) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_INSTRUCTIONS:
                raise InputError(
                    f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions"
                )
            self.step(opcode.name, argument)
        [value] = self.stack
        return value

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:  # the frequent ones first
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case _ if opcode in _PLAIN:
                stack.append(argument)
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(self.pop_to_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = self.pop_to_mark()
                stack.append({})
                self.set_items(items)
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(opcode[-1]))))
            case "EMPTY_SET":
                stack.append(Call("builtins.set", ()))
            case "FROZENSET":
                stack.append(Call("builtins.frozenset", tuple(self.pop_to_mark())))
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "ADDITEMS":
                self.pop_to_mark()
            case "SETITEM":
                self.set_items(self.pop(2))
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case "GLOBAL":
                self.push_name(argument.replace(" ", "."))
            case "STACK_GLOBAL":
                module, name = self.pop(2)
                self.push_name(module, name)
            case "INST":
                self.push_name(argument.replace(" ", "."))
                name = stack.pop()
                self.push_call(name, tuple(self.pop_to_mark()))
            case "OBJ":
                name, *arguments = self.pop_to_mark()
                self.push_call(name, tuple(arguments))
            case "REDUCE":
                self.push_call(*self.pop(2))
            case "NEWOBJ":
                self.push_object(*self.pop(2))
            case "NEWOBJ_EX":
                name, arguments, _ = self.pop(3)
                self.push_object(name, arguments)
            case "BUILD":
                self.pop(1)
                stack[-1]  # a state without an object is damage
            case "BINPERSID":
                stack.append(self.outside(*self.pop(1)))
            case _:
                raise InputError(f"its pickle has the unexpected instruction {opcode}")

    def pop(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        if len(taken) < count or any(value is _MARK for value in taken):
            raise ValueError("the stack is empty")
        del self.stack[-count:]
        return taken

    def pop_to_mark(self) -> list[Any]:
        taken = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def set_items(self, items: list[Any]) -> None:
        pairs = zip(items[::2], items[1::2], strict=True)
        # A deep tuple as a key would overflow the interpreter's own stack.
        named = {
            key if isinstance(key, str | Name | Call) else _as_call(key): value
            for key, value in pairs
        }
        match self.stack[-1]:
            case dict() as entries:
                entries.update(named)
            case Call(entries=entries):
                entries.update(named)

    def push_name(self, *parts: str) -> None:
        # Before they are joined: a pickle names its strings again at no cost.
        if sum(map(len, parts)) > _LONGEST:
            raise InputError(
                f"its pickle has a name of more than {_LONGEST:,} characters"
            )
        name = ".".join(parts)
        if not pickle_names.may_stand(name):
            raise _refusal(name)
        self.stack.append(Name(name))

    def push_call(self, name: Any, arguments: Any) -> None:
        match name, arguments:
            case Name("collections.OrderedDict"), tuple():
                self.stack.append({})
                if arguments:
                    [pairs] = arguments
                    # Of two each: lists that share their values could be endless.
                    self.set_items([x for key, value in pairs for x in (key, value)])
            case Name(text), (Name(outer), str(inner)) if text in _GETATTR:
                # How protocol 2 writes the name of a method or an inner class.
                self.push_name(outer, inner)
            case Name(text), (Name(), *_) if text == _PARTIAL:
                self.push_object(name, arguments)
            case Name(text), _ if text in (*_GETATTR, _PARTIAL) or (
                not pickle_names.may_be_called(text)
            ):
                raise _refusal(text)
            case _:
                self.push_object(name, arguments)

    def push_object(self, name: Any, arguments: Any) -> None:
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            # Calling what a call returned is nothing that plain data needs.
            raise InputError("its pickle calls something that is not a name")
        self.stack.append(Call(name.text, arguments))


def _refusal(name: str) -> InputError:
    # The file chooses the name: keep it on one line and short.
    return InputError(f"its pickle names {ascii(name)[1:-1][:100]}")


def _as_call(key: Any) -> Call:
    return Call(f"builtins.{type(key).__name__}", (key,))


_GETATTR = ("builtins.getattr", "__builtin__.getattr")
_PARTIAL = "functools.partial"
_PLAIN = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE "
    "SHORT_BINUNICODE BINUNICODE BINUNICODE8".split()
)
