//! The system's cache of a file's pages: how much of a file is in it, and taking it out of it. Linux alone; elsewhere that is said.

use std::path::Path;

use super::error::{Error, Result};

/// The share of the file's pages that are in memory, 0 to 1; 1 for an empty file.
///
/// # Errors
/// `Io`; `Unsupported` on other systems than Linux.
#[cfg(target_os = "linux")]
pub fn resident_share(path: &Path) -> Result<f64> {
    let failed = |error: std::io::Error| Error::io(format!("ask for the pages of {}", path.display()), &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len() as usize;
    if length == 0 {
        return Ok(1.0);
    }
    // SAFETY: the mapping is never read, only asked about; what others do to the file does not matter.
    let map = unsafe { memmap2::MmapOptions::new().len(length).map(&file) }.map_err(failed)?;
    // SAFETY: a query.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
    let mut resident = Vec::new();
    let pages = length.div_ceil(page);
    resident.try_reserve_exact(pages).map_err(|_| Error::out_of_memory(format!("a list of {pages} pages")))?;
    resident.resize(pages, 0u8);
    // SAFETY: the range is that of the mapping, the list has a byte for each of its pages.
    if unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), length, resident.as_mut_ptr().cast()) } != 0 {
        return Err(failed(std::io::Error::last_os_error()));
    }
    Ok(resident.iter().filter(|&&page| page & 1 == 1).count() as f64 / pages as f64)
}

/// Asks the system to take the file's pages out of memory. A wish: pages that are mapped or not yet written stay; [`resident_share`] tells.
///
/// # Errors
/// `Io`; `Unsupported` on other systems than Linux.
#[cfg(target_os = "linux")]
pub fn evict(path: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;

    let failed = |error: std::io::Error| Error::io(format!("take the pages of {} out of memory", path.display()), &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    // SAFETY: an advice about an open file.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(failed(std::io::Error::from_raw_os_error(code))),
    }
}

/// See the other definition.
///
/// # Errors
/// `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn resident_share(_path: &Path) -> Result<f64> {
    Err(Error::unsupported("the pages of a file in memory are told on Linux alone"))
}

/// See the other definition.
///
/// # Errors
/// `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn evict(_path: &Path) -> Result<()> {
    Err(Error::unsupported("files are taken out of memory on Linux alone"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_is_in_memory() {
        let path = std::env::temp_dir().join(format!("loquat-page-cache-{}", std::process::id()));
        std::fs::write(&path, vec![7u8; 100_000]).unwrap();
        assert!(resident_share(&path).unwrap() > 0.9);
        evict(&path).unwrap();
        // Whether pages go is the system's choice; the share stays one.
        assert!((0.0..=1.0).contains(&resident_share(&path).unwrap()));
        std::fs::write(&path, []).unwrap();
        assert_eq!(resident_share(&path).unwrap(), 1.0);
        std::fs::remove_file(&path).unwrap();
        assert!(resident_share(&path).is_err() && evict(&path).is_err());
    }
}
