"""A prompt means what its brackets say, at the step and with the weight that they say."""

import pytest

from server.engine import prompts
from server.engine.errors import InvalidRequest


def weights(prompt: str, step: int = 0, steps: int = 10) -> list:
    return [(part.text, round(part.weight, 4)) for part in prompts.stages(prompt, steps)[step] if not part.pause]


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("a red wall", [("a red wall", 1)]),
        ("a (red:1.5) wall", [("a ", 1), ("red", 1.5), (" wall", 1)]),
        ("a (red) wall", [("a ", 1), ("red", 1.1), (" wall", 1)]),
        ("a ((red)) [wall]", [("a ", 1), ("red", 1.21), (" ", 1), ("wall", 0.9091)]),
        ("(a (red:2) wall:0.5)", [("a ", 0.5), ("red", 1), (" wall", 0.5)]),
        (r"a \(red\) wall", [("a (red) wall", 1)]),
        ("a (red wall", [("a (red wall", 1)]),
        ("a red) wall]", [("a red) wall]", 1)]),
        ("time 10:30", [("time 10:30", 1)]),
        ("(time: night)", [("time: night", 1.1)]),
        ("(a|b)", [("a|b", 1.1)]),
        ("", []),
    ],
)
def test_brackets_weigh(prompt, meant):
    assert weights(prompt) == meant


def test_words_change_after_their_part_of_the_steps():
    said = [weights("a [red:blue:0.4] wall", step) for step in range(10)]
    assert said[3] == [("a red wall", 1)]
    assert said[4] == said[9] == [("a blue wall", 1)]
    assert weights("a [red:blue:7] wall", 6) == [("a red wall", 1)]
    assert weights("a [red:blue:7] wall", 7) == [("a blue wall", 1)]
    assert [weights("a[, red:0.5]", step) for step in (4, 5)] == [[("a", 1)], [("a, red", 1)]]
    assert [weights("a[, red::0.5]", step) for step in (4, 5)] == [[("a, red", 1)], [("a", 1)]]


def test_words_take_turns():
    assert [weights("[red|blue|(green:1.3)]", step)[0] for step in range(4)] == [
        ("red", 1), ("blue", 1), ("green", 1.3), ("red", 1)
    ]  # fmt: skip


def test_changes_nest_and_carry_the_weight_around_them():
    prompt = "([a:[b|c]:0.5]:1.2)"
    assert [weights(prompt, step)[0] for step in (0, 4, 5, 6)] == [("a", 1.2), ("a", 1.2), ("c", 1.2), ("b", 1.2)]


def test_break_parts_a_prompt_and_words_that_hold_it_do_not():
    stage = prompts.stages("a BREAK b BREAKFAST", 1)[0]
    assert [(part.text, part.pause) for part in stage] == [("a ", False), ("", True), (" b BREAKFAST", False)]
    assert prompts.plain_text(stage) == "a b BREAKFAST"


def test_lots_are_drawn_by_the_seed_and_all_of_them_come():
    wildcards = {"animal": ["a cat", "a {black|white} dog"], "place/city": ["Rome"]}
    drawn = [prompts.draw("__animal__ in __place/city__, {red|blue}", seed, wildcards) for seed in range(60)]
    assert drawn == [prompts.draw("__animal__ in __place/city__, {red|blue}", seed, wildcards) for seed in range(60)]
    animals = {text.split(" in ")[0] for text in drawn}
    assert animals == {"a cat", "a black dog", "a white dog"}
    assert {text.rsplit(", ")[1] for text in drawn} == {"red", "blue"}


def test_lots_can_be_weighed():
    drawn = [prompts.draw("{9::a|b}", seed, {}) for seed in range(200)]
    assert 150 < drawn.count("a") < 200
    assert prompts.draw("{0::a|b}", 1, {}) == "b"


def test_brackets_within_lots_stay_what_they_are():
    assert prompts.draw("{(a:1.2)|(a:1.2)} [b:c:0.4]", 0, {}) == "(a:1.2) [b:c:0.4]"
    assert prompts.draw("{{a|a}, {b|b}|a, b}", 3, {}) == "a, b"
    assert prompts.draw(r"\{a|b\} {c", 0, {}) == r"\{a|b\} {c"


def test_an_unknown_wildcard_is_refused_by_name_with_those_that_are_there():
    with pytest.raises(InvalidRequest, match=r"wildcard 'colour'.*colours"):
        prompts.draw("a __colour__ wall", 0, {"colours": ["red"]})


def test_a_wildcard_that_names_itself_is_refused():
    with pytest.raises(InvalidRequest, match="without an end"):
        prompts.draw("__a__", 0, {"a": ["__a__"]})


def test_a_very_deep_prompt_is_read_in_bounded_time():
    assert prompts.stages("(" * 5000 + "a" + ")" * 5000, 2)[0]
    assert prompts.stages("[a:" * 300, 2)[0]
