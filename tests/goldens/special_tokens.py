#!/usr/bin/env python3
"""Writes special_tokens.json: what llama.cpp makes of texts full of special tokens, for real vocabularies.

    pip install llama-cpp-python gguf numpy
    python3 tests/goldens/special_tokens.py FOLDER    (the folder that holds data/tokenizers and data/stories260k)

For each vocabulary: a hash of all ids for each choice of adding and parsing special tokens, a hash of what every token
decodes to, and the tokens that end a generation.
"""

import ctypes
import json
import os
import random
import sys

import llama_cpp

import pre_tokenizers as common

FILES = [f"data/tokenizers/ggml-vocab-{name}.gguf" for name in "bert-bge deepseek-llm falcon gpt-2 llama-bpe llama-spm phi-3 qwen2".split()]
FILES += ["data/stories260k/stories260K-f32.gguf", "demo-model/emberfield-3m-q8_0.gguf"]

SPECIAL = """<s> </s> <unk> <|endoftext|> <|im_start|> <|im_end|> <|begin_of_text|> <|end_of_text|> <|eot_id|> <|start_header_id|>
<|user|> <|assistant|> <|system|> <|end|> [CLS] [SEP] [MASK] [UNK] [PAD] [PAD151646] ø ö ü <｜begin▁of▁sentence｜>
<｜end▁of▁sentence｜> >>TITLE<< >>INTRODUCTION<< <0x0A> <|placeholder1|> <|fim_prefix|> <|reserved_special_token_250|>""".split()


def make_texts():
    pick = random.Random(30)
    texts = []
    for _ in range(400):
        text = ""
        for _ in range(pick.randint(1, 7)):
            chance = pick.random()
            if chance < 0.5:
                text += pick.choice(SPECIAL)
            elif chance < 0.6:
                special = pick.choice(SPECIAL)
                text += special[: pick.randint(0, len(special))]
            elif chance < 0.8:
                text += pick.choice([" ", "  ", "\n", "\t", " \n ", "\r\n"])
            else:
                text += pick.choice(common.PIECES)
        texts.append(text)
    return texts


def piece(vocab, id):
    buffer = ctypes.create_string_buffer(4096)
    length = llama_cpp.llama_token_to_piece(vocab, id, buffer, len(buffer), 0, True)
    assert length >= 0
    return buffer.raw[:length]


def main():
    llama_cpp.llama_log_set(common.silence, None)
    texts = make_texts()
    vocabularies = {}
    for name in FILES:
        model = common.load(os.path.join(sys.argv[1], name))
        vocab = llama_cpp.llama_model_get_vocab(model)
        ids = range(llama_cpp.llama_vocab_n_tokens(vocab))
        choices = [(add, parse) for add in (False, True) for parse in (False, True)]
        vocabularies[name] = {
            "encoded": [common.digest(common.encode(vocab, text, *choice) for text in texts) for choice in choices],
            "decoded": common.digest(piece(vocab, id) for id in ids),
            "end_of_generation": [id for id in ids if llama_cpp.llama_vocab_is_eog(vocab, id)],
        }
        llama_cpp.llama_model_free(model)
    golden = {"llama-cpp-python": llama_cpp.__version__, "vocabularies": vocabularies, "texts": texts}
    with open(os.path.join(common.HERE, "special_tokens.json"), "w") as file:
        json.dump(golden, file, ensure_ascii=False, indent=0, separators=(",", ":"))
        file.write("\n")


main()
