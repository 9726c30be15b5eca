"""What keyboard-interactive shows and how answers are read, for any link and any answer."""

from __future__ import annotations

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hoopd.protocols.ssh import interactive
from hoopd.protocols.ssh.interactive import INSTRUCTION_MAX, Meant, Question
from hoopd.protocols.ssh.messages import Reader
from hoopd.secret import Secret
from hoopd.values import LoginLink

LINK = LoginLink(Secret("t"), "corp", "https://id.example/device", "WDJB-MJHT", 600.0)


def read(question: Question) -> tuple[str, list[tuple[str, bool]]]:
    """@return: the instruction, and each prompt with whether its answer is echoed. ASCII, or it fails."""
    reader = Reader(question.payload)
    name, instruction, language = reader.string(), reader.string(), reader.string()
    assert (name, language) == (b"", b"")
    prompts = [(reader.string().decode("ascii"), reader.flag()) for _ in range(reader.number())]
    reader.end()
    assert len(prompts) == question.prompts
    return instruction.decode("ascii"), prompts


def test_without_links_it_is_the_token_alone() -> None:
    assert read(interactive.token()) == ("", [("Token: ", False)])
    assert interactive.token().meant(b"") is Meant.PROOF


def test_why_there_is_no_link() -> None:
    assert (
        read(interactive.token("too many login links are open"))[0] == "No login link: too many login links are open."
    )


def test_a_link_and_the_place_for_a_token() -> None:
    question = interactive.link(LINK, 180.0)
    instruction, prompts = read(question)
    assert instruction == (
        "To log in, open\n    https://id.example/device\nand enter the code\n    WDJB-MJHT\nwithin 3 min."
        " Use no code that somebody else gave you, and give yours to nobody."
    )
    # a token that is pasted is not shown
    assert prompts == [("Token (or press Enter once you have logged in): ", False)]
    for answer, meant in ((b"", Meant.LOGGED_IN), (b" \r\n", Meant.LOGGED_IN), (b"eyJ", Meant.PROOF)):
        assert question.meant(answer) is meant


def test_waiting_asks_nothing() -> None:
    question = interactive.waiting(LINK)
    instruction, prompts = read(question)
    assert prompts == []
    assert "https://id.example/device (code WDJB-MJHT)" in instruction
    assert question.meant(b"") is Meant.WAITS


def test_a_choice_of_providers() -> None:
    question = interactive.choice(("corp", "partners"))
    assert read(question)[0] == "To log in, choose where:\n    1  corp\n    2  partners"
    for answer, meant in (
        (b"", "corp"), (b"1", "corp"), (b" 2 ", "partners"), (b"0", Meant.PROOF), (b"3", Meant.PROOF),
        (b"999", Meant.PROOF), (b"hoopd_x_y", Meant.PROOF), ("²".encode(), Meant.PROOF), ("１".encode(), Meant.PROOF),
        (b"\xff", Meant.PROOF), (b"1" * 5000, Meant.PROOF),
    ):  # fmt: skip
        assert question.meant(answer) == meant


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_whatever_came_is_inert_and_bounded(link: str, code: str) -> None:
    made = LoginLink(Secret("t"), "corp", link, code, 600.0)
    for question in (interactive.link(made, 180.0), interactive.waiting(made), interactive.token(link)):
        instruction, _ = read(question)
        assert len(instruction) <= INSTRUCTION_MAX
        assert all(character.isprintable() or character == "\n" for character in instruction)


def test_imports_nothing_of_the_world() -> None:
    for node in ast.walk(ast.parse(Path(interactive.__file__).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] in {"__future__", "collections", "enum", "attrs", "hoopd"}
