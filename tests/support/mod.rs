//! What several integration tests share.

pub mod cc;
pub mod layout;

/// Compares `now` with `tests/snapshots/NAME`, a record of something that must not change by accident. LOQUAT_UPDATE_SNAPSHOTS=1 in the
/// environment writes it instead.
pub fn snapshot(name: &str, now: &str) {
    let path = cc::root().join("tests/snapshots").join(name);
    if std::env::var_os("LOQUAT_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(&path, now).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(recorded == now, "{} differs; it would now be:\n{now}", path.display());
}
