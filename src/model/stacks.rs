//! Names of tensors that one file has stacked and another part by part: `blk.0.ffn_up.3.weight` is the fourth matrix of
//! `blk.0.ffn_up_exps.weight`, `blk.0.attn_q_norm.3.weight` the fourth vector of `blk.0.attn_q_norm.weight`.

#![forbid(unsafe_code)]

/// What the name of a stack of experts ends with.
pub const EXPERTS: &str = "_exps.weight";

/// Most parts of a stack.
const MOST: usize = 1 << 16;

/// The name of a part of the stack called `name`.
pub fn part(name: &str, index: usize) -> String {
    let stem = name.strip_suffix(EXPERTS).or_else(|| name.strip_suffix(".weight")).unwrap_or(name);
    format!("{stem}.{index}.weight")
}

/// The stack that a part of this name belongs to, and its place in it.
pub fn stack(name: &str) -> Option<(String, usize)> {
    let (stem, index) = name.strip_suffix(".weight")?.rsplit_once('.')?;
    let index = index.parse().ok().filter(|&index: &usize| index < MOST)?;
    // The layer's number has a name before it and behind it.
    let of_experts = stem.strip_prefix("blk.")?.split_once('.')?.1.starts_with("ffn_");
    Some((format!("{stem}{}", if of_experts { EXPERTS } else { ".weight" }), index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_stacks_are_known_by_their_names() {
        for (name, whole, index) in
            [("blk.7.ffn_up.3.weight", "blk.7.ffn_up_exps.weight", 3), ("blk.7.attn_q_norm.12.weight", "blk.7.attn_q_norm.weight", 12)]
        {
            assert_eq!(stack(name), Some((whole.to_owned(), index)));
            assert_eq!(part(whole, index), name);
        }
        for other in ["blk.7.ffn_up.weight", "blk.7.weight", "output.weight", "blk.7.ffn_up.3.bias", "blk.7.ffn_up.99999999.weight"] {
            assert_eq!(stack(other), None, "{other}");
        }
    }
}
