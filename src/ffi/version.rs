//! Version
//!
//! The LOQUAT_VERSION_ macros are the version of this header; the functions are the version of the library that is loaded. A library
//! whose loquat_abi_version() equals LOQUAT_ABI_VERSION serves programs that were compiled with this header, whichever of the two is newer.

use std::ffi::c_char;

/// The version of the binary interface. It is also the number in the name of the shared library (libloquat.so.0).
pub const LOQUAT_ABI_VERSION: u32 = 0;
/// The first part of the version of this header.
pub const LOQUAT_VERSION_MAJOR: u32 = 0;
/// The second part of the version of this header.
pub const LOQUAT_VERSION_MINOR: u32 = 1;
/// The third part of the version of this header.
pub const LOQUAT_VERSION_PATCH: u32 = 0;

/// The version of the binary interface of the loaded library: compare with LOQUAT_ABI_VERSION.
///
/// Never fails. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn loquat_abi_version() -> u32 {
    LOQUAT_ABI_VERSION
}

/// The version of the loaded library as text, "0.1.0".
///
/// Never fails. The string is static and ends with NUL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn loquat_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macros_are_the_version_of_the_crate() {
        let macros = format!("{LOQUAT_VERSION_MAJOR}.{LOQUAT_VERSION_MINOR}.{LOQUAT_VERSION_PATCH}");
        assert_eq!(macros, env!("CARGO_PKG_VERSION"));
    }
}
