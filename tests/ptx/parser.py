"""The parser of PTX: one pass over the words, names of inner blocks made unique."""

from __future__ import annotations

import struct
from itertools import count

from ptx.errors import PtxSyntaxError
from ptx.syntax import (
    IGNORED_LINES,
    LINKING,
    SIZES,
    SPACES,
    TUNING,
    Address,
    Function,
    Group,
    Instruction,
    Module,
    Name,
    Number,
    Operand,
    Token,
    Variable,
    integer,
    tokens_of,
)

END = Token("end", "", 0)


def parse(text: str) -> Module:
    """Return the parts of a text in PTX.

    Raises
    ------
    PtxSyntaxError
        If it is not understood.
    """
    return _Parser(text).module()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(tokens_of(text))
        self._place = 0
        self._lines = text.split("\n")
        self._numbers = count(1)
        self._scopes: list[dict[str, str]] = []

    def module(self) -> Module:
        """Parse everything."""
        variables: list[Variable] = []
        functions: dict[str, Function] = {}
        while self._now.kind != "end":
            linking = ""
            while self._now.text[1:] in LINKING:
                linking = self._next().text[1:]
            if self._now.text in (".entry", ".func"):
                found = self._function()
                if found.body is not None or found.name not in functions:
                    functions[found.name] = found
            elif self._now.text[1:] in SPACES:
                variables += self._variables(linking)
            elif self._now.text[1:] in IGNORED_LINES:
                self._skip_line()
            else:
                raise self._wrong("a directive")
        return Module(variables, functions, self._lines)

    @property
    def _now(self) -> Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else END

    def _next(self) -> Token:
        found = self._now
        self._place += 1
        return found

    def _wrong(self, wanted: str) -> PtxSyntaxError:
        return PtxSyntaxError(f"line {self._now.line}: {wanted} is expected, not {self._now.text!r}")

    def _take(self, text: str) -> None:
        if self._now.text != text:
            raise self._wrong(repr(text))
        self._place += 1

    def _taken(self, text: str) -> bool:
        if self._now.text == text:
            self._place += 1
            return True
        return False

    def _skip_line(self) -> None:
        line = self._now.line
        if self._now.text == ".section":
            while not self._taken("}"):
                self._next()
            return
        while self._now.line == line and self._now.text != "}":
            self._next()

    def _function(self) -> Function:
        is_kernel = self._next().text == ".entry"
        self._scopes = [{}]
        results = self._parameters() if self._now.text == "(" else []
        name = self._next().text
        parameters = self._parameters() if self._now.text == "(" else []
        while self._now.text[1:] in TUNING:
            self._next()
            while self._now.kind == "integer" or self._now.text == ",":
                self._next()
        found = Function(name, is_kernel, parameters, results)
        if not self._taken(";"):
            found.body = []
            self._take("{")
            self._block(found)
        return found

    def _parameters(self) -> list[Variable]:
        self._take("(")
        found: list[Variable] = []
        while not self._taken(")"):
            found += self._declared("")
            self._taken(",")
        return found

    def _variables(self, linking: str) -> list[Variable]:
        found = self._declared(linking)
        while self._taken(","):
            found += self._declarator(found[0].space, found[0].type, found[0].align, linking)
        self._take(";")
        return found

    def _declared(self, linking: str) -> list[Variable]:
        space, align = self._next().text[1:], 0
        while True:
            word = self._next().text
            if word == ".align":
                align = integer(self._next().text)
            elif word == ".ptr":
                # Says of what a pointer is; `.global` and `.align n` may follow.
                if self._now.text[1:] in SPACES:
                    self._next()
                if self._taken(".align"):
                    self._next()
            elif word[1:] in SIZES:
                kind = word[1:]
                # After the type, a pointer's properties.
                while self._now.text.startswith("."):
                    self._next()
                    if self._now.kind == "integer":
                        self._next()
                return self._declarator(space, kind, align or SIZES[kind], linking)
            else:
                self._place -= 1
                raise self._wrong("a type")

    def _declarator(self, space: str, kind: str, align: int, linking: str) -> list[Variable]:
        name = self._next().text
        if self._taken("<"):
            number = integer(self._next().text)
            self._take(">")
            names = [f"{name}{i}" for i in range(number)]
        else:
            names = [name]
        size = SIZES[kind]
        while self._taken("["):
            size = 0 if self._now.text == "]" else size * integer(self._next().text)
            self._take("]")
        initial = self._initial(kind) if self._taken("=") else b""
        return [Variable(space, kind, align, self._defined(one), size, initial, linking) for one in names]

    def _initial(self, kind: str) -> bytes:
        values: list[bytes] = []
        depth = 0
        while True:
            if self._taken("{"):
                depth += 1
            elif self._taken("}"):
                depth -= 1
            else:
                operand = self._operand()
                if not isinstance(operand, Number):
                    raise PtxSyntaxError(f"line {self._now.line}: only numbers initialise variables here")
                size = SIZES[kind]
                values.append((operand.value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
            if depth == 0:
                return b"".join(values)
            self._taken(",")

    def _defined(self, name: str) -> str:
        """Return a name as it is to be known; what is declared in an inner block gets another."""
        if len(self._scopes) > 1:
            unique = f"{name}.{next(self._numbers)}"
            self._scopes[-1][name] = unique
            return unique
        return name

    def _known(self, name: str) -> str:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return name

    def _block(self, function: Function) -> None:
        """Parse up to the end of a block, the first of whose words is next."""
        self._scopes.append({})
        body = function.body
        assert body is not None
        while not self._taken("}"):
            token = self._now
            if token.kind == "end":
                raise self._wrong("'}'")
            if self._taken("{"):
                self._block(function)
            elif token.text[1:] in SPACES and token.text.startswith("."):
                function.variables += self._variables("")
            elif token.text[1:] in IGNORED_LINES and token.text.startswith("."):
                self._skip_line()
            elif self._place + 1 < len(self._tokens) and self._tokens[self._place + 1].text == ":":
                self._place += 2
                if self._taken(".branchtargets"):
                    targets = [self._next().text]
                    while self._taken(","):
                        targets.append(self._next().text)
                    self._take(";")
                    function.tables[token.text] = tuple(targets)
                else:
                    body.append(Instruction(token.line, "", label=token.text))
            else:
                body.append(self._instruction())
        self._scopes.pop()

    def _instruction(self) -> Instruction:
        predicate = None
        if self._taken("@"):
            inverted = self._taken("!")
            predicate = Name(self._known(self._next().text), inverted)
        token = self._next()
        if token.kind != "name":
            self._place -= 1
            raise self._wrong("an instruction")
        operands: list[Operand] = []
        while not self._taken(";"):
            operands.append(self._operand())
            if not self._taken(",") and self._now.text != ";":
                raise self._wrong("',' or ';'")
        return Instruction(token.line, token.text, tuple(operands), predicate)

    def _operand(self) -> Operand:
        token = self._now
        if self._taken("["):
            return self._address()
        if token.text in ("{", "("):
            self._next()
            close = {"{": "}", "(": ")"}[token.text]
            items: list[Operand] = []
            while not self._taken(close):
                items.append(self._operand())
                self._taken(",")
            return Group(token.text, tuple(items))
        if self._taken("!"):
            return Name(self._known(self._next().text), inverted=True)
        if token.kind in ("integer", "float") or token.text == "-":
            return self._number()
        if token.kind != "name":
            raise self._wrong("an operand")
        self._next()
        name = Name(self._known(token.text))
        if self._now.text == "+":
            return Address(name, self._offset())
        if self._taken("|"):
            return Group("|", (name, Name(self._known(self._next().text))))
        return name

    def _address(self) -> Address:
        base = None
        if self._now.kind == "name":
            base = Name(self._known(self._next().text))
        offset = self._offset()
        self._take("]")
        return Address(base, offset)

    def _offset(self) -> int:
        offset = 0
        while self._now.text in ("+", "-") or self._now.kind == "integer":
            self._taken("+")
            number = self._number()
            offset += number.value
        return offset

    def _number(self) -> Number:
        sign = -1 if self._taken("-") else 1
        token = self._next()
        if token.kind == "integer":
            return Number(sign * integer(token.text))
        if token.kind != "float":
            self._place -= 1
            raise self._wrong("a number")
        if token.text[:2] in ("0f", "0F"):
            return Number(int(token.text[2:], 16) ^ (0 if sign > 0 else 1 << 31), 4)
        if token.text[:2] in ("0d", "0D"):
            return Number(int(token.text[2:], 16) ^ (0 if sign > 0 else 1 << 63), 8)
        (bits,) = struct.unpack("<Q", struct.pack("<d", sign * float(token.text)))
        return Number(bits, 8)
