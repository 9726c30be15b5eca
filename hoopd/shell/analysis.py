"""What a shell would run of a text: its programs with their arguments and redirections, or why that cannot be told; pure.

Parsed by tree-sitter's grammar of bash; not what the programs then do. The grammar is error-tolerant and no shell's own, so only
what is named in the tables below is understood: every other node, and every way to run what is not in the text, makes the whole text
opaque, which policy refuses unless a rule opens it. Specification: POSIX.1-2017, XCU chapter 2; bash's manual for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from posixpath import basename

import tree_sitter_bash
from attrs import field, frozen
from tree_sitter import Language, Node, Parser

from hoopd.shell import programs

#: longer is a program, not a command
TEXT_MAX = 64 * 1024
#: nodes below each other: people write six, generators a dozen
DEPTH_MAX = 64
#: shells and wrappers within each other
NESTED_MAX = 8

_LANGUAGE = Language(tree_sitter_bash.language())

#: only hold others together: their children are looked at
_PLAIN = frozenset(
    """
    program list pipeline compound_statement subshell if_statement elif_clause else_clause while_statement for_statement
    do_group case_statement case_item negated_command
    """.split()
)


@frozen
class Command:
    """One program with its arguments.

    @ivar program: a bare name where it is a standard one, else as it was written.
    @ivar arguments: each as the program gets it; None where the shell decides it when it runs.
    @ivar exact: no argument may become several words, or none.
    @ivar within: what runs it with other rights, as sudo.
    """

    program: str
    arguments: tuple[str | None, ...] = ()
    exact: bool = True
    within: Command | None = None

    @property
    def text(self) -> str:
        """For people and for C{op.commands}: an unknown argument is C{…}."""
        return " ".join((self.program, *("…" if each is None else each for each in self.arguments)))


@frozen
class Analysis:
    """
    @ivar opaque: why it cannot be told what would run, or C{""}.
    @ivar interpreters: programs of C{commands} that run what is in their arguments, input or files, in ways not read here.
    @ivar reads, writes: files that are redirected from and to; C{…} where the shell decides which.
    """

    commands: tuple[Command, ...] = ()
    interpreters: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    opaque: str = ""


class _Opaque(Exception):
    """It cannot be told. The text says why."""


def analyse(text: bytes) -> Analysis:
    """@param text: as exec gives it to the login shell. Whatever it is, this returns."""
    try:
        found = _Found()
        _text(text, found, 0)
    except _Opaque as why:
        return Analysis(opaque=str(why))
    interpreters = tuple(dict.fromkeys(found.interpreters))
    return Analysis(tuple(found.commands), interpreters, tuple(found.reads), tuple(found.writes))


@frozen
class _Found:
    commands: list[Command] = field(factory=list)
    reads: list[str] = field(factory=list)
    writes: list[str] = field(factory=list)
    interpreters: list[str] = field(factory=list)


def _text(text: bytes, found: _Found, nested: int) -> None:
    if len(text) > TEXT_MAX:
        raise _Opaque("it is too long to be read")
    if nested > NESTED_MAX:
        raise _Opaque("it is nested too deeply to be read")
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise _Opaque("it is no UTF-8 text") from None
    if any(character < " " and character not in "\n\t" for character in decoded) or "\x7f" in decoded:
        raise _Opaque("it has control characters")
    if "\\\n" in decoded:
        raise _Opaque("it continues words over lines")
    root = Parser(_LANGUAGE).parse(text).root_node
    if root.has_error:
        raise _Opaque("it is not understood as shell")
    _walk(root, found, 0, nested)


def _walk(node: Node, found: _Found, depth: int, nested: int) -> None:
    if depth > DEPTH_MAX:
        raise _Opaque("it is nested too deeply to be read")
    known = _NODES.get(node.type)
    if known is not None:
        known(node, found, depth, nested)
    elif node.type in _PLAIN:
        for child in node.named_children:
            _walk(child, found, depth + 1, nested)
    else:
        raise _Opaque(f"it has a {node.type.replace('_', ' ')}, which is not read here")


# -- commands --------------------------------------------------------------------------------------------------


def _command(node: Node, found: _Found, depth: int, nested: int) -> None:
    words: list[str | None] = []
    exact = True
    for child in node.named_children:
        if child.type == "variable_assignment":
            _assignment(child, found, depth, nested, True)
        elif child.type in ("file_redirect", "herestring_redirect"):
            _redirect(child, found, depth, nested)
        else:
            inner = child.named_children[0] if child.type == "command_name" else child
            value, whole = _word(inner, found, depth, nested)
            words.append(value)
            exact = exact and whole
            if not whole and len(words) == 1:
                raise _Opaque("the program's name is made when it runs")
    _run(words, exact, found, nested)


def _run(words: list[str | None], exact: bool, found: _Found, nested: int, within: Command | None = None) -> None:
    if not words:
        return
    name, arguments = words[0], words[1:]
    if not name:
        raise _Opaque("the program's name is made when it runs")
    program, plain = programs.bare(name), programs.unversioned(basename(name))
    if program in programs.RESERVED or re.match(r"[A-Za-z_]\w*\+?=", program):
        raise _Opaque(f"it has {program!r} where a program's name should be")
    if program in programs.BUILTINS:
        raise _Opaque(f"{program} runs or changes what is not read here")
    if "/" in program and (plain in programs.SHELLS or plain in programs.WRAPPERS):
        raise _Opaque(f"{program} runs what it is given, and is none of the system's own")
    if plain in programs.SHELLS:
        _shell(arguments, found, nested)
        return
    wrapper = programs.WRAPPERS.get(program)
    inner = _wrapped(program, arguments, exact, wrapper) if wrapper is not None else []
    if inner and program not in programs.PRIVILEGED:
        _run(inner, exact, found, nested, within)
        return
    if (
        plain in programs.INTERPRETERS
        or programs.LOADERS.match(plain)
        or _by_option(plain, arguments[: len(arguments) - len(inner)])
    ):
        found.interpreters.append(plain)
    command = Command(program, tuple(arguments), exact, within)
    found.commands.append(command)
    if inner:
        _run(inner, exact, found, nested, command)


def _by_option(plain: str, arguments: list[str | None]) -> bool:
    options = programs.BY_OPTION.get(plain)
    # an argument that is made when it runs could be such an option
    return options is not None and any(each is None or options.fullmatch(each) for each in arguments)


def _shell(arguments: list[str | None], found: _Found, nested: int) -> None:
    """C{sh -c TEXT}; whatever else a shell is told, it reads its commands elsewhere."""
    if len(arguments) < 2 or arguments[0] != "-c" or arguments[1] is None:
        raise _Opaque("a shell runs what is not read here")
    _text(arguments[1].encode(), found, nested + 1)


def _wrapped(plain: str, arguments: list[str | None], exact: bool, wrapper: programs.Wrapper) -> list[str | None]:
    """The command that a wrapper runs."""
    if not exact:
        raise _Opaque(f"which command {plain} runs is made when it runs")
    rest = list(arguments)
    while rest:
        word = rest[0]
        if word is None:
            raise _Opaque(f"which command {plain} runs is made when it runs")
        if word == "--":
            rest.pop(0)
            break
        if plain in ("env", *programs.PRIVILEGED) and re.match(r"[A-Za-z_]\w*=", word):
            _check_variable(word.partition("=")[0], True)
        elif word.startswith("-"):
            if _with_word(plain, word, wrapper):
                rest.pop(0)
        else:
            break
        rest = rest[1:]
    return rest[wrapper.before :]


def _with_word(plain: str, option: str, wrapper: programs.Wrapper) -> bool:
    """Whether the next word belongs to C{option}, which may be several letters."""
    if option.startswith("--"):
        name, equals, _ = option.partition("=")
        if name + equals not in wrapper.long:
            raise _Opaque(f"an option of {plain} that is not known here: {option}")
        return False
    for at, letter in enumerate(option[1:], 2):
        if letter in wrapper.takes:
            return at == len(option)
        if letter not in wrapper.flags:
            raise _Opaque(f"an option of {plain} that is not known here: {option}")
    return False


# -- words -----------------------------------------------------------------------------------------------------


def _word(node: Node, found: _Found, depth: int, nested: int) -> tuple[str | None, bool]:
    """@return: its value, or None where the shell makes it; and whether it is one word for certain."""
    text = _source(node)
    kind = node.type
    if kind in ("word", "number"):
        if re.search(r"(?<!\\)[*?\[{]", text):
            return None, False  # a pattern of file names, or several words
        return re.sub(r"\\(.)", r"\1", text), True
    if kind == "raw_string":
        return text[1:-1], True
    if kind == "string":
        return _quoted(node, found, depth, nested)
    if kind == "concatenation":
        parts = [_word(child, found, depth + 1, nested) for child in node.children]
        if re.search(r"(?<!\\)[{]", text):
            return None, False
        values = [value for value, _ in parts]
        known = None if None in values else "".join(value or "" for value in values)
        return known, all(whole for _, whole in parts)
    if kind in ("simple_expansion", "expansion", "command_substitution", "process_substitution", "ansi_c_string"):
        _inside(node, found, depth, nested)
        return None, kind in ("process_substitution", "ansi_c_string")
    if kind in ("$", "translated_string"):
        return None, False
    raise _Opaque(f"it has a {kind.replace('_', ' ')}, which is not read here")


def _quoted(node: Node, found: _Found, depth: int, nested: int) -> tuple[str | None, bool]:
    value: str | None = ""
    # spaces between parts are in no node of their own: what is between the quotes is taken from the text
    inner = [child for child in node.named_children if child.type != "string_content"]
    for child in inner:
        _inside(child, found, depth, nested)
        # "$@" is as many words as there are
        if _source(child) in ("$@", "${@}") or "[@]" in _source(child):
            return None, False
        value = None
    if value is None or (
        any(mark in _source(node) for mark in ("$", "`")) and re.search(r"(?<!\\)[$`]", _source(node))
    ):
        return None, True
    return re.sub(r'\\([$`"\\])', r"\1", _source(node)[1:-1]), True


def _inside(node: Node, found: _Found, depth: int, nested: int) -> None:
    """Commands within an expansion."""
    if depth > DEPTH_MAX:
        raise _Opaque("it is nested too deeply to be read")
    if node.type in ("command_substitution", "process_substitution"):
        if _source(node).startswith("`") and "\\" in _source(node):
            raise _Opaque("it has a backslash in backquotes, where another reading takes it away")
        _redirected(node, found, depth, nested)
        return
    if node.type == "arithmetic_expansion":
        raise _Opaque("it has an arithmetic expansion, which can run commands")
    for child in node.named_children:
        if child.type not in _IN_EXPANSION:
            raise _Opaque(f"it has a {child.type.replace('_', ' ')} in an expansion, which is not read here")
    if node.type == "expansion" and not _PLAINLY.fullmatch(_source(node)):
        raise _Opaque("it has an expansion that may expand, or calculate with, what is in the variable")


#: C{${x@P}}, C{${!x}} and C{${x:y}} run commands that stand in the value
_PLAINLY = re.compile(r"\$\{#?(?:\w+|[@*?!$#-])\}")
_IN_EXPANSION = frozenset({"variable_name", "special_variable_name"})


def _source(node: Node) -> str:
    return (node.text or b"").decode()


# -- the rest --------------------------------------------------------------------------------------------------


def _assignment(node: Node, found: _Found, depth: int, nested: int, exported: bool = False) -> None:
    name, *values = node.named_children
    if name.type != "variable_name":
        raise _Opaque("it has an assignment that is not read here")
    _check_variable(_source(name), exported)
    for value in values:
        _word(value, found, depth, nested)


def _check_variable(name: str, exported: bool = False) -> None:
    """@param exported: programs get it; without, they do where they had one of that name before"""
    if programs.VARIABLES.fullmatch(name) or (exported and not programs.HARMLESS.fullmatch(name)):
        raise _Opaque(f"the variable {name} changes what runs")


def _assignments(node: Node, found: _Found, depth: int, nested: int) -> None:
    for child in node.named_children:
        _assignment(child, found, depth, nested)


def _declaration(node: Node, found: _Found, depth: int, nested: int) -> None:
    """export, local, readonly, declare."""
    for child in node.named_children:
        if child.type == "variable_assignment":
            _assignment(child, found, depth, nested, True)
        elif child.type == "variable_name":
            _check_variable(_source(child), True)
        else:
            raise _Opaque("it has a declaration that is not read here")


def _redirect(node: Node, found: _Found, depth: int, nested: int) -> None:
    operators = [child.type for child in node.children if not child.is_named]
    places = [child for child in node.named_children if child.type != "file_descriptor"]
    if node.type == "herestring_redirect":
        for place in places:
            _word(place, found, depth, nested)
        return
    for place in places:
        value, _ = _word(place, found, depth, nested)
        duplicate = any(each in (">&", "<&", ">&-", "<&-") for each in operators)
        if duplicate and value is not None and (value.isdigit() or value == "-"):
            continue
        (found.reads if operators[:1] == ["<"] else found.writes).append("…" if value is None else value)


def _redirected(node: Node, found: _Found, depth: int, nested: int) -> None:
    """With redirections, and perhaps nothing else: C{$(<x)} runs nothing, and reads x all the same; so does C{<x} in zsh."""
    commands, reads, writes = len(found.commands), len(found.reads), len(found.writes)
    for child in node.named_children:
        _walk(child, found, depth + 1, nested)
    files = [*found.reads[reads:], *found.writes[writes:]]
    if files and len(found.commands) == commands:
        known = tuple(None if each == "…" else each for each in files)
        found.commands.append(Command("cat", known, None not in known))


def _function(node: Node, found: _Found, depth: int, nested: int) -> None:
    """What it does is read here. Where its name is used it counts as a program: it may not be defined by then."""
    for child in node.named_children[1:]:
        _walk(child, found, depth + 1, nested)


def _loop_words(node: Node, found: _Found, depth: int, nested: int) -> None:
    """for NAME in WORDS; its body."""
    for child in node.named_children:
        if child.type == "variable_name":
            _check_variable(_source(child))
        elif child.type == "do_group":
            _walk(child, found, depth + 1, nested)
        else:
            _word(child, found, depth, nested)


def _case(node: Node, found: _Found, depth: int, nested: int) -> None:
    """case WORD in PATTERNS: the patterns run nothing but what is substituted in them."""
    for child in node.named_children:
        if child.type == "case_item":
            for part in child.named_children:
                if part.type in _PATTERNS:
                    if part.type != "extglob_pattern":
                        _word(part, found, depth, nested)
                    elif re.search(r"[$`<>]", _source(part)):
                        raise _Opaque("it has a pattern that is made when it runs")
                else:
                    _walk(part, found, depth + 1, nested)
        else:
            _word(child, found, depth, nested)


_PATTERNS = frozenset({"word", "number", "string", "raw_string", "concatenation", "extglob_pattern"})


def _test(node: Node, found: _Found, depth: int, nested: int) -> None:
    """C{[ … ]}: its words may substitute; C{[[ … ]]} evaluates arithmetic, which can run commands."""
    if node.children[0].type != "[":
        raise _Opaque("it has a test that can run commands")
    for part in _leaves(node):
        if part.type == "test_operator":
            if _source(part).strip() in ("-v", "-R"):
                raise _Opaque("it has a test that can run commands")
            continue
        _, whole = _word(part, found, depth, nested)
        if not whole and _source(part) not in ("$?", "$#", "$$"):
            raise _Opaque("it has a test that is made when it runs")


def _leaves(node: Node) -> Iterator[Node]:
    for child in node.named_children:
        if child.type in ("unary_expression", "binary_expression", "parenthesized_expression"):
            yield from _leaves(child)
        else:
            yield child


_NODES: dict[str, Callable[[Node, _Found, int, int], None]] = {
    "command": _command,
    "variable_assignment": _assignment,
    "variable_assignments": _assignments,
    "declaration_command": _declaration,
    "file_redirect": _redirect,
    "herestring_redirect": _redirect,
    "function_definition": _function,
    "for_statement": _loop_words,
    "case_statement": _case,
    "test_command": _test,
    "redirected_statement": _redirected,
}
