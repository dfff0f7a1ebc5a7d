//! Build script: generates the C header from `src/ffi` and gives the shared library its name.
//!
//! The header is always written to OUT_DIR. With LOQUAT_UPDATE_HEADER=1 in the environment it is also written to
//! `include/loquat.h`; a test compares the two. The source tree is never written to otherwise, so that a read-only or packaged source builds.

use std::path::Path;
use std::{env, fs};

/// The files of `src/ffi` that declare something, in the order of the header's sections.
const SECTIONS: &[&str] = &[
    "version",
    "status",
    "error",
    "runtime",
    "host",
    "model",
    "job",
    "metadata",
    "tensors",
    "tokenizer",
    "chat",
    "session_options",
    "estimate",
    "session",
    "batch",
    "stream",
    "metrics",
    "bench_options",
    "bench_subjects",
    "bench",
    "bench_figures",
    "bench_roofline",
    "bench_quality",
];

/// The major number of the binary interface, in the name of the shared library. Equals `LOQUAT_ABI_VERSION` (checked by a test).
const ABI_MAJOR: u32 = 0;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let root = Path::new(&root);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-env-changed=LOQUAT_UPDATE_HEADER");

    let header = header(root);
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    write(&Path::new(&out).join("loquat.h"), &header);
    if env::var_os("LOQUAT_UPDATE_HEADER").is_some_and(|value| value == "1") {
        write(&root.join("include/loquat.h"), &header);
    }
    name_the_library();
}

/// The whole header: the preamble with the conventions, then one section per file.
fn header(root: &Path) -> String {
    let preamble = read(&root.join("src/ffi/preamble.h"));
    let mut text = format!("{preamble}\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n");
    for name in SECTIONS {
        text.push_str(&section(root, name));
    }
    text.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* LOQUAT_H */\n");
    text
}

/// The declarations of one file under its `//!` comment.
fn section(root: &Path, name: &str) -> String {
    let path = root.join(format!("src/ffi/{name}.rs"));
    let source = read(&path);
    let mut text = String::from("\n/* ===========================================================================\n");
    for line in source.lines().take_while(|line| line.starts_with("//!")) {
        text.push_str(format!(" * {}", line["//!".len()..].trim()).trim_end());
        text.push('\n');
    }
    text.push_str(" * ======================================================================== */\n");

    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap_or_else(|error| panic!("cbindgen.toml: {error}"));
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(&path)
        .generate()
        .unwrap_or_else(|error| panic!("src/ffi/{name}.rs: {error}"));
    let mut declarations = Vec::new();
    bindings.write(&mut declarations);
    text.push('\n');
    let declarations = String::from_utf8(declarations).expect("cbindgen writes UTF-8");
    text.push_str(&tidy(declarations.trim()));
    text.push('\n');
    text
}

/// Puts comments of one line on one line and negative constants in parentheses, and calls types by their names alone.
fn tidy(declarations: &str) -> String {
    let lines: Vec<&str> = declarations.lines().collect();
    let mut out = Vec::with_capacity(lines.len());
    let mut rest = lines.as_slice();
    while let Some((line, after)) = rest.split_first() {
        let indent = &line[..line.len() - line.trim_start().len()];
        rest = after;
        match (line.trim(), after) {
            ("/**", [comment, end, after @ ..]) if end.trim() == "*/" && comment.len() <= 134 => {
                out.push(format!("{indent}/** {} */", comment.trim().trim_start_matches("* ")));
                rest = after;
            }
            (define, _) if define.starts_with("#define ") && define.contains(" -") => {
                let (name, value) = define.rsplit_once(' ').expect("a define has a value");
                out.push(format!("{name} ({value})"));
            }
            // Every struct has its name as a type, too: one spelling throughout.
            (code, _) if !code.starts_with("typedef") && !code.starts_with('*') => out.push(line.replace("struct loquat_", "loquat_")),
            _ => out.push((*line).to_owned()),
        }
    }
    out.join("\n")
}

/// Puts the ABI's major number into the name by which programs look for the shared library at run time.
fn name_the_library() {
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match os.as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libloquat.so.{ABI_MAJOR}");
        }
        "macos" | "ios" => println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libloquat.{ABI_MAJOR}.dylib"),
        _ => {}
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes only what changes, so that nothing that depends on the file is rebuilt for no reason.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
