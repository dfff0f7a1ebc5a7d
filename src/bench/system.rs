//! What the system tells about the machine, from the files in which Linux says it. Elsewhere nothing: each answer is absent.

/// The value behind the colon of the first line of a file that begins with `name`.
pub(super) fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Bytes of a number of kilobytes ("16282752 kB").
pub(super) fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

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
        assert_eq!(kilobytes("16282752 kB"), Some(16_282_752 * 1_024));
        assert_eq!((kilobytes("16282752"), kilobytes("x kB"), field("/no/such/file", "a")), (None, None, None));
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }
}
