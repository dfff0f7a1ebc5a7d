//! Panics in fuzz targets, where some inside other crates are errors by design and are caught there.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

/// Runs `check` without the hook that ends a fuzzer at any panic, and ends the process, saying why, where one leaves `check`.
pub fn only_outside(check: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| set_hook(Box::new(|_| {})));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        eprintln!("panicked: {}", said.unwrap_or_default());
        std::process::abort();
    }
}
