//! The C interface as C sees it: the header, the exported symbols, the layout of structs, and the programs of `tests/c`, plain,
//! under AddressSanitizer and under Valgrind.
//!
//! Needs a C compiler (`CC`, or `cc`); what else is missing is skipped with a printed reason.

mod support;

use support::cc::{self, Check};

/// The header that `build.rs` made from the sources of this build.
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/loquat.h"));

#[test]
fn the_committed_header_is_the_generated_one() {
    let committed = std::fs::read_to_string(cc::root().join("include/loquat.h")).unwrap();
    // Line endings are git's business on Windows.
    assert!(
        committed.replace("\r\n", "\n") == GENERATED,
        "include/loquat.h is out of date: build once with LOQUAT_UPDATE_HEADER=1 and commit it"
    );
}

#[test]
fn the_header_compiles_alone_as_c99_and_cxx17() {
    let include = format!("-I{}", cc::root().join("include").display());
    let strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", include.as_str()];
    for (language, standard) in [("c", "-std=c99"), ("c", "-std=c11"), ("c++", "-std=c++17"), ("c++", "-std=c++11")] {
        let mut arguments = vec!["-x", language, standard];
        arguments.extend(strict);
        cc::compile_text("#include \"loquat.h\"\n#include \"loquat.h\"\n", &arguments);
    }
}

#[test]
fn every_declaration_is_documented() {
    let lines: Vec<&str> = GENERATED.lines().collect();
    let mut seen = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| cc::declared_name(line).is_some()) {
        let before = lines[..at].iter().rfind(|line| !line.starts_with("LOQUAT_MUST_USE")).unwrap();
        assert!(before.trim_end().ends_with("*/"), "no comment before: {line}");
        seen += 1;
    }
    assert!(seen > 5, "found only {seen} declarations");
}

#[test]
#[cfg(target_os = "linux")]
fn only_the_declared_symbols_are_exported() {
    let declared = cc::declared_functions(GENERATED);
    let exported = cc::exported_symbols();
    assert_eq!(exported, declared, "left: exported by the shared library; right: declared in the header");
    support::snapshot("symbols.txt", &exported.iter().map(|name| format!("{name}\n")).collect::<String>());
}

#[test]
#[cfg(target_os = "linux")]
fn the_shared_library_is_named_after_the_abi() {
    let abi = cc::constant(GENERATED, "LOQUAT_ABI_VERSION");
    assert_eq!(cc::soname(), format!("libloquat.so.{abi}"));
}

/// One test per program of `tests/c`, run in every way that this machine has.
macro_rules! programs {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::*;
            #[test]
            fn plain() {
                cc::run_program(stringify!($name), Check::Plain);
            }
            #[test]
            fn address_sanitizer() {
                cc::run_program(stringify!($name), Check::AddressSanitizer);
            }
            #[test]
            fn valgrind() {
                cc::run_program(stringify!($name), Check::Valgrind);
            }
        }
    )*};
}

programs!(errors);
