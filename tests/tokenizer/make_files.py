#!/usr/bin/env python3
"""Writes tests/tokenizer/files: small tokenizer.json files in the layouts of the families that dlcm reads, and what PyPI's
`tokenizers` makes of some texts with them (NAME.jsonl).

    tests/tokenizer/make_files.py

Needs a Python with tokenizers 0.23. The texts are made up here.
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).parent / "files"
VOCABULARY = 700

ENGLISH = ("The river didn't rise until we'd crossed it; they've said so, I'm sure. Number 1234567 was 3.14159 or 42% of it. "
           "Every morning the baker's dog carries seven warm loaves over the old stone bridge, and nobody knows why. ")
CODE = ("def rows(table):\n    for index, row in enumerate(table):\n        if row[index] != 0x1F and not row.empty():\n"
        "            yield row[index] += 1  # the next one\n\nint main() {\n\treturn values[i++] -> next;\n}\n")
CHINESE = "每天早晨，面包师的狗叼着七个热面包走过古老的石桥。没有人知道为什么！二〇二四年十二月，水位上升了3.5米。"
OTHERS = ("Ёлка и снег в лесу. Η γάτα κοιμάται. これはペンです、カタカナ。 한국어 문장입니다. "
          "naïve café Ångström e\u0301 a\u0308 \u1e9b\u0323 हिन्दी में। עברית ١٢٣٤ ①②½ 🙂👩‍🔬 ")

LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA.replace("{1,3}", "")
DEEPSEEK = ("\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
            "\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def special(content, **flags):
    return AddedToken(content, special=True, normalized=flags.pop("normalized", False), **flags)


def template(content, after=""):
    return lambda tokenizer: processors.TemplateProcessing(
        single=f"{content} $A {after}".strip(), pair=f"{content} $A {content} $B:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (content, after) if token])


def trained(pre_tokenizer, specials, normalizer=None, post_processor=None, added=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([ENGLISH * 4, CODE * 3, CHINESE * 4, OTHERS * 2], trainer)
    tokenizer.add_tokens(list(added))
    if post_processor is not None:
        tokenizer.post_processor = post_processor(tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    return json.loads(tokenizer.to_str())


def all_files():
    sequence = pre_tokenizers.Sequence
    files = {
        "gpt2": trained(byte_level(regex=True), [special("<|endoftext|>")], post_processor=lambda _: processors.ByteLevel(trim_offsets=False)),
        "llama3": trained(sequence([split(LLAMA), byte_level()]), [special("<|begin_of_text|>"), special("<|end_of_text|>")],
                          post_processor=template("<|begin_of_text|>")),
        "qwen2": trained(sequence([split(QWEN), byte_level()]), [special("<|endoftext|>"), special("<|im_start|>")],
                         normalizers.NFC(), added=[AddedToken("<tool_call>", normalized=False), AddedToken("caf\u00e9!", normalized=True)]),
        "deepseek_v3": trained(sequence([split(pattern) for pattern in DEEPSEEK] + [byte_level()]),
                               [special("<｜begin▁of▁sentence｜>"), special("<｜end▁of▁sentence｜>")],
                               post_processor=template("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
                               added=[special("<｜place▁holder▁no▁0｜>", normalized=True)]),
        "digits_and_prefix": trained(sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(prefix=True, regex=True)]),
                                     [special("<s>"), special("</s>")], normalizers.Sequence([normalizers.NFC()])),
        "runs_of_digits": trained(sequence([pre_tokenizers.Digits(individual_digits=False), byte_level()]), [special("<|endoftext|>")]),
        "splits": trained(sequence([pre_tokenizers.Split("_", "removed"), split("[,;]", "merged_with_previous"),
                                    split(r"[#(]", "merged_with_next"), split(r"\p{P}", "contiguous"),
                                    split(r"[^\s]+", "isolated", invert=True),
                                    split(r"\s+", "merged_with_next", invert=True), split("x*", "isolated"), byte_level()]),
                          [special("<|endoftext|>")]),
        "removed_inverted": trained(sequence([split(r"[\p{L}\p{N} ]+", "removed", invert=True), byte_level()]), [special("<|endoftext|>")]),
        "added_tokens": trained(byte_level(regex=True),
                                [special("<|endoftext|>"), special("<mask>", lstrip=True), special("<eol>", rstrip=True),
                                 special("<both>", lstrip=True, rstrip=True)], normalizers.NFC(),
                                added=[AddedToken("river", single_word=True, normalized=False), AddedToken("riverbank", normalized=False),
                                       AddedToken("  ", normalized=True), AddedToken("    ", normalized=True), AddedToken("e\u0301", normalized=True),
                                       AddedToken("一座", single_word=True, normalized=True), AddedToken("\n<", normalized=False)]),
        "possessive": trained(sequence([split(POSSESSIVE), byte_level()]), [special("<|endoftext|>")]),
    }
    # Llama-3 takes a word that is a token as it is; one that no merges lead to shows it.
    model = files["llama3"]["model"]
    model["ignore_merges"] = True
    for word in ("Ġmountain", "bridge", "é\u013b\u0137"):
        model["vocab"].setdefault(word, len(model["vocab"]))
    # As old files have it.
    model = files["digits_and_prefix"]["model"]
    del model["type"]
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    model["continuing_subword_prefix"] = model["end_of_word_suffix"] = ""
    files["llama3"]["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, files["llama3"]["post_processor"]]}
    return files


def texts(specials, later_unicode):
    generator = random.Random(7)
    result = ["", " ", "\n", ENGLISH, CODE, CHINESE, OTHERS, "a" * 300, " " * 60 + "x" + " " * 9, "中" * 90, "ab" * 100, " mountain bridge bridges",
              "\u212b\u0041\u030a q\u0323\u0307 q\u0307\u0323 \uac00\u11a8 \u1100\u1161", "it\u017f 'S'LL'ſ'RE", "river rivers riverbank river, xriver river",
              "a <mask> b <eol>\n\n c  <both>  <both> d", "x__y,;z #(a) -- ?! ", "cafe\u0301! café!"]
    ranges = [(0, 0x7F), (0, 0x2FF), (0x300, 0x36F), (0x370, 0x2FFF), (0x3000, 0xA4CF), (0xAC00, 0xD7A3), (0xE000, 0xFFFF), (0x10000, 0x1FFFF)]
    if later_unicode:
        ranges += [(0x1C80, 0x1C8A), (0x10D40, 0x10D8F), (0x16100, 0x16139), (0x31350, 0x323AF), (0x1DF6, 0x1DFF), (0x20000, 0x10FFFF)]
    words = (ENGLISH + CODE + OTHERS).split(" ") + list(CHINESE) + ["'s", "'LL", "  ", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u0301", "12345"]
    for _ in range(70):
        text = ""
        for _ in range(generator.randint(1, 16)):
            kind = generator.randrange(8)
            if kind < 3:
                text += chr(generator.randint(*generator.choice(ranges)))
            elif kind < 7:
                text += generator.choice(words) + generator.choice(["", " ", " ", "\n"])
            else:
                token = generator.choice(specials)
                text += token if generator.random() < 0.6 else token[generator.randrange(len(token)):]
        result.append(text)
    return result


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, content in all_files().items():
        serialized = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(serialized + "\n", encoding="utf-8")
        tokenizer = Tokenizer.from_str(serialized)
        specials = [token["content"] for token in content["added_tokens"]]
        with open(FOLDER / f"{name}.jsonl", "w", encoding="utf-8") as output:
            for text in texts(specials, later_unicode=name != "possessive"):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                record = {"text": text, "ids": ids, "with_specials": tokenizer.encode(text).ids,
                          "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
                tokenizer.encode_special_tokens = True
                record["as_text"] = tokenizer.encode(text, add_special_tokens=False).ids
                tokenizer.encode_special_tokens = False
                output.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
