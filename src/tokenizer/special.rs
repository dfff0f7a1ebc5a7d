//! What each token is (text, control, user-defined, byte, …), which tokens have a role (begin, end, …), and which of them
//! end a generation. The rules by which texts betray a role are those of llama.cpp, since files say less than models need.

#![forbid(unsafe_code)]

use crate::base::{Error, Pace, Result};

use super::TOKEN_COST;
use super::definition::{Definition, TokenType};
use super::table::filled_paced;

/// Properties of a token, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes(u8);

impl Attributes {
    /// Nothing: a token of undefined type.
    pub const UNDEFINED: Self = Self(0);
    pub const NORMAL: Self = Self(1);
    pub const UNKNOWN: Self = Self(2);
    pub const CONTROL: Self = Self(4);
    pub const USER_DEFINED: Self = Self(8);
    pub const BYTE: Self = Self(16);
    pub const UNUSED: Self = Self(32);
    /// White space before the token, in text, belongs to it.
    pub const STRIP_LEFT: Self = Self(64);
    /// White space behind the token, in text, belongs to it.
    pub const STRIP_RIGHT: Self = Self(128);
    /// Control or unknown: not part of the text that people read.
    pub const HIDDEN: Self = Self(2 | 4);
    /// Found in text before the text is cut into words.
    pub const SPECIAL: Self = Self(2 | 4 | 8);

    /// Whether any property of `mask` is set.
    #[inline]
    pub fn any(self, mask: Self) -> bool {
        self.0 & mask.0 != 0
    }

    #[cfg(test)]
    pub fn union(self, mask: Self) -> Self {
        Self(self.0 | mask.0)
    }

    fn add(&mut self, mask: Self) {
        self.0 |= mask.0;
    }

    fn remove(&mut self, mask: Self) {
        self.0 &= !mask.0;
    }

    fn of_type(number: i32) -> Self {
        const TYPES: [(TokenType, Attributes); 6] = [
            (TokenType::Normal, Attributes::NORMAL),
            (TokenType::Unknown, Attributes::UNKNOWN),
            (TokenType::Control, Attributes::CONTROL),
            (TokenType::UserDefined, Attributes::USER_DEFINED),
            (TokenType::Unused, Attributes::UNUSED),
            (TokenType::Byte, Attributes::BYTE),
        ];
        TYPES.iter().find(|(kind, _)| *kind as i32 == number).map_or(Self::UNDEFINED, |&(_, attributes)| attributes)
    }
}

/// Tokens with a role. All ids lie within the vocabulary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the GGUF keys")]
pub struct Roles {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub eot: Option<u32>,
    pub eom: Option<u32>,
    pub unknown: Option<u32>,
    pub separator: Option<u32>,
    pub padding: Option<u32>,
    pub mask: Option<u32>,
    pub fim_prefix: Option<u32>,
    pub fim_suffix: Option<u32>,
    pub fim_middle: Option<u32>,
    pub fim_padding: Option<u32>,
    pub fim_repository: Option<u32>,
    pub fim_separator: Option<u32>,
}

/// Texts of tokens with a role, best first.
const EOT: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const EOM: &[&str] = &["<|eom_id|>"];
const FIM_PREFIX: &[&str] =
    &["<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>"];
const FIM_SUFFIX: &[&str] =
    &["<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>"];
const FIM_MIDDLE: &[&str] =
    &["<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>"];
const FIM_PADDING: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REPOSITORY: &[&str] = &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FIM_SEPARATOR: &[&str] = &["<|file_sep|>"];

/// Texts that end a generation wherever they occur in a vocabulary.
const END_OF_GENERATION: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Control-looking texts that belong to the readable output (gpt-oss).
const ALWAYS_SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// All that the texts and types of a vocabulary say about its tokens.
#[derive(Debug)]
pub(super) struct Special {
    pub attributes: Vec<Attributes>,
    pub roles: Roles,
    /// Ascending.
    pub end_of_generation: Vec<u32>,
}

impl Special {
    /// Works out attributes and roles; `defaults` are the roles of the tokenizer model where the file is silent.
    pub async fn new(pace: &Pace, definition: &Definition, defaults: &Roles) -> Result<Self> {
        let count = definition.tokens.len();
        let mut attributes = filled_paced(pace, Attributes::NORMAL, count).await?;
        if !definition.types.is_empty() {
            if definition.types.len() < count {
                return Err(Error::invalid_file(format!("{} token types for {count} tokens", definition.types.len())));
            }
            for (attributes, &number) in attributes.iter_mut().zip(&definition.types) {
                *attributes = Attributes::of_type(number);
                pace.spend(TOKEN_COST / 8).await;
            }
        }
        let within = |id: &u32| (*id as usize) < count;
        let pick = |given: Option<u32>, default: Option<u32>| given.filter(within).or(default.filter(within));
        let mut roles = Roles {
            bos: pick(definition.bos, defaults.bos),
            eos: pick(definition.eos, defaults.eos),
            eot: pick(definition.eot, defaults.eot),
            eom: pick(definition.eom, defaults.eom),
            unknown: pick(definition.unknown, defaults.unknown),
            separator: pick(definition.separator, defaults.separator),
            padding: pick(definition.padding, defaults.padding),
            mask: pick(definition.mask, defaults.mask),
            fim_prefix: pick(definition.fim_prefix, None),
            fim_suffix: pick(definition.fim_suffix, None),
            fim_middle: pick(definition.fim_middle, None),
            fim_padding: pick(definition.fim_padding, None),
            fim_repository: pick(definition.fim_repository, None),
            fim_separator: pick(definition.fim_separator, None),
        };
        let texts = KnownTexts::of(pace, definition).await;
        for (role, candidates) in [
            (&mut roles.eot, EOT),
            (&mut roles.eom, EOM),
            (&mut roles.fim_prefix, FIM_PREFIX),
            (&mut roles.fim_suffix, FIM_SUFFIX),
            (&mut roles.fim_middle, FIM_MIDDLE),
            (&mut roles.fim_padding, FIM_PADDING),
            (&mut roles.fim_repository, FIM_REPOSITORY),
            (&mut roles.fim_separator, FIM_SEPARATOR),
        ] {
            if role.is_none()
                && let Some(id) = candidates.iter().find_map(|text| texts.id(text))
            {
                *role = Some(id);
                attributes[id as usize].add(Attributes::CONTROL);
            }
        }
        let mut ends: Vec<u32> = [roles.fim_padding, roles.fim_repository, roles.fim_separator].into_iter().flatten().collect();
        for id in END_OF_GENERATION.iter().filter_map(|text| texts.id(text)) {
            ends.push(id);
            attributes[id as usize].add(Attributes::CONTROL);
        }
        for id in ALWAYS_SHOWN.iter().filter_map(|text| texts.id(text)) {
            attributes[id as usize] = Attributes::USER_DEFINED;
        }
        ends.extend([roles.eos, roles.eot, roles.eom].into_iter().flatten());
        ends.extend(definition.ends.iter().copied().filter(within));

        // Harmony and Solar use <|end|> between messages of one turn; Gemma 4 and PaddleOCR have a stray </s>.
        let ending = |text: &str| texts.id(text).filter(|id| ends.contains(id));
        let calls = ending("<|call|>").or(ending("<|calls|>"));
        let mut not_ends = Vec::new();
        if let (Some(end), Some(_), true) = (ending("<|end|>"), calls, ending("<|return|>").is_some() || ending("<|flush|>").is_some()) {
            not_ends.push((end, Attributes::USER_DEFINED));
        }
        if let (Some(stray), Some(_)) = (ending("</s>"), ending("<|tool_response>")) {
            not_ends.push((stray, Attributes::NORMAL));
        }
        for (id, kind) in not_ends {
            ends.retain(|&end| end != id);
            attributes[id as usize] = kind;
        }
        ends.sort_unstable();
        ends.dedup();
        let mut special = Self { attributes, roles, end_of_generation: ends };
        special.strip_by_name(definition, &texts);
        Ok(special)
    }

    /// Stripping isn't in GGUF: it is known for a few models by name.
    fn strip_by_name(&mut self, definition: &Definition, texts: &KnownTexts) {
        let pre = definition.pre.as_deref().unwrap_or_default();
        let name = definition.name.to_ascii_lowercase();
        let mut set = |text: &str, mask: Attributes, on: bool| {
            if let Some(id) = texts.id(text) {
                let attributes = &mut self.attributes[id as usize];
                if on { attributes.add(mask) } else { attributes.remove(mask) }
            }
        };
        if ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|known| pre.contains(known))
            || ["nomic-bert-moe", "jina-bert-v3"].iter().any(|known| definition.architecture.contains(known))
        {
            set("<mask>", Attributes::STRIP_LEFT, true);
        } else if name.contains("phi-3") || name.contains("phi3") {
            for attributes in self.attributes.iter_mut().filter(|attributes| attributes.any(Attributes::SPECIAL)) {
                attributes.add(Attributes::STRIP_RIGHT);
            }
            let mut set = |text: &str, on: bool| {
                if let Some(id) = texts.id(text) {
                    let attributes = &mut self.attributes[id as usize];
                    if on { attributes.add(Attributes::STRIP_RIGHT) } else { attributes.remove(Attributes::STRIP_RIGHT) }
                }
            };
            set("</s>", true);
            ["<unk>", "<s>", "<|endoftext|>"].iter().for_each(|text| set(text, false));
        } else if name.contains("modern-bert") {
            set("[MASK]", Attributes::STRIP_LEFT, true);
        }
    }
}

/// Ids of the texts that this module knows, found in one pass over the vocabulary.
struct KnownTexts(Vec<(&'static str, u32)>);

impl KnownTexts {
    async fn of(pace: &Pace, definition: &Definition) -> Self {
        let lists = [
            EOT,
            EOM,
            FIM_PREFIX,
            FIM_SUFFIX,
            FIM_MIDDLE,
            FIM_PADDING,
            FIM_REPOSITORY,
            FIM_SEPARATOR,
            END_OF_GENERATION,
            ALWAYS_SHOWN,
            &["<mask>", "[MASK]", "<unk>", "<s>"],
        ];
        let mut known: Vec<&str> = lists.concat();
        known.sort_unstable();
        known.dedup();
        let mut found = Vec::new();
        for id in 0..definition.tokens.len() {
            let text = definition.tokens.get(id).unwrap_or_default();
            pace.work(TOKEN_COST).await;
            if let Ok(at) = known.binary_search_by(|known| known.as_bytes().cmp(text)) {
                found.push((known[at], id as u32));
            }
        }
        Self(found)
    }

    fn id(&self, text: &str) -> Option<u32> {
        self.0.iter().find(|(known, _)| *known == text).map(|&(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::at_once;

    fn of(definition: &Definition) -> Result<Special> {
        at_once(Special::new(&Pace::unhurried(), definition, &Roles::default()))
    }

    fn special(tokens: &[&str], types: &[i32], edit: impl FnOnce(&mut Definition)) -> Special {
        let mut definition = Definition { tokens: tokens.iter().collect(), types: types.to_vec(), ..Definition::default() };
        edit(&mut definition);
        of(&definition).unwrap()
    }

    #[test]
    fn ends_are_found_by_text_and_become_control() {
        let found = special(&["a", "<|im_end|>", "<|endoftext|>", "[PAD]"], &[1, 4, 1, 3], |_| {});
        assert_eq!(found.end_of_generation, [1, 2, 3]);
        assert_eq!(found.roles.eot, Some(1));
        assert!(found.attributes[1].any(Attributes::CONTROL) && found.attributes[1].any(Attributes::USER_DEFINED));
        assert!(found.attributes[2].any(Attributes::HIDDEN));
        assert!(!found.attributes[0].any(Attributes::SPECIAL));
    }

    #[test]
    fn harmony_goes_on_after_end() {
        let found = special(&["<|end|>", "<|return|>", "<|call|>", "<|start|>"], &[3; 4], |_| {});
        assert_eq!(found.end_of_generation, [1, 2]);
        assert_eq!(found.attributes[0], Attributes::USER_DEFINED);
        assert_eq!(found.attributes[3], Attributes::USER_DEFINED);
        assert_eq!(special(&["<|end|>", "<|return|>"], &[], |_| {}).end_of_generation, [0, 1]);
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_ignored() {
        let found = special(&["a", "b"], &[], |definition| {
            definition.bos = Some(2);
            definition.eos = Some(u32::MAX);
            definition.padding = Some(1);
        });
        assert_eq!(found.roles, Roles { padding: Some(1), ..Roles::default() });
        assert!(found.end_of_generation.is_empty());
    }

    #[test]
    fn phi3_strips_behind_special_tokens() {
        let tokens = ["<unk>", "<s>", "</s>", "<|user|>", "x"];
        let found = special(&tokens, &[2, 3, 3, 3, 1], |definition| definition.name = "My Phi-3 mini".into());
        let strips: Vec<_> = found.attributes.iter().map(|attributes| attributes.any(Attributes::STRIP_RIGHT)).collect();
        assert_eq!(strips, [false, false, true, true, false]);
    }

    #[test]
    fn too_few_types_are_refused() {
        let definition = Definition { tokens: ["a", "b"].iter().collect(), types: vec![1], ..Definition::default() };
        assert!(of(&definition).is_err());
    }
}
