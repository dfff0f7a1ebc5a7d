//! Stages that group digits by three from the right, as numbers are written.

#![forbid(unsafe_code)]

use crate::base::Result;

use super::super::unicode::{NUMBER, char_at};
use super::{Sink, run_end};

/// Numbers in groups of three from the right, a first group of one or two taking along all text before the number; so does
/// a first group of three. (`afmoe`; and `tiny_aya`, which writes it `\d{1,3}(?=(?:\d{3})*\b)`.)
pub fn grouped_with_text_before(text: &[u8], sink: &mut Sink) -> Result<()> {
    let (mut taken, mut at) = (0, 0);
    while at < text.len() {
        let c = char_at(text, at);
        if !c.is(NUMBER) {
            at += c.len as usize;
            continue;
        }
        let mut left = 0;
        let end = run_end(text, at, |c| {
            left += usize::from(c.is(NUMBER));
            c.is(NUMBER)
        });
        while at < end {
            at += char_at(text, at).len as usize;
            left -= 1;
            if left % 3 == 0 {
                sink(&text[taken..at])?;
                taken = at;
            }
        }
    }
    if taken < text.len() {
        sink(&text[taken..])?;
    }
    Ok(())
}

/// `(?=(\d{3})+(?!\d))`: a cut before every third ASCII digit from the end of its run. (`superbpe`)
pub fn cut_before_groups(text: &[u8], sink: &mut Sink) -> Result<()> {
    let (mut taken, mut at) = (0, 0);
    while at < text.len() {
        let end = run_end(text, at, |c| c.point.wrapping_sub(0x30) < 10);
        if end == at {
            at += char_at(text, at).len as usize;
            continue;
        }
        for cut in at..end {
            if (end - cut) % 3 == 0 && cut > taken {
                sink(&text[taken..cut])?;
                taken = cut;
            }
        }
        at = end;
    }
    if taken < text.len() {
        sink(&text[taken..])?;
    }
    Ok(())
}
