//! The C interface as C sees it: the header, the exported symbols, the layout of structs, and the programs of `tests/c`, plain,
//! under AddressSanitizer and under Valgrind.
//!
//! Needs a C compiler (`CC`, or `cc`); what else is missing is skipped with a printed reason.

mod benchmarks;
mod cc;
mod examples;
mod layout;

use cc::Check;

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
#[cfg_attr(not(target_os = "linux"), ignore = "reads an ELF file with nm and readelf")]
fn only_the_declared_symbols_are_exported() {
    let declared = cc::declared_functions(GENERATED);
    let exported = cc::exported_symbols();
    assert_eq!(exported, declared, "left: exported by the shared library; right: declared in the header");
    cc::snapshot("symbols.txt", &exported.iter().map(|name| format!("{name}\n")).collect::<String>());
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads an ELF file with nm and readelf")]
fn the_shared_library_is_named_after_the_abi() {
    let abi = cc::constant(GENERATED, "LOQUAT_ABI_VERSION");
    assert_eq!(cc::soname(), format!("libloquat.so.{abi}"));
}

/// C text that calls every function that returns a status, its arguments made by `argument` from their types. Functions of `makers` are
/// left out.
fn call_everything(makers: &[&str], argument: impl Fn(&str) -> &'static str) -> String {
    let mut text = String::from(
        "#include \"check.h\"\n\nint main(void) {\n    static uint64_t junk[512];\n    loquat_error *error = NULL;\n    memset(junk, 0x41, sizeof junk);\n",
    );
    let functions = cc::functions(GENERATED);
    let mut calls = 0;
    for function in functions.iter().filter(|function| function.result == "loquat_status" && !makers.contains(&function.name.as_str())) {
        if function.parameters.last().is_none_or(|(ty, _)| ty != "loquat_error **") {
            assert_eq!(function.name, "loquat_error_status", "{} takes no error", function.name);
            continue;
        }
        let arguments: Vec<&str> = function.parameters.iter().map(|(ty, _)| argument(ty)).collect();
        let call = format!("{}({})", function.name, arguments.join(", "));
        text.push_str(&format!("    CHECK({call} != LOQUAT_OK);\n    loquat_error_free(error);\n    error = NULL;\n"));
        calls += 1;
    }
    for function in functions.iter().filter(|function| function.name.ends_with("_free")) {
        text.push_str(&format!("    {}({});\n", function.name, argument(&function.parameters[0].0)));
    }
    assert!(calls > 40, "only {calls} calls");
    text + "    return 0;\n}\n"
}

#[test]
fn every_function_survives_null_everywhere() {
    let text = call_everything(&[], |ty| if ty.contains('*') || ty.ends_with("_fn") { "NULL" } else { "0" });
    cc::run_text("null", &text, Check::Plain);
    cc::run_text("null", &text, Check::AddressSanitizer);
}

#[test]
fn every_function_refuses_memory_that_is_no_handle() {
    // These make something out of nothing, so there is nothing to refuse.
    let makers = [
        "loquat_runtime_options_new",
        "loquat_model_options_new",
        "loquat_session_options_new",
        "loquat_batch_options_new",
        "loquat_bench_options_new",
    ];
    let text = call_everything(&makers, |ty| match ty {
        "loquat_error **" => "&error",
        ty if ty.contains('*') => "(void *)junk",
        ty if ty.ends_with("_fn") => "NULL",
        "size_t" => "8",
        _ => "4000000000u",
    });
    cc::run_text("junk", &text, Check::Plain);
    cc::run_text("junk", &text, Check::AddressSanitizer);
}

/// "name size" for each struct and "name.field offset size" for each field, as the C compiler sees them.
fn layout_in_c() -> Option<String> {
    let mut text = String::from("#include \"check.h\"\n\nint main(void) {\n");
    for (name, fields) in cc::structs(GENERATED) {
        text.push_str(&format!("    printf(\"{name} %zu\\n\", sizeof({name}));\n"));
        for field in fields {
            text.push_str(&format!(
                "    printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));\n"
            ));
        }
    }
    cc::run_text("layout", &(text + "    return 0;\n}\n"), Check::Plain)
}

#[test]
#[cfg(target_pointer_width = "64")]
fn structs_have_the_recorded_layout_in_c_and_in_rust() {
    let Some(in_c) = layout_in_c() else { return };
    cc::snapshot("layout-64bit.txt", &in_c);
    assert_eq!(layout::in_rust(), in_c, "left: Rust; right: C");
}

#[test]
#[cfg(target_os = "linux")]
fn the_static_library_links_and_runs() {
    if !cc::can_run_c() {
        return;
    }
    let program = cc::scratch("static").join("errors");
    let library = cc::shared_library().with_extension("a");
    let mut command = std::process::Command::new("cc");
    command.arg("-I").arg(cc::root().join("include")).arg(cc::root().join("tests/c/errors.c")).arg(library);
    cc::succeed(command.args(["-lm", "-lpthread", "-ldl", "-o"]).arg(&program));
    cc::succeed(&mut std::process::Command::new(program));
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

programs!(batch, bench, errors, host, job, model, session, stream, text, unload);
