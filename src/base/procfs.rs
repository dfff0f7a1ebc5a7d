//! The files in which Linux tells numbers by their names. Elsewhere there are none: each answer is absent.

/// The value behind the colon of the first line of a file that begins with `name`.
pub fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Bytes of a number of kilobytes ("16282752 kB").
pub fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_system() {
        assert_eq!(kilobytes("16282752 kB"), Some(16_282_752 * 1_024));
        assert_eq!((kilobytes("16282752"), kilobytes("x kB"), field("/no/such/file", "a")), (None, None, None));
    }
}
