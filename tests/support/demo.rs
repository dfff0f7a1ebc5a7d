//! The demo model and its goldens.

use std::path::{Path, PathBuf};

/// A file of the demo model.
pub fn demo(file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")).join(file)
}

/// Whether cargo runs the tests through an emulator of this processor, as it does where a runner is set for the target.
pub fn emulated() -> bool {
    let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
    std::env::var_os(runner).is_some()
}

/// One prompt of `models/goldens.json`.
pub struct Golden {
    pub name: String,
    pub text: String,
    pub ids: Vec<u32>,
    pub greedy: Vec<u32>,
    pub greedy_text: String,
    pub gaps: Vec<f64>,
    pub logits: Option<PathBuf>,
}

/// All prompts of `models/goldens.json`.
pub fn goldens() -> Vec<Golden> {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(demo("goldens.json")).unwrap()).unwrap();
    let ids = |value: &serde_json::Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let prompts = json["prompts"].as_array().unwrap();
    prompts
        .iter()
        .map(|prompt| Golden {
            name: text(&prompt["name"]),
            text: text(&prompt["text"]),
            ids: ids(&prompt["ids"]),
            greedy: ids(&prompt["greedy"]),
            greedy_text: text(&prompt["greedy_text"]),
            gaps: prompt["gaps"].as_array().unwrap().iter().map(|gap| gap.as_f64().unwrap()).collect(),
            logits: Some(demo("logits").join(format!("{}.npy", prompt["name"].as_str().unwrap()))).filter(|path| path.exists()),
        })
        .collect()
}

/// `count` tokens of text, from prompt number `from` of the goldens on.
pub fn tokens(from: usize, count: usize) -> Vec<u32> {
    let prompts: Vec<Vec<u32>> = goldens().into_iter().map(|golden| golden.ids).collect();
    prompts.iter().cycle().skip(from).flatten().copied().take(count).collect()
}

/// The floats of a NumPy file (format 1.0, little-endian f32).
pub fn npy(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{}", path.display());
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}
