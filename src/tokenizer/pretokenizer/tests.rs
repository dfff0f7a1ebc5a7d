//! Splits that show each family of patterns, and the work that hostile texts cause.

use super::names::NAMES;
use super::*;
use crate::tokenizer::unicode::steps;

fn words(name: &str, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    split(named(name).unwrap().stages, text.as_bytes(), &mut |word| {
        words.push(String::from_utf8_lossy(word).into_owned());
        Ok(())
    })
    .unwrap();
    words
}

#[test]
fn families_differ_where_they_should() {
    for (name, text, expected) in [
        ("gpt-2", "I'll  be 12345!!\n\n x", "I|'ll| | be| 12345|!!|\n\n| x"),
        ("gpt-2", "I'LL", "I|'|LL"),
        ("llama-bpe", "I'LL be 12345!!\n\n x", "I|'LL| be| |123|45|!!\n\n| x"),
        ("qwen2", "in 1999\t\tx", "in| |1|9|9|9|\t|\tx"),
        ("qwen35", "e\u{301}a", "e\u{301}a"),
        ("qwen2", "e\u{301}a", "e|\u{301}a"),
        ("gpt-4o", "HelloWORLD it's/ÀBC d", "Hello|WORLD| it's|/À|BC| d"),
        ("tekken", "it's 12", "it|'s| |1|2"),
        ("exaone-moe", "one two  three", "one two| | three"),
        ("deepseek-v3", "x.y (z) 日本 1234", "x|.y| (|z|)| |日本| |123|4"),
        ("spark2_5", "a!\n\nb 12", "a|!|\n|\n|b| |1|2"),
        ("superbpe", "1234567 words", "1|234|567| words"),
        ("tiny_aya", "ab1234", "ab|1|234"),
        ("afmoe", "x 12345", "x| |12|345"),
        ("kimi-k2", "漢字kana's", "漢字|kana's"),
        ("gemma4", "a b\n\nc", "a b|\n\n|c"),
        ("bloom", "a,b c。d", "a|,|b| c|。|d"),
        ("chameleon", "<sentinel:3>IMGIMGABZ    x", "<|sentinel|:|3|>|IMGIMGABZ|    |x"),
        ("deepseek-llm", "ab 12\n c  ", "ab| |12|\n| c|  "),
        ("falcon", "1234a+b", "123|4|a|+|b"),
        ("default", "12345", "123|45"),
        ("ufakzeka", "Ali'nin", "Ali|'nin"),
        ("seed-coder", "a!\nb", "a|!|\n|b"),
        ("whitespace", "a  b", "a|  |b"),
        ("youtu", "가나…ㄅ漢x12", "가나|…|ㄅ|漢|x|1|2"),
    ] {
        assert_eq!(words(name, text).join("|"), expected, "{name} on {text:?}");
    }
}

#[test]
fn jais2_cascades_white_space() {
    let text = format!("{}x", " ".repeat(1000));
    let lengths: Vec<_> = words("jais-2", &text).iter().map(String::len).collect();
    assert_eq!(lengths, [512, 256, 128, 64, 32, 4, 2, 1, 2]);
}

#[test]
fn nothing_is_lost_and_every_name_is_known() {
    let odd = [
        "",
        " ",
        "\n",
        "a",
        "\u{FEFF}x",
        "e\u{301}\u{301}",
        "\u{3000}\u{3000}a",
        "'",
        "''s",
        "\r\n\r\n",
        "1\u{301}2",
        "🙂👍🏽",
        "\u{1F1E9}\u{1F1EA}",
    ];
    let mut invalid = vec![0xFF, b'a', 0xC3, b' ', 0xE2, 0x82, b'1'];
    invalid.extend_from_slice(odd.concat().as_bytes());
    for name in NAMES {
        let pre = named(name).unwrap();
        for text in odd.iter().map(|text| text.as_bytes()).chain([&invalid[..]]) {
            let mut joined = Vec::new();
            split(pre.stages, text, &mut |word| {
                assert!(!word.is_empty(), "{name}");
                joined.extend_from_slice(word);
                Ok(())
            })
            .unwrap();
            assert_eq!(joined, text, "{name}");
        }
    }
    assert!(named("no-such-pre").is_none() && named("").is_none());
}

/// Texts that make backtracking engines slow, each at two sizes: the work must grow with the size, and stay small.
#[test]
fn every_pre_tokenizer_is_linear_on_hostile_texts() {
    let size = 6_000;
    let units = [
        "a",
        "A",
        "À",
        " ",
        "\n",
        " \n",
        "\t",
        "1",
        "'",
        "!",
        "\u{301}",
        "🙂",
        "漢",
        "\u{3000}",
        "aA",
        "ÀB",
        "À\u{301}",
        "a ",
        " a",
        "1a",
        "'s",
        "!a",
        "IMGIMG",
        "<sentinel:1",
        "\u{85}",
        "\u{E000}",
        "½",
        "  !",
        "\r",
        "/",
        "a\u{301} ",
    ];
    for name in NAMES {
        let pre = named(name).unwrap();
        for unit in units {
            for tail in ["", "x", " ", "\n", "B"] {
                let text = unit.repeat(size / unit.len()) + tail;
                let steps = steps::during(|| split(pre.stages, text.as_bytes(), &mut |_| Ok(())).unwrap());
                assert!(steps < 24 * text.len() as u64, "{name} on {unit:?}…{tail:?}: {steps} steps for {} bytes", text.len());
            }
        }
    }
}
