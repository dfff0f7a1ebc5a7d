"""Small tokenizers of every kind, trained here, and what Python's `tokenizers` makes of a thousand texts with each.

    python tests/goldens/hub_tokenizers.py        (needs the package `tokenizers`; written with 0.23.3)

Writes `tests/goldens/hub_tokenizers/NAME.json`, one `tokenizer.json` each, and `texts.json` with the texts and the expected ids: of the first
texts as they are, of all as checksums (CRC-32 of the ids as little-endian u32), with and without special tokens recognised in the text; and the
checksums of what the ids decode to.
"""

import json
import pathlib
import random
import zlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent
OUT = ROOT / "hub_tokenizers"
TEXT = (ROOT.parent.parent / "models" / "heldout.txt").read_text()[:60_000]
LINES = TEXT.splitlines() + ["Grüße, naïve façade — ½ €5, 你好世界。", "東京は夜の七時", "Привет, мир!", "if (x == 42) { return y[0]; } // 1234567"]

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = GPT4.replace(r"\p{N}{1,3}", r"\p{N}")


def bpe(special, alphabet=(), size=700, **options):
    return trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, initial_alphabet=list(alphabet), **options)


def template(tokenizer, single, names):
    tokens = [(name, tokenizer.token_to_id(name)) for name in names]
    return processors.TemplateProcessing(single=single, special_tokens=tokens)


def gpt2():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(LINES, bpe(["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet()))
    return t


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(GPT4), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES, bpe(["<|begin|>", "<|end|>"], pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(t, "<|begin|> $A", ["<|begin|>"])])
    return t


def qwen2():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(LINES, bpe(["<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet()))
    return t


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def llama2():
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    t.train_from_iterator([line[:200] for line in LINES], bpe(["<unk>", "<s>", "</s>"] + BYTES, size=800, limit_alphabet=60))
    # The bytes were added as special tokens, so that they are in the vocabulary; files of this kind don't list them as added.
    return without_bytes(t, lambda t: template(t, "<s> $A", ["<s>"]))


def without_bytes(t, post):
    text = json.loads(t.to_str())
    text["added_tokens"] = [token for token in text["added_tokens"] if token["content"] not in BYTES]
    t = Tokenizer.from_str(json.dumps(text))
    t.post_processor = post(t)
    return t


def metaspace():
    """As newer files of Llama 2's kind are."""
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    t.train_from_iterator([line[:200] for line in LINES], bpe(["<unk>", "<s>", "</s>"] + BYTES, size=800, limit_alphabet=60))
    return without_bytes(t, lambda t: template(t, "<s> $A </s>", ["<s>", "</s>"]))


def unigram():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    t.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    t.train_from_iterator(LINES, trainer)
    t.post_processor = template(t, "$A </s>", ["</s>"])
    return t


def bert():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]")))
    return t


def words():
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    trainer = trainers.WordLevelTrainer(vocab_size=700, special_tokens=["[UNK]", "[A]", "[B]"], show_progress=False)
    t.train_from_iterator(LINES, trainer)
    t.post_processor = template(t, "[A] $A [B]", ["[A]", "[B]"])
    return t


def roberta():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES, bpe(["<s>", "<pad>", "</s>", "<unk>"], pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    t.add_tokens([AddedToken("village", single_word=True), AddedToken("Oven", normalized=True, rstrip=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    return t


def deepseek():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{P}+"), "isolated"),
            pre_tokenizers.Split(Regex("[一-龥ࠀ-一가-퟿]+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES, bpe(["<|begin|>"], pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = template(t, "<|begin|> $A", ["<|begin|>"])
    return t


def suffixed():
    """As the first GPT's: words end with a mark."""
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")])
    t.decoder = decoders.BPEDecoder(suffix="</w>")
    t.train_from_iterator(LINES, bpe(["<unk>"], end_of_word_suffix="</w>"))
    return t


KINDS = [gpt2, llama3, qwen2, llama2, metaspace, unigram, bert, words, roberta, deepseek, suffixed]
FRAGMENTS = (
    ["", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", ".", ",", "!", "?", "...", "'s", "'LL", "n't", " do not", "-", "_", "<", ">"]
    + ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|begin|>", "<mask>", " <mask> ", "[MASK]", "[CLS]", "<tool>", "<0x0A>"]
    + ["village", "villages", "Oven ", "Mira", "lantern", "EMBERFIELD", "a", "I", "é", "e\u0301", "ﬁ", "½", "①", "Å", "ß", "ς", "İ"]
    + ["你好", "世界。", "東京は", "한국어", "Привет", "مرحبا", "שלום", "हिन्दी", "🙂", "👩‍👩‍👧", "🇩🇪", "\u200b", "\u00a0", "\u3000", "\ufeff", "\u0000"]
    + ["▁", "▁▁", "Ġ", "##ing", "1", "12", "123", "1234567", "3.14", "٣", "x=y", "{}", "//", "\\n", "€5", "a\u0308\u0323", "\U0001d400"]
)


def texts():
    rng = random.Random(7)
    made = [fragment for fragment in FRAGMENTS] + LINES[:100]
    words = TEXT.split()
    while len(made) < 1000:
        parts = []
        for _ in range(rng.randint(1, 9)):
            choice = rng.random()
            if choice < 0.4:
                parts.append(rng.choice(FRAGMENTS))
            elif choice < 0.9:
                parts.append(rng.choice(["", " "]) + rng.choice(words))
            else:
                parts.append(chr(rng.choice([rng.randint(32, 0x2FF), rng.randint(0x370, 0xD7FF), rng.randint(0xE000, 0x1FAFF)])))
        made.append("".join(parts))
    return made


def checksum(ids):
    return zlib.crc32(b"".join(id.to_bytes(4, "little") for id in ids))


def main():
    OUT.mkdir(exist_ok=True)
    inputs, expected = texts(), {}
    for kind in KINDS:
        tokenizer = kind()
        path = OUT / f"{kind.__name__}.json"
        path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        tokenizer = Tokenizer.from_file(str(path))
        whole = [tokenizer.encode(text).ids for text in inputs]
        tokenizer.encode_special_tokens = True
        bare = [tokenizer.encode(text, add_special_tokens=False).ids for text in inputs]
        decoded = [tokenizer.decode(ids, skip_special_tokens=True) if ids else "" for ids in bare]
        expected[kind.__name__] = {
            "first": whole[:120],
            "whole": [checksum(ids) for ids in whole],
            "bare": [checksum(ids) for ids in bare],
            "decoded": [zlib.crc32(text.encode()) for text in decoded],
        }
    (OUT / "texts.json").write_text(json.dumps({"texts": inputs, "expected": expected}, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
