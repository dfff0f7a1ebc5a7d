//! Chat templates against Python's jinja2 (`tests/goldens/chat.py`), and against malice.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loquat::base::ErrorKind;
use loquat::chat::{DateTime, Message, Options, Template, Variable};
use proptest::prelude::*;
use serde_json::Value;

/// Counts what is alive, so that a template's appetite shows.
struct Counting;

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let alive = ALIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(alive, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract, which System shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from System through alloc above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GOLDENS: &str = include_str!("goldens/chat.json");
const NOW: DateTime = DateTime { year: 2025, month: 7, day: 4, hour: 15, minute: 6, second: 7 };

fn goldens() -> Value {
    serde_json::from_str(GOLDENS).unwrap()
}

fn conversation(json: &Value) -> Vec<Message<'_>> {
    let turns = json.as_array().unwrap().iter();
    turns.map(|turn| Message { role: turn[0].as_str().unwrap(), content: turn[1].as_str().unwrap() }).collect()
}

fn render(source: &str, messages: &[Message<'_>], add_generation_prompt: bool) -> loquat::base::Result<String> {
    let options = Options { add_generation_prompt, now: Some(NOW), ..Options::default() };
    Template::new(source, "<s>", "</s>")?.render_with(messages, &options)
}

/// [prefix, middle, suffix] against the first output, in characters.
fn restored(delta: &Value, first: &str) -> String {
    let count = |index: usize| delta[index].as_u64().unwrap() as usize;
    let first: Vec<char> = first.chars().collect();
    let middle = delta[1].as_str().unwrap();
    first[..count(0)].iter().copied().chain(middle.chars()).chain(first[first.len() - count(2)..].iter().copied()).collect()
}

#[test]
fn real_templates_render_as_jinja2_renders_them() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/templates"));
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    let goldens = goldens();
    let conversations: Vec<Vec<Message<'_>>> = goldens["conversations"].as_array().unwrap().iter().map(conversation).collect();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, outputs) in goldens["templates"].as_object().unwrap() {
        let source = std::fs::read_to_string(folder.join(name)).unwrap();
        let mut outputs = outputs.as_array().unwrap().iter();
        let mut first = String::new();
        for (index, messages) in conversations.iter().enumerate() {
            for add_generation_prompt in [false, true] {
                let golden = outputs.next().unwrap();
                let expected = (!golden.is_null()).then(|| restored(golden, &first));
                if first.is_empty() {
                    first = expected.clone().unwrap_or_default();
                }
                compared += 1;
                match (render(&source, messages, add_generation_prompt), expected) {
                    (Ok(ours), Some(python)) if ours == python => {}
                    (Err(error), None) if error.kind() == ErrorKind::Template => {}
                    (ours, python) => wrong
                        .push(format!("{name}, conversation {index}, {add_generation_prompt}:\n  ours   {ours:?}\n  python {python:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    assert!(compared >= 27 * 2 * conversations.len());
}

#[test]
fn small_templates_render_as_jinja2_renders_them() {
    let goldens = goldens();
    let messages = conversation(&goldens["conversations"][goldens["snippet_conversation"].as_u64().unwrap() as usize]);
    let mut wrong = Vec::new();
    for snippet in goldens["snippets"].as_array().unwrap() {
        let source = snippet[0].as_str().unwrap();
        let python = snippet[1].as_str();
        match (render(source, &messages, true), python) {
            (Ok(ours), Some(python)) if ours == python => {}
            (Err(error), None) if error.kind() == ErrorKind::Template => {}
            (ours, python) => wrong.push(format!("{source}\n  ours   {ours:?}\n  python {python:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_demo_models_template() {
    let config = include_str!("../models/hf/tokenizer_config.json");
    let config: Value = serde_json::from_str(config).unwrap();
    let template = Template::new(config["chat_template"].as_str().unwrap(), "<|endoftext|>", "<|im_end|>").unwrap();
    let messages = [
        Message { role: "system", content: "You are Odo, the merchant of Emberfield." },
        Message { role: "user", content: "I want to buy a rope.\n" },
        Message { role: "assistant", content: "" },
    ];
    let talk =
        "<|im_start|>system\nYou are Odo, the merchant of Emberfield.<|im_end|>\n<|im_start|>user\nI want to buy a rope.\n<|im_end|>\n";
    assert_eq!(template.render(&messages[..2], true).unwrap(), format!("{talk}<|im_start|>assistant\n"));
    assert_eq!(template.render(&messages, false).unwrap(), format!("{talk}<|im_start|>assistant\n<|im_end|>\n"));
    assert_eq!(template.render(&[], true).unwrap(), "<|im_start|>assistant\n");
}

#[test]
fn options_and_variables() {
    let template = Template::new(
        "{{ strftime_now('%Y-%m-%d') }} {{ think }} {{ n }} {{ x }} {{ s }} {{ z }} {{ bos_token is defined }} {{ eos_token }}",
        "",
        "E",
    )
    .unwrap();
    let variables = [
        ("think", Variable::Bool(true)),
        ("n", Variable::Integer(-3)),
        ("x", Variable::Float(0.5)),
        ("s", Variable::Text("t")),
        ("z", Variable::None),
        ("_lq_input", Variable::Integer(i64::MAX)),
        ("messages", Variable::Bool(false)),
    ];
    let options = Options { now: Some(NOW), variables: &variables, ..Options::default() };
    assert_eq!(template.render_with(&[], &options).unwrap(), "2025-07-04 True -3 0.5 t None False E");
    let wrong = Options { now: Some(DateTime { month: 0, ..NOW }), ..options };
    assert_eq!(template.render_with(&[], &wrong).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(template.render(&[], false).unwrap().starts_with("20"), "without a date the clock is asked");
}

#[test]
fn errors_name_the_line_and_the_reason() {
    for (source, said) in [
        ("a\n\n{{ raise_exception('roles must alternate') }}", "line 3: roles must alternate"),
        ("a\n{% if x %}\nb", "line 2"),
        ("{{ 1 }}\n{{ nothing.at_all }}", "line 2"),
        ("{{ 'x'|frobnicate }}", "no filter named 'frobnicate'"),
        ("{% include 'x' %}", "unknown tag 'include'"),
        ("{{ _lq_box }}", "reserved"),
        ("{% set x = 'a' + 1 %}", "unsupported operand types for +"),
        ("\n\n{{ 'open }}", "line 3: a string without its end"),
    ] {
        let error = render(source, &[], false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Template);
        assert!(error.message().contains(said), "{source}: {error}");
    }
}

/// Renders on a thread with a small stack; the error, or how long the text is.
fn tamed(source: String) -> Result<usize, String> {
    let run = move || {
        let messages = [Message { role: "user", content: "Hello" }];
        render(&source, &messages, true).map(|text| text.len()).map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::Template);
            assert!(error.message().len() < 4096);
            error.to_string()
        })
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap()
}

#[test]
fn hostile_templates_are_stopped() {
    let again =
        |times: usize, body: &str| format!("{{% set ns = namespace(x='ab', l=[1]) %}}{{% for i in range({times}) %}}{body}{{% endfor %}}");
    let nest = |open: &str, inside: &str, close: &str| format!("{}{inside}{}", open.repeat(6000), close.repeat(6000));
    let filler = "x".repeat(100_000);
    let sources = vec![
        // Numbers and lengths
        "{{ range(10**9) }}".to_owned(),
        "{{ 'a' * 10**12 }}".to_owned(),
        "{{ [1] * 10**12 }}".to_owned(),
        "{{ 10**10**10 }}".to_owned(),
        "{{ 'a'.center(10**12) }}".to_owned(),
        "{{ '1'.zfill(10**12) }}".to_owned(),
        "{{ 'a'|center(10**12) }}".to_owned(),
        "{{ 'a\nb'|indent(10**12) }}".to_owned(),
        "{{ [[1]]|tojson(indent=10**12) }}".to_owned(),
        "{{ '%1000000000d' % 3 }}".to_owned(),
        "{{ '{:1000000000}'.format(3) }}".to_owned(),
        "{{ '%*d' % (1000000000, 3) }}".to_owned(),
        "{{ [1]|batch(10**12, 0) }}".to_owned(),
        "{{ [1]|slice(10**12)|list }}".to_owned(),
        "{{ range(100000)|slice(99999)|list|length }}{{ range(100000)|batch(1)|list|length }}".repeat(40),
        "{% macro f() %}{% endmacro %}{{ f(*range(100000)) }}".to_owned(),
        // Doubling
        again(200, "{% set ns.x = ns.x ~ ns.x %}"),
        again(200, "{% set ns.x = ns.x + ns.x %}"),
        again(200, "{% set ns.x = ns.x * 2 %}"),
        again(200, "{% set ns.x = '%s%s' % (ns.x, ns.x) %}"),
        again(200, "{% set ns.x = '{0}{0}'.format(ns.x) %}"),
        again(200, "{% set ns.x = [ns.x, ns.x]|join %}"),
        again(200, "{% set ns.x = ns.x.replace('a', ns.x) %}"),
        again(200, "{% set ns.x = ns.x|replace('a', 'aa') %}"),
        again(200, "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
        again(200, "{% set ns.x = ns.x|tojson|tojson %}"),
        again(200, "{% set ns.x = [ns.x, ns.x]|string %}"),
        again(200, "{% set ns.l = ns.l + ns.l %}"),
        again(200, "{% set ns.l = ns.l * 2 %}{{ ns.l|length }}"),
        again(60, "{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l }}",
        again(60, "{% set ns.l = {'a': ns.l, 'b': ns.l} %}") + "{{ ns.l|tojson }}",
        again(60, "{% set ns.l = (ns.l, ns.l) %}") + "{{ ns.l == ns.l }}",
        "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}".to_owned() + &again(200, "{% set ns.x = f(ns.x) %}"),
        // Work
        again(100_000, "{% for j in range(100000) %}{% endfor %}"),
        again(100_000, "{% set ns.l = ns.l + [i] %}"),
        again(100_000, "{% set ns.l = [ns.l] %}"),
        again(100_000, "{% set ns.l = {'k': ns.l} %}") + "{{ ns.l }}",
        again(100_000, "{% set ns.y = range(100000) %}"),
        again(100_000, "{% if 7 in range(100000) %}{% endif %}"),
        format!("{{% set l = range(100000) %}}{}", again(100_000, "{% if l == l or -1 in l %}{% endif %}")),
        format!("{{% set l = range(100000) %}}{}", again(100_000, "{% if l|sort|unique|list|length == l|sum %}{% endif %}")),
        format!("{{% set s = 'a' * 1000000 %}}{}", again(100_000, "{% if 'b' in s or s.find('b') > 0 or s|upper == s[1] %}{% endif %}")),
        format!("{{% set s = 'a' * 1000000 %}}{{% set d = {{s: 1}} %}}{}", again(100_000, "{% if d[s] == d.get(s) %}{% endif %}")),
        format!("{{% set s = 'ab ' * 100000 %}}{}", again(100_000, "{{ s.split()|length }}")),
        again(100_000, &format!("{{% set x %}}{filler}{{% endset %}}")),
        again(100_000, &filler),
        // Recursion
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f(n) %}{{ g(n) }}{% endmacro %}{% macro g(n) %}{{ f(n ~ 'x') }}{% endmacro %}{{ f('') }}".to_owned(),
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".to_owned(),
        "{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{% set ns.ns = [{'a': ns}] %}{{ ns }}".to_owned(),
        "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a }}".to_owned(),
        "{% macro f(x) %}{{ f(namespace(x=x)) }}{% endmacro %}{{ f(1) }}".to_owned(),
        "{% set ns = namespace() %}{% for x in [1] %}{% set ns.l = loop %}{% endfor %}".to_owned(),
        "{% for x in [1] %}{% for y in [loop] %}{{ y }}{% endfor %}{% endfor %}".to_owned(),
        // Nesting in the source
        format!("{{{{ {} }}}}", nest("(", "1", ")")),
        format!("{{{{ {} }}}}", nest("[", "1", "]")),
        format!("{{{{ {} }}}}", nest("{1:", "1", "}")),
        format!("{{{{ {} }}}}", nest("f(", "1", ")")),
        format!("{{{{ {} }}}}", nest("a[", "1", "]")),
        format!("{{{{ x{} }}}}", ".y".repeat(20_000)),
        format!("{{{{ x{} }}}}", "[0]".repeat(20_000)),
        format!("{{{{ x{} }}}}", "()".repeat(20_000)),
        format!("{{{{ 1{} }}}}", "|string".repeat(20_000)),
        format!("{{{{ 1{} }}}}", " is string".repeat(20_000)),
        format!("{{{{ {}1 }}}}", "- ".repeat(20_000)),
        format!("{{{{ 1{} }}}}", " and 1".repeat(20_000)),
        format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(20_000)),
        format!("{{{{ 1{} }}}}", " if 1".repeat(20_000)),
        format!("{{{{ x{}{} }}}}", "[x".repeat(20_000), "]".repeat(20_000)),
        nest("{% if 1 %}", "x", "{% endif %}"),
        nest("{% for x in y %}", "x", "{% endfor %}"),
        nest("{% filter upper %}", "x", "{% endfilter %}"),
        nest("{% macro f() %}", "x", "{% endmacro %}"),
        nest("{% generation %}", "x", "{% endgeneration %}"),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(20_000)),
        format!("{{% set {}a{} = 1 %}}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("{{% set x | {} %}}{{% endset %}}", ["upper"; 20_000].join("|")),
        "{% raw %}".repeat(20_000),
        "{".repeat(200_000),
        "{{".repeat(100_000),
        "{% ".repeat(60_000),
        "{{ '".repeat(60_000),
        "{{ raise_exception('x' * 1000000) }}".to_owned(),
        filler.repeat(3),
    ];
    for source in sources {
        let start = Instant::now();
        let before = ALIVE.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let shown: String = source.chars().take(120).collect();
        let result = tamed(source);
        let (took, most) = (start.elapsed(), MOST.load(Ordering::Relaxed).saturating_sub(before) >> 20);
        println!("{took:8.2?} {most:4} MiB {shown}\n          {result:.120?}");
        assert!(result.is_err(), "{shown}");
        assert!(took < Duration::from_secs(30), "{took:?}: {shown}");
        assert!(most < 256, "{most} MiB: {shown}");
    }
}

#[test]
fn long_flat_templates_are_fine() {
    for source in [
        format!("{{{{ 1{} }}}}", " + 1".repeat(900)),
        "{% for i in range(100000) %}{% macro m() %}{{ i }}{% endmacro %}{% endfor %}x".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(50000) %}{% set ns.l = ns.l[0:] %}{% endfor %}{{ ns.l }}".to_owned(),
        format!("{{{{ 'a'{} }}}}", " ~ 'a'".repeat(900)),
        format!("{{{{ '{}' }}}}", "a".repeat(200_000)),
        "{{ 1 }}{# c #}{% set x = 1 %}".repeat(5000),
        format!("{{% if 0 %}}{}{{% endif %}}x", "{% elif 0 %}".repeat(90)),
        format!("{}x{}", "{% if 1 %}".repeat(90), "{% endif %}".repeat(90)),
        format!("{{{{ {}1{} }}}}", "(".repeat(50), ")".repeat(50)),
        format!("{{{{ {}1 }}}}", "not ".repeat(20_000)),
    ] {
        let shown: String = source.chars().take(80).collect();
        assert!(tamed(source).is_ok_and(|len| len > 0), "{shown}");
    }
}

#[test]
fn cut_templates_never_panic() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/templates"));
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    };
    let messages = [Message { role: "user", content: "Hello" }];
    for entry in entries {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for cut in (0..source.len()).step_by(97).filter(|&cut| source.is_char_boundary(cut)) {
            for part in [&source[..cut], &source[cut..]] {
                let _ = render(part, &messages, true);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_tokens_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "if", "else", "elif", "endif", "for", "in", "endfor", "set", "endset", "macro", "endmacro",
        "call", "endcall", "filter", "with", "endwith", "generation", "raw", "endraw", "break", "x", "loop", "messages", "ns", "namespace(a=1)", "(", ")",
        "[", "]", "{", "}", ":", ",", ".", "|", "=", "==", "+", "-", "*", "**", "~", "%", "//", "'a'", "\"b", "\\", "1", "1.5", "is", "not", "and", "or", "none",
        "upper", "join", "tojson", "defined", "string", "items()", "split('a')", "\n", " ", "é", "range(3)", "caller()", "varargs", "recursive", "0x", "[::-1]",
    ]), 0..40), glue in prop::sample::select(vec!["", " "])) {
        let _ = render(&words.join(glue), &[Message { role: "user", content: "Hello" }], true);
    }
}
