//! What the system tells about the machine, from the files in which Linux says it. Elsewhere nothing: each answer is absent.

use crate::base::procfs::{field, kilobytes};

/// Memory that can be had without anything being put aside.
pub(super) fn available_bytes() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable").and_then(|text| kilobytes(&text))
}

/// The largest cache of the first processor.
pub(super) fn last_cache_bytes() -> Option<u64> {
    let sizes = (0..8).filter_map(|index| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        let (number, unit) = text.trim().split_at(text.trim().find(|c: char| !c.is_ascii_digit())?);
        let factor = match unit {
            "K" => 1u64 << 10,
            "M" => 1 << 20,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    });
    sizes.max()
}

/// The choice in brackets of "always [madvise] never".
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// When the system gives large pages: "always", "madvise" (to who asks, as the library does for its own blocks), "never".
pub(super) fn large_pages() -> Option<String> {
    chosen(&std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_system() {
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }
}
