//! Compiles C against the header, links it with the shared library of this build, and runs it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The way in which a program of `tests/c` is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    Plain,
    AddressSanitizer,
    Valgrind,
}

/// The folder of the crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares `now` with `tests/snapshots/NAME`, a record of something that must not change by accident. LOQUAT_UPDATE_SNAPSHOTS=1 in the
/// environment writes it instead.
pub fn snapshot(name: &str, now: &str) {
    let path = root().join("tests/snapshots").join(name);
    if std::env::var_os("LOQUAT_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(&path, now).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(recorded == now, "{} differs; it would now be:\n{now}", path.display());
}

/// A folder for what a test makes; `name` keeps tests apart.
pub fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The shared library that cargo built for this test run.
pub fn shared_library() -> PathBuf {
    let name = format!("{}loquat{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let exe = std::env::current_exe().unwrap();
    let found = exe.ancestors().skip(1).take(2).map(|folder| folder.join(&name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {name} beside {}", exe.display()))
}

fn compiler() -> OsString {
    std::env::var_os("CC").unwrap_or_else(|| "cc".into())
}

/// Runs `command`; panics with its output where it fails.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Compiles C or C++ text from standard input. Elsewhere than on Linux a machine without the compiler skips it with a printed reason.
pub fn compile_text(text: &str, arguments: &[&str]) {
    let mut command = Command::new(compiler());
    command.args(arguments).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !cfg!(target_os = "linux") => {
            eprintln!("skipped: there is no C compiler {:?}", compiler());
            return;
        }
        spawned => spawned.unwrap_or_else(|error| panic!("{command:?}: {error}")),
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with the shared library under the name that the loader looks for.
pub fn library_folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let library = shared_library();
    let mut names = vec![library.file_name().unwrap().to_owned()];
    if cfg!(target_os = "linux") {
        names.push(soname().into());
    }
    for name in names {
        let copy = folder.join(name);
        let same = |copy: &Path| Some(copy.metadata().ok()?.modified().ok()? >= library.metadata().ok()?.modified().ok()?);
        if same(&copy) != Some(true) {
            // Written aside and renamed: another test of this run may be loading the old one.
            let aside = folder.join(format!("{}.{}", std::process::id(), copy.file_name().unwrap().to_string_lossy()));
            std::fs::copy(&library, &aside).unwrap();
            std::fs::rename(&aside, &copy).unwrap();
        }
    }
    folder
}

/// Compiles `sources` and links them with the shared library.
pub fn build_program(name: &str, sources: &[PathBuf], flags: &[&str]) -> PathBuf {
    let libraries = library_folder(name);
    let program = libraries.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(compiler());
    command.args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1"]).args(flags);
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c")).args(sources);
    command.arg("-o").arg(&program).arg("-L").arg(&libraries).args(["-Wl,--as-needed", "-lloquat", "-lm", "-lpthread", "-ldl"]);
    command.arg(format!("-Wl,-rpath,{}", libraries.display()));
    succeed(&mut command);
    program
}

/// Whether C programs can be linked with the library of this build and run; prints the reason where not.
pub fn can_run_c() -> bool {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: the C programs are linked and run on Linux only");
        return false;
    }
    let emulated = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
    if std::env::var_os(emulated).is_some() {
        eprintln!("skipped: a cross build; the C compiler here makes programs for another machine");
        return false;
    }
    true
}

/// Builds `tests/c/NAME.c` and runs it as `check` says, in the folder of the crate. A status that is not 0 fails the test.
pub fn run_program(name: &str, check: Check) {
    run_source(name, &root().join(format!("tests/c/{name}.c")), check);
}

/// Builds and runs a program that a test has written; gives what it prints, or `None` where it can't be run here.
pub fn run_text(name: &str, text: &str, check: Check) -> Option<String> {
    let source = scratch("generated").join(format!("{name}-{check:?}.c"));
    std::fs::write(&source, text).unwrap();
    run_source(name, &source, check)
}

fn run_source(name: &str, source: &Path, check: Check) -> Option<String> {
    if !can_run_c() {
        return None;
    }
    let mut flags = Vec::new();
    match check {
        Check::Plain => {}
        Check::AddressSanitizer if !has_address_sanitizer() => {
            eprintln!("skipped: the C compiler has no AddressSanitizer");
            return None;
        }
        Check::AddressSanitizer => flags.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]),
        Check::Valgrind if Command::new("valgrind").arg("--version").output().is_err() => {
            eprintln!("skipped: valgrind is not installed");
            return None;
        }
        Check::Valgrind => {}
    }
    let label = format!("{name}-{check:?}").to_lowercase();
    let program = build_program(&label, &[source.to_owned()], &flags);
    let mut command = match check {
        Check::Valgrind => {
            let mut command = Command::new("valgrind");
            command.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect,possible"]);
            command.arg(format!("--suppressions={}", root().join("tools/valgrind.supp").display()));
            command.arg(&program);
            command
        }
        _ => Command::new(&program),
    };
    // AddressSanitizer's dlopen does not see the program's own search path.
    command.env("LD_LIBRARY_PATH", program.parent().unwrap());
    command.current_dir(root()).env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0").env("LOQUAT_TEST_CHECK", format!("{check:?}"));
    Some(String::from_utf8(succeed(&mut command).stdout).unwrap())
}

fn has_address_sanitizer() -> bool {
    let folder = scratch("has-asan");
    let source = folder.join("empty.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new(compiler()).args(["-fsanitize=address,undefined", "-o"]).arg(folder.join("empty")).arg(&source).output();
    built.is_ok_and(|output| output.status.success()) && Command::new(folder.join("empty")).status().is_ok_and(|status| status.success())
}

/// The name of the function that a line of the header begins to declare.
pub fn declared_name(line: &str) -> Option<&str> {
    if line.starts_with([' ', '*', '/', '#', '}']) || line.starts_with("typedef") {
        return None;
    }
    let (before, _) = line.split_once('(')?;
    before.rsplit([' ', '*']).next().filter(|name| name.starts_with("loquat_"))
}

/// The functions that a header declares.
pub fn declared_functions(header: &str) -> BTreeSet<String> {
    header.lines().filter_map(declared_name).map(str::to_owned).collect()
}

/// A function of the header: what it returns, its name, and the type and name of each parameter.
pub struct Function {
    pub result: String,
    pub name: String,
    pub parameters: Vec<(String, String)>,
}

/// The functions that a header declares, taken apart.
pub fn functions(header: &str) -> Vec<Function> {
    let mut lines = header.lines();
    let mut functions = Vec::new();
    while let Some(line) = lines.next() {
        let Some(name) = declared_name(line) else { continue };
        let mut whole = line.to_owned();
        while !whole.ends_with(';') {
            whole.push(' ');
            whole.push_str(lines.next().expect("a declaration ends").trim());
        }
        let (before, rest) = whole.split_once(&format!("{name}(")).unwrap();
        let result = before.trim_start_matches("LOQUAT_MUST_USE").trim().to_owned();
        let list = rest.strip_suffix(");").unwrap();
        let parameters = list.split(',').map(str::trim).filter(|parameter| *parameter != "void").map(|parameter| {
            let at = parameter.rfind([' ', '*']).unwrap() + 1;
            (parameter[..at].trim().to_owned(), parameter[at..].to_owned())
        });
        functions.push(Function { result, name: name.to_owned(), parameters: parameters.collect() });
    }
    functions
}

/// The structs of a header that are not opaque, with the names of their fields.
pub fn structs(header: &str) -> Vec<(String, Vec<String>)> {
    let mut structs: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in header.lines() {
        if let Some(name) = line.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {")) {
            structs.push((name.to_owned(), Vec::new()));
            inside = true;
        } else if line.starts_with('}') {
            inside = false;
        } else if inside && line.ends_with(';') && !line.trim_start().starts_with(['/', '*']) {
            let field = line.trim_end_matches(';').split('[').next().unwrap().rsplit([' ', '*']).next().unwrap();
            structs.last_mut().unwrap().1.push(field.to_owned());
        }
    }
    structs
}

/// The value of `#define NAME VALUE` in a header.
pub fn constant(header: &str, name: &str) -> String {
    let line = header.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).trim_matches(['(', ')']).to_owned()
}

/// The dynamic symbols that the shared library defines.
pub fn exported_symbols() -> BTreeSet<String> {
    let output = succeed(Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(shared_library()));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The name by which programs that were linked with the shared library look for it.
pub fn soname() -> String {
    let output = succeed(Command::new("readelf").args(["--dynamic", "--wide"]).arg(shared_library()));
    let text = String::from_utf8(output.stdout).unwrap();
    let name = text.lines().find_map(|line| line.split_once("soname: [")?.1.strip_suffix(']'));
    name.unwrap_or_else(|| panic!("no SONAME in\n{text}")).to_owned()
}
