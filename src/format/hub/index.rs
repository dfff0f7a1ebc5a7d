//! `model.safetensors.index.json`: which tensor lies in which file.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use serde_json::Value;

use super::super::json;
use super::super::source::Source;
use crate::base::{Error, Pace, Result};

/// Files of one model; the largest have some hundred.
const MAX_FILES: usize = 4096;
/// What a name costs (see [`Pace::spend`]).
const NAME_COST: usize = 256;

/// The index, its file names checked.
#[derive(Debug)]
pub(in super::super) struct Index {
    name: String,
    /// The place in `files` by tensor.
    places: HashMap<String, u32>,
    files: Vec<String>,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// `InvalidFile` naming the byte or the tensor; so is a file name that leads out of the folder.
    pub(super) fn read(source: Source) -> Result<Self> {
        Self::parse(source.bytes(), source.name()).map_err(|error| error.at(source.name()))
    }

    fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let weight_map = match json::object(bytes)?.remove("weight_map") {
            Some(Value::Object(weight_map)) => weight_map,
            Some(other) => return Err(Error::invalid_file(format!("key 'weight_map': expected an object, found {}", json::kind(&other)))),
            None => return Err(Error::invalid_file("there is no key 'weight_map'")),
        };
        let mut files: Vec<String> = weight_map.values().filter_map(|file| file.as_str()).map(str::to_owned).collect();
        files.sort_unstable();
        files.dedup();
        if files.len() > MAX_FILES {
            return Err(Error::invalid_file(format!("key 'weight_map': {} files; at most {MAX_FILES} are allowed", files.len())));
        }
        if files.is_empty() {
            return Err(Error::invalid_file("key 'weight_map': it names no file"));
        }
        for file in &files {
            // Anything else could be a path: to another folder, a drive, a device.
            let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) && !file.starts_with('.');
            if !plain || !file.ends_with(".safetensors") {
                return Err(Error::invalid_file(format!(
                    "key 'weight_map': '{}' is not the name of a safetensors file",
                    file.escape_debug()
                )));
            }
        }
        let mut places = HashMap::new();
        places.try_reserve(weight_map.len()).map_err(|_| Error::out_of_memory("no memory for the index"))?;
        for (tensor, file) in weight_map {
            let file = file.as_str().and_then(|file| files.binary_search_by(|known| known.as_str().cmp(file)).ok());
            let file =
                file.ok_or_else(|| Error::invalid_file(format!("key 'weight_map': tensor '{tensor}': expected the name of a file")))?;
            places.insert(tensor, file as u32);
        }
        Ok(Self { name: name.to_owned(), places, files })
    }

    /// The names of the files, ascending.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// Holds the tensors of the files, by name and number of their file, against the index.
    ///
    /// # Errors
    /// `InvalidFile` naming a tensor that one has and the other has not, or has elsewhere.
    pub(super) async fn check<'a>(&self, sources: &[Source], tensors: impl Iterator<Item = (&'a str, u32)>, pace: &Pace) -> Result<()> {
        let error = |message: String| Error::invalid_file(format!("{}: key 'weight_map': {message}", self.name));
        let mut listed: HashMap<&str, u32> = self.places.iter().map(|(tensor, file)| (&**tensor, *file)).collect();
        for (tensor, file) in tensors {
            pace.spend(NAME_COST).await;
            let there = &self.files[file as usize];
            match listed.remove(tensor) {
                Some(said) if said == file => {}
                Some(said) => {
                    return Err(error(format!("tensor '{tensor}' is said to lie in {}, but lies in {there}", self.files[said as usize])));
                }
                None => return Err(error(format!("tensor '{tensor}' of {there} is missing, or is in two files"))),
            }
        }
        match listed.iter().min() {
            Some((tensor, file)) => Err(error(format!("tensor '{tensor}' is not in {}", sources[*file as usize].name()))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in [
            "../x.safetensors",
            "/x.safetensors",
            "a/b.safetensors",
            "C:x.safetensors",
            ".x.safetensors",
            "x.bin",
            "",
            "a\\\\b.safetensors",
        ] {
            let text = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            let error = Index::parse(text.as_bytes(), "index").unwrap_err();
            assert!(error.message().contains("is not the name of a safetensors file"), "{error}");
        }
        for (text, says) in [
            (r#"{"weight_map": {}}"#, "names no file"),
            (r#"{"weight_map": {"a": 1, "b": "x.safetensors"}}"#, "tensor 'a': expected"),
            (r#"{"weight_map": {"a": "x.safetensors", "a": "x.safetensors"}}"#, "stands twice"),
            (r#"{}"#, "no key 'weight_map'"),
            (r#"{"weight_map": []}"#, "expected an object, found an array"),
        ] {
            let error = Index::parse(text.as_bytes(), "index").unwrap_err();
            assert!(error.message().contains(says), "{error}");
        }
        let index =
            Index::parse(br#"{"metadata": {"total_size": 1}, "weight_map": {"b": "2.safetensors", "a": "1.safetensors"}}"#, "i").unwrap();
        assert_eq!(index.files(), ["1.safetensors", "2.safetensors"]);
    }
}
