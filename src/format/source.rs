//! Where a model file's bytes come from: a mapping of the file, a private copy of it, or memory that the host lends.
//!
//! Whichever it is, the floors above see one [`SharedBytes`]; the place in the memory budget is held by the owner of the bytes and
//! given back with the last view of them. The meaning of the bytes is not known here.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::base::memory::Filling;
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Reservation, Result, SharedBytes, at_once};

/// How a file is brought into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Mapped read-only: nothing is copied, pages are read when they are touched and shared with other processes.
    ///
    /// The file must not be changed or truncated while the model lives: on Unix a page that lies beyond the new end raises SIGBUS
    /// when it is touched. Use [`Read`](Self::Read) where that can't be promised.
    #[default]
    Map,
    /// Read into private memory, which counts against the budget. What happens to the file afterwards does not matter.
    Read,
}

/// Something that can be read at any place.
pub trait ReadAt: Send + Sync {
    /// Reads some bytes from `offset` on into `buffer` and returns how many: 0 at the end.
    ///
    /// # Errors
    /// Whatever the system, or the host, says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(self, buffer, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(self, buffer, offset);
    }
}

/// The bytes of a model file, and the name under which errors speak of it.
#[derive(Debug)]
pub struct Source {
    bytes: SharedBytes,
    name: String,
}

impl Source {
    /// The regular file at `path`.
    ///
    /// # Errors
    /// [`Io`](crate::base::ErrorKind::Io) naming the path where the system refuses or the path is no regular file;
    /// [`OutOfMemory`](crate::base::ErrorKind::OutOfMemory) where the budget has no room for a private copy.
    pub fn open(path: &Path, access: Access, budget: &Arc<MemoryBudget>) -> Result<Self> {
        at_once(Self::open_paced(path, access, budget, &Pace::unhurried()))
    }

    /// As [`open`](Self::open), in pieces. Progress counts the bytes that are copied, so none for a mapping.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn open_paced(path: &Path, access: Access, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        Self::open_within(path, access, u64::MAX, budget, pace).await
    }

    /// As [`open_paced`](Self::open_paced), for a file of at most `limit` bytes.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and `InvalidFile` for a longer file.
    pub(super) async fn open_within(path: &Path, access: Access, limit: u64, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let name = path.display().to_string();
        let doing = |verb: &str| format!("{verb} {name}");
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let kind = std::fs::metadata(path).map_err(|error| Error::io(doing("open"), &error))?;
        if !kind.is_file() {
            let reason = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
            return Err(Error::new(crate::base::ErrorKind::Io, format!("{}: {reason}", doing("open"))));
        }
        let file = File::open(path).map_err(|error| Error::io(doing("open"), &error))?;
        let len = file.metadata().map_err(|error| Error::io(doing("stat"), &error))?.len();
        if len > limit {
            return Err(Error::invalid_file(format!("{name}: {len} bytes; at most {limit} are read")));
        }
        Self::within(&file, 0, len, name, access, budget, pace).await
    }

    async fn within(
        file: &File,
        offset: u64,
        len: u64,
        name: String,
        access: Access,
        budget: &Arc<MemoryBudget>,
        pace: &Pace,
    ) -> Result<Self> {
        let size = usize::try_from(len).map_err(|_| Error::out_of_memory(format!("{name}: {len} bytes pass the address space")))?;
        let bytes = match access {
            // An empty range can't be mapped.
            Access::Map if size > 0 => map(file, offset, size, budget).map_err(|error| Error::io(format_args!("map {name}"), &error))?,
            Access::Map | Access::Read => {
                read(file, offset, size, budget, pace).await.map_err(|error| error.at(format_args!("read {name}")))?
            }
        };
        Ok(Self { bytes, name })
    }

    /// `len` bytes of `file` from `offset` on.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `InvalidArgument` where the file has no such part.
    pub(super) async fn part(
        file: File,
        offset: u64,
        len: u64,
        name: String,
        access: Access,
        budget: &Arc<MemoryBudget>,
        pace: &Pace,
    ) -> Result<Self> {
        let status = file.metadata().map_err(|error| Error::io(format_args!("stat {name}"), &error))?;
        if !status.is_file() {
            return Err(Error::new(crate::base::ErrorKind::Io, format!("{name}: it is not a regular file")));
        }
        if offset.checked_add(len).is_none_or(|end| end > status.len()) {
            let error = format!("{name}: {len} bytes from offset {offset} on, but the file has {} bytes", status.len());
            return Err(Error::invalid_argument(error));
        }
        Self::within(&file, offset, len, name, access, budget, pace).await
    }

    /// All `len` bytes that `reader` has, in private memory.
    ///
    /// # Errors
    /// `Io` where it fails or ends early, `OutOfMemory` by the budget.
    pub(super) async fn read(reader: &dyn ReadAt, len: u64, name: String, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<Self> {
        let size = usize::try_from(len).map_err(|_| Error::out_of_memory(format!("{name}: {len} bytes pass the address space")))?;
        let bytes = read(reader, 0, size, budget, pace).await.map_err(|error| error.at(&name))?;
        Ok(Self { bytes, name })
    }

    /// Bytes that lie in memory already, owned by the host or a test. They are not counted in any budget.
    pub fn lent(bytes: SharedBytes, name: impl Into<String>) -> Self {
        Self { bytes, name: name.into() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &SharedBytes {
        &self.bytes
    }

    /// The name under which errors speak of it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of bytes.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is refused by who reads it")]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes and the name.
    pub fn into_parts(self) -> (SharedBytes, String) {
        (self.bytes, self.name)
    }
}

/// A mapping and its entry in the memory accounts.
struct Mapped {
    map: memmap2::Mmap,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

#[allow(unsafe_code, reason = "mapping a file is the one unsafe operation of this floor")]
fn map(file: &File, offset: u64, len: usize, budget: &Arc<MemoryBudget>) -> std::io::Result<SharedBytes> {
    // SAFETY: the mapping is read-only and private to this owner, and stays at its address until dropped. That nobody changes the
    // file meanwhile is asked of the caller in the documentation of Access::Map; all reads above tolerate any bytes.
    let map = unsafe { memmap2::MmapOptions::new().offset(offset).len(len).map(file)? };
    ask_for_large_pages(&map);
    let reservation = budget.reserve(MemoryCategory::WeightsMapped, len as u64).map_err(std::io::Error::other)?;
    Ok(SharedBytes::rereadable(Arc::new(Mapped { map, _reservation: reservation }), forget))
}

/// Asks that pages which come from the disk be large ones, where the file system can (Linux: ext4, XFS, Btrfs of late). A wish: what is in
/// memory already stays as it is, in pieces as large as those it was written or read in.
///
/// In 4 KiB pages one thread reads a mapped file with 22 to 28 GB/s, in pages of 2 MiB with 30 to 33 (Zen 4, in a virtual machine):
/// fewer addresses have to be translated, and the processor's prefetchers, which stop at the end of a page, go on.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(map: &memmap2::Mmap) {
    const LARGE: usize = 2 << 20;
    if map.len() >= LARGE {
        // Refused by kernels that were built without large pages, which changes nothing else.
        let _ = map.advise(memmap2::Advice::HugePage);
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_map: &memmap2::Mmap) {}

/// Takes pages of a mapping out of the process; the system keeps them as long as it likes. The page that the bytes end in stays for those behind.
#[cfg(unix)]
#[allow(unsafe_code, reason = "as for mapping")]
fn forget(bytes: &[u8]) {
    // SAFETY: a question without arguments that are memory.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
    let (start, end) = (bytes.as_ptr() as usize / page * page, (bytes.as_ptr() as usize + bytes.len()) / page * page);
    if end > start {
        // SAFETY: the pages are those of a read-only mapping of a file, which come back with the file's bytes when they are touched.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The system trims the pages of mappings by itself.
#[cfg(not(unix))]
fn forget(_bytes: &[u8]) {}

/// Bytes that are read at a time.
const READ: usize = 1 << 18;

async fn read(reader: &dyn ReadAt, start: u64, len: usize, budget: &Arc<MemoryBudget>, pace: &Pace) -> Result<SharedBytes> {
    let mut filling = Filling::new(budget, MemoryCategory::WeightsPrivate, len, pace.remains())?;
    pace.expect(len as u64);
    let mut offset = start;
    loop {
        let part = filling.next(READ);
        if part.is_empty() {
            break;
        }
        let (bytes, mut done) = (part.len(), 0);
        while done < bytes {
            match reader.read_at(&mut part[done..], offset + done as u64) {
                Ok(0) => {
                    let error = format!("{len} bytes from offset {start} on: it ends at {}", offset + done as u64);
                    return Err(Error::new(crate::base::ErrorKind::Io, error));
                }
                Ok(read) => done += read.min(bytes - done),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(format_args!("{len} bytes"), &error)),
            }
        }
        offset += bytes as u64;
        pace.work(bytes).await;
    }
    Ok(filling.finish().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    fn file_with(bytes: &[u8], name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("loquat-source-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn mapped_and_read_bytes_are_equal_and_accounted_until_the_last_view_goes() {
        let path = file_with(&[7; 5000], "accounts");
        for (access, category) in [(Access::Map, MemoryCategory::WeightsMapped), (Access::Read, MemoryCategory::WeightsPrivate)] {
            let budget = MemoryBudget::new(5000);
            let (bytes, _) = Source::open(&path, access, &budget).unwrap().into_parts();
            assert_eq!(&*bytes, &[7; 5000]);
            let view = bytes.slice(10..20).unwrap();
            drop(bytes);
            assert_eq!(budget.used(category), 5000, "{access:?}");
            drop(view);
            assert_eq!(budget.used(category), 0, "{access:?}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn forgotten_bytes_come_back() {
        // Large pages are asked for from 2 MiB on.
        for len in [50_000, 5_000_000] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let path = file_with(&content, "forgotten");
            for access in [Access::Map, Access::Read] {
                let (bytes, _) = Source::open(&path, access, &MemoryBudget::new(len as u64)).unwrap().into_parts();
                let part = bytes.slice(100..len - 1000).unwrap();
                for range in [0..len - 1100, 1..2, len / 10..len / 2, 0..len + 10_000, 7..7] {
                    part.forget(range);
                    assert!(*bytes == content, "{access:?}, {len} bytes");
                }
            }
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn the_budget_holds_private_copies_but_not_mappings() {
        let path = file_with(&[7; 5000], "budget");
        let budget = MemoryBudget::new(4999);
        assert_eq!(Source::open(&path, Access::Read, &budget).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!(budget.private_used(), 0);
        Source::open(&path, Access::Map, &budget).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn empty_files_give_no_bytes() {
        let path = file_with(&[], "empty");
        for access in [Access::Map, Access::Read] {
            assert!(Source::open(&path, access, &MemoryBudget::new(0)).unwrap().into_parts().0.is_empty());
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_file_is_an_io_error_that_names_it() {
        let directory = std::env::temp_dir();
        let missing = directory.join("loquat-no-such-file");
        for (path, says) in [(&directory, "it is a directory"), (&missing, "loquat-no-such-file")] {
            let error = Source::open(path, Access::Map, &MemoryBudget::new(0)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.message().contains(says), "{error}");
            assert!(error.message().contains(&path.display().to_string()), "{error}");
        }
    }
}
