#!/usr/bin/env python3
"""Writes pre_tokenizers.json: what llama.cpp makes of odd texts with each of its pre-tokenizers.

    pip install llama-cpp-python gguf numpy
    python3 tests/goldens/pre_tokenizers.py

The vocabulary is made for the purpose: all byte pairs of the texts merge, and the most frequent longer pieces, with no
regard to words. So a cut in another place changes the ids. A second vocabulary, on plain UTF-8, serves the pre-tokenizers
that don't use GPT-2's byte alphabet. Stored are the texts, the merges, and a hash of all ids for each name.
"""

import ctypes
import json
import os
import random
import re
import tempfile
from collections import Counter

import gguf
import llama_cpp

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = os.path.join(HERE, "../../src/tokenizer/pretokenizer/names.rs")
PLAIN = ("gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace")

PIECES = """Hello world I'll don't WE'RE it's HelloWorld camelCaseWord XMLHttp naïve café Ünïcödé straße ÀÉÎ Привет мир
καλημέρα שלום مرحبا هذا नमस्ते दुनिया สวัสดี ລາວ ខ្មែរ မြန်မာ 你好 世界 漢字 かな カタカナ 한국어 가나다 ㄅㄆㄇ 👍🏽 👨‍👩‍👧 🇩🇪 🙂 ½ ² Ⅷ ١٢٣
१२३४ １２３ 12 123 1234 12345 1234567 3.14159 1,000,000 0x1F $5 €9 a+b=c x^2 f(x) [i] {j} <tag> </s> http://a.b/c?d=e foo@bar.com
#hash _under_ -- ... … !! ?! “quote” ‘q’ — «» 。 ， 、 ！ ؟ ، । ۔ ～ ・ ｱｲｳ Ａ ｂ é ñ ﬁ ǅ ʰ ª µ ⓐ 𝒜 𝟘 𐐀 𞤀 Ā ſ K Å İ ı ẞ
<sentinel:12> <sentinel:x> IMGIMGABCDZ IMGIMGABCDEZ IMGIMGZ 's 'S 're 'RE 'll 'x '' ' / // a/b ` ~ ^ | & % * = def return if
Ali'den 'sa'mek Zyxw ⅰ 〇 〡 々 ー 豈 龥 龦 鿿 㐀 ꙮ Ꭰ ꮿ ა Ა Ԁ ա ऄ ক ர ཀ ⠿ ∀ → ★ ❤️ ㎏ ＄ ＋ ｜ ￥""".split()
PIECES += ["\u00ad", "\u200b", "\u200d", "\ufeff", "\ufe0f", "\u0301", "\u20e3", "\ue000", "\U000e0041", "\U00020000"]
PIECES += ["\x00", "\x01", "\x1c", "\x7f", "\x85", "\uf900", "\ufffd", "\uffff", "\U0010ffff", "\u180e"]
PIECES += ["\n" * 7, "x " + "\n" * 7 + "y", " Zyxw", "a Zyxw b"]
PIECES += ["\t", "\r", "\r\n", "\n", "\n\n", " \n", "\n ", "\t\t", " \t", "\n/", " ", "  ", "   ", "    ", "     ", "        "]
PIECES += ["\u00a0", "\u3000", "\u2003", "\u2028", "\u1680", "\u202f", " \u00a0", "\u3000\u3000", "\u2003 ", "\n\u3000"]


# Tokens that no merge leads to: only some pre-tokenizers take a word that is a token as it is.
UNREACHABLE = ["Zyxw", "ĠZyxw"]
PLAIN_UNREACHABLE = ["Zyxw", "\n" * 7]


def make_texts():
    pick = random.Random(20)
    texts = list(PIECES)
    for _ in range(700):
        text = ""
        for _ in range(pick.randint(1, 9)):
            chance = pick.random()
            if chance < 0.62:
                text += pick.choice(PIECES)
            elif chance < 0.74:
                text += " "
            elif chance < 0.80:
                text += " " * pick.randint(1, 20)
            elif chance < 0.83:
                text += "\n" * pick.randint(1, 4)
            elif chance < 0.88:
                text += str(pick.randint(0, 10 ** pick.randint(1, 12)))
            elif chance < 0.91:
                low, high = pick.choice([(1, 0x2FF), (0x300, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x323FF)])
                text += chr(pick.randint(low, high))
            elif chance < 0.95:
                text += pick.choice("ABCDEabcdÀé") * pick.randint(1, 8)
            else:
                text += pick.choice(PIECES).upper()
        texts.append(text)
    return texts


def train(sequences, extra):
    """All pairs of neighbours by falling frequency, then `extra` merges learnt on top of them."""
    merges = []

    def apply(pair):
        for sequence in sequences:
            at = 0
            while at + 1 < len(sequence):
                if (sequence[at], sequence[at + 1]) == pair:
                    sequence[at : at + 2] = [pair[0] + pair[1]]
                at += 1

    def count():
        return Counter(pair for sequence in sequences for pair in zip(sequence, sequence[1:]))

    for pair, _ in sorted(count().items(), key=lambda item: (-item[1], item[0])):
        merges.append(pair)
        apply(pair)
    for _ in range(extra):
        counts = count()
        pair, times = max(counts.items(), key=lambda item: (item[1], item[0]), default=(None, 0))
        if times < 2:
            break
        merges.append(pair)
        apply(pair)
    return [" ".join(pair) for pair in merges if pair[0] + pair[1] not in UNREACHABLE + PLAIN_UNREACHABLE]


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def with_merged(tokens, merges):
    known = set(tokens)
    for merge in merges:
        text = merge.replace(" ", "", 1)
        if text not in known:
            known.add(text)
            tokens.append(text)
    return tokens


def write_vocabulary(path, tokens, types, merges):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def load(path, pre=None):
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    overrides = (llama_cpp.llama_model_kv_override * 2)()
    if pre is not None:
        overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
        overrides[0].key = b"tokenizer.ggml.pre"
        overrides[0].value.val_str = pre.encode()
        params.kv_overrides = ctypes.cast(overrides, ctypes.POINTER(llama_cpp.llama_model_kv_override))
    model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    assert model, f"llama.cpp refuses {path}, {pre}"
    return model


@llama_cpp.llama_log_callback
def silence(_level, _text, _data):
    pass


def encode(vocab, text, add_special=False, parse_special=False):
    data = text.encode()
    ids = (ctypes.c_int32 * (3 * len(data) + 16))()
    count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), add_special, parse_special)
    assert count >= 0
    return ids[:count]


def usable(pre, text):
    # llama.cpp aborts on a space among several characters that don't match this pattern.
    return pre != "whitespace" or not re.search(r"\s\s", text)


def digest(lists):
    """FNV-1a, 64 bits, over the ids and a mark after each text."""
    state = 0xCBF29CE484222325
    for ids in lists:
        for id in [*ids, 0xFFFFFFFF]:
            for byte in id.to_bytes(4, "little"):
                state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{state:016x}"


def main():
    llama_cpp.llama_log_set(silence, None)
    texts = make_texts()
    letters = alphabet()
    merges = train([[letters[byte] for byte in text.encode()] for text in texts], 600)
    escaped = [text.replace(" ", "▁") for text in texts]
    # llama.cpp reads token texts as C strings, so none may hold a NUL.
    plain_merges = [merge for merge in train([list(text) for text in escaped], 200) if "\0" not in merge]
    characters = sorted({character for text in escaped for character in text if character != "\0"})
    characters = [character for at, character in enumerate(characters) if at % 7]  # some are left to the byte tokens
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]

    names = re.findall(r'"([^"]+)"', re.search(r"NAMES: &\[&str\] = &\[(.*?)\];", open(NAMES).read(), re.S)[1])
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        tokens = with_merged(letters + UNREACHABLE, merges)
        write_vocabulary(f"{folder}/bytes.gguf", tokens, [1] * len(tokens), merges)
        tokens = with_merged(bytes_ + characters + PLAIN_UNREACHABLE, plain_merges)
        write_vocabulary(f"{folder}/plain.gguf", tokens, [6] * 256 + [1] * (len(tokens) - 256), plain_merges)
        for pre in names:
            model = load(f"{folder}/{'plain' if pre in PLAIN else 'bytes'}.gguf", pre)
            vocab = llama_cpp.llama_model_get_vocab(model)
            digests[pre] = digest(encode(vocab, text) for text in texts if usable(pre, text))
            llama_cpp.llama_model_free(model)
    print(f"{len(set(digests.values()))} different results for {len(names)} names")
    golden = {
        "llama-cpp-python": llama_cpp.__version__,
        "digests": digests,
        "texts": texts,
        "unreachable": UNREACHABLE,
        "merges": merges,
        "plain_characters": "".join(characters),
        "plain_unreachable": PLAIN_UNREACHABLE,
        "plain_merges": plain_merges,
    }
    with open(os.path.join(HERE, "pre_tokenizers.json"), "w") as file:
        json.dump(golden, file, ensure_ascii=False, indent=0, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
