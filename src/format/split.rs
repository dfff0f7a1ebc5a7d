//! GGUF models that lie in several files: `NAME-00001-of-00003.gguf` and its fellows. The first has the metadata, all have tensors; each says which
//! one it is (`split.no`, from 0), of how many (`split.count`), and how many tensors there are altogether (`split.tensors.count`).

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gguf;
use super::model_file::Contents;
use super::source::Source;
use crate::base::{Error, MemoryBudget, Pace, Result};

/// Files of one model; the largest have some dozens.
const MAX_FILES: usize = 1024;

/// All files of the model that `path` is one of, in order; `None` where its name is not that of one of several.
///
/// # Errors
/// `InvalidFile` for a name with numbers that can't be.
pub(super) fn files(path: &Path) -> Result<Option<Vec<PathBuf>>> {
    let Some((stem, number, count)) = path.file_name().and_then(|name| name.to_str()).and_then(numbers) else { return Ok(None) };
    if number < 1 || number > count || count > MAX_FILES {
        return Err(Error::invalid_file(format!(
            "{}: the name says file {number} of {count}; there can be {MAX_FILES} at most",
            path.display()
        )));
    }
    Ok(Some((1..=count).map(|number| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"))).collect()))
}

/// Stem, number and count of a name like `stem-00001-of-00003.gguf`.
fn numbers(name: &str) -> Option<(&str, usize, usize)> {
    let rest = name.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five =
        |digits: &str| (digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten();
    Some((stem, five(number)?, five(count)?))
}

/// Reads all files of a model.
///
/// # Errors
/// As for one file; `InvalidFile` where the files say something else than their names; `Unsupported` for one of several alone.
pub(super) async fn read(sources: Vec<Source>, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Contents> {
    let count = sources.len();
    let mut whole: Option<Contents> = None;
    for (number, source) in sources.iter().enumerate() {
        let at = |error: Error| error.at(source.name());
        let mut contents = gguf::read(source.bytes(), budget, pace).await.map_err(at)?;
        check(&contents, number, count).map_err(at)?;
        contents.tensors.iter_mut().for_each(|tensor| tensor.file = number as u32);
        match &mut whole {
            None => whole = Some(contents),
            Some(whole) => {
                whole
                    .tensors
                    .try_reserve(contents.tensors.len())
                    .map_err(|_| Error::out_of_memory("no memory for the table of tensors"))?;
                whole.tensors.append(&mut contents.tensors);
            }
        }
    }
    let whole = whole.ok_or_else(|| Error::internal("a model of no files"))?;
    let found = whole.tensors.len() as u64;
    match whole.metadata.u64("split.tensors.count")? {
        Some(stated) if count > 1 && stated != found => {
            let error = format!("metadata key 'split.tensors.count': {stated}, but the {count} files have {found} tensors");
            Err(Error::invalid_file(error).at(sources[0].name()))
        }
        _ => Ok(whole),
    }
}

/// Holds what a file says about itself against its place.
fn check(contents: &Contents, number: usize, count: usize) -> Result<()> {
    let stated = contents.metadata.u64("split.count")?.unwrap_or(1).max(1);
    if count == 1 && stated > 1 {
        return Err(Error::unsupported(format!(
            "one of {stated} files of a model, alone; give a path whose name is NAME-00001-of-{stated:05}.gguf, with the others beside it"
        )));
    }
    if stated != count as u64 {
        return Err(Error::invalid_file(format!("metadata key 'split.count': {stated}, expected {count} by the name of the file")));
    }
    match contents.metadata.u64("split.no")? {
        Some(stated) if count > 1 && stated != number as u64 => {
            Err(Error::invalid_file(format!("metadata key 'split.no': {stated}, expected {number} by the name of the file")))
        }
        None if count > 1 => Err(Error::invalid_file("metadata key 'split.no' is missing")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_other_files() {
        let found = files(Path::new("/m/a-b-00002-of-00003.gguf")).unwrap().unwrap();
        let expected: Vec<PathBuf> = (1..=3).map(|number| format!("/m/a-b-0000{number}-of-00003.gguf").into()).collect();
        assert_eq!(found, expected);
        for alone in
            ["a.gguf", "a-1-of-3.gguf", "a-00001-of-3.gguf", "a-00001-of-00003.bin", "00001-of-00003.gguf", "a-0000x-of-00003.gguf"]
        {
            assert!(files(Path::new(alone)).unwrap().is_none(), "{alone}");
        }
        for wrong in ["a-00000-of-00003.gguf", "a-00004-of-00003.gguf", "a-00001-of-99999.gguf"] {
            assert!(files(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
