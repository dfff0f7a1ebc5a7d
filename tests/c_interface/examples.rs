//! The programs of `c-examples`: built by their Makefile against the library of this build, run, and their output compared.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use super::cc;

/// The folder with the programs, built once per run; `None` where they can't be built here.
pub(super) fn programs() -> Option<&'static PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            if !cc::can_run_c() {
                return None;
            }
            let (libraries, build) = (cc::library_folder("examples-library"), cc::scratch("examples"));
            let mut make = Command::new("make");
            make.arg("-C").arg(cc::root().join("c-examples"));
            make.arg(format!("BUILD={}", build.display())).arg(format!("LOQUAT_LIB_DIR={}", libraries.display()));
            if Command::new("make").arg("--version").output().is_err() {
                eprintln!("skipped: make is not installed");
                return None;
            }
            cc::succeed(&mut make);
            Some(build)
        })
        .as_ref()
}

/// Runs one of the programs in the folder of the crate.
pub(super) fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(programs()?.join(program)).args(arguments).current_dir(cc::root()).output();
    Some(output.unwrap_or_else(|error| panic!("{program}: {error}")))
}

/// Standard output of a run that must succeed.
pub(super) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = run(program, arguments)?;
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn goldens() -> Value {
    serde_json::from_str(&std::fs::read_to_string(cc::root().join("models/goldens.json")).unwrap()).unwrap()
}

fn ids(list: &Value) -> String {
    let ids: Vec<String> = list.as_array().unwrap().iter().map(Value::to_string).collect();
    ids.join(" ")
}

/// Prompts whose greedy continuation no rounding of the default model turns: the two best logits stay apart at each step.
fn sturdy_prompts(goldens: &Value) -> Vec<&Value> {
    let prompts = goldens["prompts"].as_array().unwrap();
    let sturdy: Vec<&Value> = prompts.iter().filter(|prompt| prompt["min_gap"].as_f64().unwrap() > 0.07).collect();
    assert!(sturdy.len() >= 4);
    sturdy
}

#[test]
fn folders_are_models_too() {
    let goldens = goldens();
    for prompt in sturdy_prompts(&goldens).into_iter().take(2) {
        let text = prompt["text"].as_str().unwrap();
        for path in ["models/hf", "models/hf/model.safetensors"] {
            let Some(got) = output_of("generate", &["-m", path, "-p", text, "-n", "48", "--ids", "--ignore-eos"]) else { return };
            assert_eq!(got, ids(&prompt["greedy"]) + "\n", "ids of {} by {path}", prompt["name"]);
        }
        assert_eq!(output_of("tokenize", &["-m", "models/hf", "-p", text]), output_of("tokenize", &["-p", text]));
    }
    let got = output_of("bench_stats", &["-m", "models/hf", "-p", "8", "-n", "4", "-r", "1", "--json"]).unwrap();
    let json: Value = serde_json::from_str(&got).unwrap();
    assert!(json["model"].as_str().unwrap().contains("llama"), "{got}");
}

#[test]
fn generate_says_what_the_goldens_say() {
    let goldens = goldens();
    for prompt in sturdy_prompts(&goldens) {
        let text = prompt["text"].as_str().unwrap();
        let Some(got) = output_of("generate", &["-p", text, "-n", "48", "--ids", "--ignore-eos"]) else { return };
        assert_eq!(got, ids(&prompt["greedy"]) + "\n", "ids of {}", prompt["name"]);
        let got = output_of("generate", &["-p", text, "-n", "48", "--ignore-eos"]).unwrap();
        assert_eq!(got, prompt["greedy_text"].as_str().unwrap().to_owned() + "\n", "text of {}", prompt["name"]);
        if let Some(end) = prompt["eog_at"].as_u64() {
            let wanted: Vec<&Value> = prompt["greedy"].as_array().unwrap()[..end as usize].iter().collect();
            let got = output_of("generate", &["-p", text, "-n", "48", "--ids", "-t", "1"]).unwrap();
            assert_eq!(got.split_whitespace().count(), wanted.len(), "tokens before the end of {}", prompt["name"]);
        }
    }
}

#[test]
fn generate_writes_logits_and_stats() {
    let goldens = goldens();
    let prompt = goldens["prompts"].as_array().unwrap().iter().find(|prompt| prompt["name"] == "chat-story").unwrap();
    let file = cc::scratch("logits").join("logits.bin");
    let arguments = ["-m", "models/emberfield-3m-f32.gguf", "-p", prompt["text"].as_str().unwrap(), "-n", "0", "--stats", "--logits"];
    let arguments: Vec<&str> = arguments.into_iter().chain([file.to_str().unwrap()]).collect();
    let Some(output) = run("generate", &arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"\n");

    let stats: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(stats["prompt_tokens"].as_u64().unwrap() as usize, prompt["ids"].as_array().unwrap().len());
    assert_eq!((stats["tokens"].as_u64(), &stats["decode_tok_s"], &stats["ttft_ms"]), (Some(0), &Value::Null, &Value::Null));
    assert!(stats["prefill_tok_s"].as_f64().unwrap() > 0.0 && stats["load_ms"].as_f64().unwrap() > 0.0);
    assert!(stats["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);

    let floats = |bytes: &[u8]| -> Vec<f32> { bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect() };
    let got = floats(&std::fs::read(file).unwrap());
    let wanted = floats(&std::fs::read(cc::root().join("models/logits/chat-story.npy")).unwrap()[128..]);
    assert_eq!(got.len(), wanted.len());
    // The reference keeps keys and values in 64 bits, the example in 16.
    let worst = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.02, "a logit is {worst} off");
}

#[test]
fn generate_applies_the_chat_template() {
    let question = "Who sells a rope?";
    let prompt = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
    let Some(chat) = output_of("generate", &["--chat", "-p", question]) else { return };
    assert_eq!(chat, "Odo the merchant sells a rope for 3 coins, in the market square.\n");
    let file = cc::scratch("prompts").join("prompt.txt");
    std::fs::write(&file, prompt).unwrap();
    assert_eq!(output_of("generate", &["-f", file.to_str().unwrap()]).unwrap(), chat);
    assert_eq!(output_of("generate", &["--chat", "-p", question, "--stop", " sells"]).unwrap(), "Odo the merchant\n");
    let seeded = |seed| {
        output_of(
            "generate",
            &["--chat", "-p", question, "--temp", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", seed, "-n", "20"],
        )
        .unwrap()
    };
    assert_eq!(seeded("7"), seeded("7"));
    assert_ne!(seeded("7"), seeded("8"));
}

#[test]
fn tokenize_matches_every_vector_both_ways() {
    let goldens = goldens();
    let folder = cc::scratch("texts");
    for (number, vector) in goldens["tokenizer"].as_array().unwrap().iter().enumerate() {
        let (text, wanted) = (vector["text"].as_str().unwrap(), ids(&vector["ids"]));
        let file = folder.join(format!("{number}.txt"));
        std::fs::write(&file, text).unwrap();
        let Some(got) = output_of("tokenize", &["-f", file.to_str().unwrap()]) else { return };
        assert_eq!(got.trim_end_matches('\n'), wanted, "{text:?}");
        let back = output_of("tokenize", &["--decode", &wanted]).unwrap();
        assert_eq!(back.strip_suffix('\n').unwrap(), text);
    }
    assert_eq!(output_of("tokenize", &["-p", "<|im_end|>"]).unwrap(), "2\n");
    assert_ne!(output_of("tokenize", &["-p", "<|im_end|>", "--no-special"]).unwrap(), "2\n");
}

#[test]
fn host_threads_says_the_same_on_threads_of_the_program() {
    let Some(text) = output_of("host_threads", &["-t", "3", "-p", "40", "-n", "20", "-r", "2"]) else { return };
    assert!(text.starts_with("3 threads") && text.ends_with("the same tokens: yes\n"), "{text}");
}

#[test]
fn the_minimal_program_talks_and_is_the_readmes() {
    let readme = std::fs::read_to_string(cc::root().join("README.md")).unwrap();
    let minimal = std::fs::read_to_string(cc::root().join("c-examples/embed_minimal.c")).unwrap();
    assert!(readme.contains(&format!("```c\n{minimal}```\n")), "the program of the README is not c-examples/embed_minimal.c");
    let prompt = "<|im_start|>user\nWho sells a rope?<|im_end|>\n<|im_start|>assistant\n";
    // It reads special tokens as plain text, so what it says is its own affair.
    let Some(text) = output_of("embed_minimal", &["models/emberfield-3m-q8_0.gguf", prompt]) else { return };
    assert!(text.len() > 20);
}

#[test]
fn load_progress_goes_through_the_stages_and_gives_up_cleanly() {
    let small = ["--budget", "0", "-t", "1"];
    let Some(output) = run("load_progress", &[&small[..], &["--estimate", "-c", "64"]].concat()) else { return };
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("mapped 3.") && lines[0].contains("scratch"), "{stdout}");
    assert!(lines[1].contains("emberfield"), "{stdout}");
    let frames: u32 = lines[2].split(' ').next().unwrap().parse().unwrap();
    assert!(frames > 50, "{stdout}");
    let stages: Vec<&str> = stderr.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(stages, ["file", "metadata", "tokenizer", "weights"].into_iter().skip(4 - stages.len()).collect::<Vec<_>>());
    assert!(output_of("load_progress", &["--read"]).unwrap().contains("frames in"));

    let late = run("load_progress", &["--deadline", "0"]).unwrap();
    assert_eq!((late.status.code(), late.stdout.as_slice()), (Some(130), b"given up after 1 frames; 0 bytes are held\n".as_slice()));
}

/// Runs a program, sends it Ctrl-C when it has said something on stderr or stdout, and waits for its end.
#[cfg(unix)]
pub(super) fn interrupted(program: &str, arguments: &[&str]) -> Option<Output> {
    use std::process::Stdio;
    let mut command = Command::new(programs()?.join(program));
    command.args(arguments).current_dir(cc::root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    // SAFETY: the process is this one's child and has not been waited for, so that its number is its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    Some(child.wait_with_output().unwrap())
}

#[test]
#[cfg(unix)]
fn control_c_ends_a_load_and_a_stream_cleanly() {
    // At 20 ms for each of more than 100 pieces, half a second is long before the end.
    let Some(load) = interrupted("load_progress", &["--budget", "0", "--frame", "20"]) else { return };
    let said = String::from_utf8(load.stdout).unwrap();
    assert_eq!(load.status.code(), Some(130), "{said}");
    assert!(said.starts_with("given up after") && said.ends_with("; 0 bytes are held\n"), "{said}");

    let stream = interrupted("stream", &["-p", "One misty morning,", "-n", "900", "--queue", "1", "--frame", "100"]).unwrap();
    let said = String::from_utf8(stream.stderr).unwrap();
    assert!(stream.status.success() && said.ends_with(", cancelled\n"), "{said}");
}

#[test]
fn stream_says_what_generate_says() {
    let question = "<|im_start|>user\nWho sells a rope?<|im_end|>\n<|im_start|>assistant\n";
    for arguments in [&["--queue", "1", "--frame", "1"], &["--queue", "64", "--frame", "0"]] {
        let Some(output) = run("stream", &[&["-p", question], &arguments[..]].concat()) else { return };
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "Odo the merchant sells a rope for 3 coins, in the market square.\n");
        assert!(String::from_utf8(output.stderr).unwrap().contains(" tokens in "));
    }
}

#[test]
fn errors_end_with_1_and_bad_usage_with_2() {
    let cases: &[(&str, &[&str], i32, &str)] = &[
        ("generate", &["-m", "no-such.gguf", "-p", "x"], 1, "no-such.gguf"),
        ("generate", &["-m", "README.md", "-p", "x"], 1, "README.md"),
        ("generate", &["-f", "no-such.txt"], 1, "no-such.txt"),
        ("generate", &["-p", "x", "--top-p", "7"], 1, "top_p"),
        ("generate", &["-p", "x", "--logits", "no-such-folder/file"], 1, "no-such-folder"),
        ("generate", &[], 2, "-p"),
        ("generate", &["-p", "x", "--convoy"], 2, "--convoy"),
        ("generate", &["-p", "x", "-n", "many"], 2, "many"),
        ("generate", &["-p", "x", "-t", "0"], 2, "-t"),
        ("generate", &["-p"], 2, "-p"),
        ("tokenize", &["--decode", "1 2 x"], 2, "x"),
        ("tokenize", &["--decode", "999999"], 1, "999999"),
        ("bench_stats", &["--ceiling"], 2, "--ceiling"),
        ("bench_stats", &["-p", "0", "-n", "0"], 2, "nothing"),
        ("bench_stats", &["--workload", "poem"], 2, "short_qa"),
        ("bench_stats", &["--convoy", "--prefill"], 2, "one benchmark at a time"),
        ("bench_stats", &["--convoy", "-p", "5"], 2, "do not go together"),
        ("bench_stats", &["-o", "x.json"], 2, "say which"),
        ("bench_stats", &["--quality", "x.gguf"], 2, "-f TEXT"),
        ("bench_stats", &["--roofline", "-f", "x.txt"], 2, "-f TEXT"),
        ("bench_stats", &["--quality", "no-such.gguf", "-f", "README.md"], 1, "no-such.gguf"),
        ("bench_stats", &["--report", "x", "--convoy"], 2, "one at a time"),
        ("bench_stats", &["--report", "x", "-o", "y"], 2, "no -o"),
        ("bench_stats", &["--convoy", "--set", "fruit=1"], 2, "fruit"),
        ("bench_stats", &["--compare", "README.md", "README.md"], 1, "baseline"),
        ("bench_stats", &["--check", "no-such.json"], 1, "no-such.json"),
        ("bench_stats", &["--convoy", "--set", "repeats=2"], 1, "repeats"),
        ("load_progress", &["-m", "no-such.gguf"], 1, "no-such.gguf"),
        ("load_progress", &["--budget", "-1"], 2, "--budget"),
        ("quantize", &["no-such.gguf", "/dev/null/x", "Q4_0"], 1, "no-such.gguf"),
        ("quantize", &["a", "b"], 2, "TYPE"),
        ("quantize", &["a", "b", "Q7"], 2, "Q7"),
        ("quantize", &["a", "b", "Q4_0", "--imatrix", "no-such.txt"], 1, "no-such.txt"),
        ("stream", &["-p", "x", "-m", "README.md"], 1, "README.md"),
        ("stream", &["-p", "x", "--queue", "0"], 2, "--queue"),
        ("embed", &["-p", "x"], 1, "not embeddings"),
        ("embed", &[], 2, "-p"),
        ("embed", &["-p", "x", "--pooling", "sum"], 2, "sum"),
    ];
    for &(program, arguments, status, named) in cases {
        let Some(output) = run(program, arguments) else { return };
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{program} {arguments:?}: {stderr}");
        assert!(stderr.contains(named) && stderr.starts_with(program), "{program} {arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{program} {arguments:?} printed to stdout");
    }
    for program in
        ["generate", "tokenize", "bench_stats", "load_progress", "stream", "village", "game_loop", "checkpoint", "own_memory", "embed"]
    {
        let help = output_of(program, &["--help"]).unwrap();
        assert!(help.starts_with("Usage: ") && help.contains("-m MODEL"));
    }
}

#[test]
fn embed_tells_equal_texts_from_others() {
    let encoder = ["-m", "tests/goldens/models/bert.gguf"];
    let texts = ["-p", "ab c", "-p", "AB C", "-p", "xyz"];
    let numbers = |text: &str| -> Vec<Vec<f64>> {
        text.lines().map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect()).collect()
    };
    let Some(text) = output_of("embed", &[&encoder[..], &texts].concat()) else { return };
    let similar = numbers(&text);
    // The vocabulary is of small letters, and the model's tokenizer makes them.
    assert_eq!((similar.len(), similar[0][0], similar[0][1]), (3, 1.0, 1.0));
    assert!(similar[0][2] < 0.999 && similar[0][2] == similar[2][1]);
    let vectors = |pooling: &[&str]| numbers(&output_of("embed", &[&encoder[..], &texts, &["--vectors"], pooling].concat()).unwrap());
    let mean = vectors(&[]);
    assert!(mean.len() == 3 && mean.iter().all(|vector| vector.len() == 32));
    assert_ne!(mean, vectors(&["--pooling", "cls"]));
}

#[test]
fn quantize_writes_a_model_that_speaks() {
    let folder = cc::scratch("quantized");
    let (out, text) = (folder.join("out.gguf"), folder.join("text.txt"));
    std::fs::write(&text, "One misty morning a smith met a king who had lost his lantern. ".repeat(10)).unwrap();
    let (input, out) = ("models/emberfield-3m-f32.gguf", out.to_str().unwrap());
    let Some(said) = output_of("quantize", &[input, out, "q6_k", "--threads", "2", "--imatrix", text.to_str().unwrap()]) else { return };
    assert!(said.contains(" tensors changed, 11.6 MB to 2.4 MB in "), "{said}");
    let goldens = goldens();
    let prompt = sturdy_prompts(&goldens)[0];
    let spoken = output_of("generate", &["-m", out, "-p", prompt["text"].as_str().unwrap(), "-n", "24", "--ignore-eos"]).unwrap();
    assert!(prompt["greedy_text"].as_str().unwrap().starts_with(spoken.trim_end_matches('\n')), "{spoken}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    assert!(output_of("quantize", &["--help"]).unwrap().contains("IQ4_XS"));
}

/// Asks the loopback interface for a page: the status line, and the body.
#[cfg(unix)]
fn asked(port: u16, request: &str) -> (String, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
#[cfg(unix)]
fn the_metrics_server_serves_pages_that_prometheus_takes() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let Some(programs) = programs() else { return };
    /// A server that is ended where an assertion fails; it steps sessions for ever.
    struct Server(std::process::Child);
    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut server = Command::new(programs.join("metrics_server"));
    let server = server.args(["--port", "0", "--answers", "5", "-t", "1"]).current_dir(cc::root()).stdout(Stdio::piped());
    let mut server = Server(server.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim_end().strip_suffix("/metrics").unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let get = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let tokens = |page: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with("loquat_generated_tokens_total")).unwrap_or_else(|| panic!("{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (status, first) = asked(port, get);
    assert_eq!(status, "HTTP/1.1 200 OK");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (_, second) = asked(port, get);
    assert!(tokens(&second) > tokens(&first), "{} then {} tokens", tokens(&first), tokens(&second));
    assert_eq!(asked(port, "GET / HTTP/1.1\r\n\r\n").0, "HTTP/1.1 404 Not Found");
    assert_eq!(asked(port, "POST /metrics HTTP/1.1\r\n\r\n").0, "HTTP/1.1 405 Method Not Allowed");
    // Somebody who connects and says nothing holds nobody up for long.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert!(server.0.wait().unwrap().success());
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("promtool is not installed: the page is not checked by it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(second.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn everybody_in_the_village_answers_as_if_alone() {
    let Some(twelve) = output_of("village", &["-n", "12"]) else { return };
    let lines: Vec<&str> = twelve.lines().collect();
    assert_eq!(lines.len(), 12, "{twelve}");
    assert!(lines[0].starts_with("the baker: ") && lines.iter().all(|line| line.split_once(": ").unwrap().1.len() > 10), "{twelve}");
    let two = output_of("village", &["-n", "12", "--people", "2", "-t", "1"]).unwrap();
    assert_eq!(two.lines().collect::<Vec<_>>(), lines[..2]);
}

#[test]
fn the_game_loop_shows_what_the_model_says_and_takes() {
    let arguments = ["-n", "8", "--frames", "40", "--work", "1", "--budget", "5", "--json"];
    let Some(text) = output_of("game_loop", &arguments) else { return };
    let json: Value = serde_json::from_str(&text).unwrap();
    let frames = json["with"]["frames"].as_u64().unwrap();
    assert!((9..=40).contains(&frames) && json["without"]["frames"] == 40, "{text}");
    assert_eq!(json["tokens"], 8);
    let goldens = goldens();
    let prompt = &goldens["prompts"].as_array().unwrap().iter().find(|prompt| prompt["text"] == "One misty morning,");
    if let Some(prompt) = prompt {
        assert!(prompt["greedy_text"].as_str().unwrap().starts_with(json["text"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn a_checkpoint_goes_on_as_if_the_program_had_never_ended() {
    if programs().is_none() {
        return;
    }
    let file = cc::scratch("checkpoint").join("talk.state");
    let _ = std::fs::remove_file(&file);
    let path = file.to_str().unwrap();
    let said = |arguments: &[&str]| output_of("checkpoint", &[&[path], arguments].concat()).unwrap();
    let text = [said(&["-n", "5"]), said(&["-n", "6", "-t", "1"])].map(|part| part.trim_end_matches('\n').to_owned()).concat();
    let whole = output_of("generate", &["-p", "One misty morning,", "-n", "11"]).unwrap();
    assert!(whole.trim_end_matches('\n').ends_with(&text) && text.len() > 20, "{whole:?} and {text:?}");
    let ways = said(&["-n", "4", "--ways", "3"]);
    assert_eq!(ways.lines().count(), 3);
    assert_eq!(said(&["-n", "4", "--ways", "3"]), ways, "the original stays where it is");
    std::fs::write(&file, b"LQSESS01 and then nothing of the kind").unwrap();
    let refused = run("checkpoint", &[path]).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("saved session"));
}

#[test]
fn a_host_with_its_own_memory_gets_all_of_it_back() {
    let Some(text) = output_of("own_memory", &["-c", "256"]) else { return };
    let bytes = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in {text}"));
        line[start.len()..].split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap()
    };
    assert_eq!(bytes("all freed"), 0);
    assert!(bytes("session made") > bytes("model loaded") && bytes("at most") <= bytes("estimated"));
    assert_eq!(bytes("session made"), bytes("after the talk"), "steps take nothing");
    let refused = run("own_memory", &["-c", "256", "--limit", "100000"]).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("memory budget"));
}
