//! What the system counts of this process: its memory and its page faults. Linux and Apple's systems; elsewhere there is no answer.
//!
//! Not here: what the library counts of its own memory (`memory`).

#[cfg(unix)]
fn usage() -> Option<libc::rusage> {
    // SAFETY: all-zero bytes are a valid struct, which is what the call writes to.
    unsafe {
        let mut usage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &mut usage) == 0).then_some(usage)
    }
}

/// Page faults so far: those that memory answered, and those that took the disk.
pub fn faults() -> Option<(u64, u64)> {
    #[cfg(unix)]
    return usage().and_then(|usage| Some((u64::try_from(usage.ru_minflt).ok()?, u64::try_from(usage.ru_majflt).ok()?)));
    #[cfg(not(unix))]
    None
}

/// Bytes in memory: the most since the process was started, and now. Files that are mapped are part of it, as far as they were touched.
pub fn resident() -> Option<(u64, u64)> {
    resident_here()
}

#[cfg(target_vendor = "apple")]
fn resident_here() -> Option<(u64, u64)> {
    let size = size_of::<libc::proc_taskinfo>() as libc::c_int;
    // SAFETY: all-zero bytes are a valid struct, which is what the call writes to, having been told its size.
    let now = unsafe {
        let mut info: libc::proc_taskinfo = std::mem::zeroed();
        let written = libc::proc_pidinfo(libc::getpid(), libc::PROC_PIDTASKINFO, 0, (&raw mut info).cast(), size);
        (written == size).then_some(info.pti_resident_size)
    };
    // Bytes here; kilobytes on other systems.
    Some((u64::try_from(usage()?.ru_maxrss).ok()?, now?))
}

#[cfg(not(target_vendor = "apple"))]
fn resident_here() -> Option<(u64, u64)> {
    use super::procfs::{field, kilobytes};

    // Not the most that `usage` tells: that goes back to before the program was loaded.
    let status = |name| field("/proc/self/status", name).and_then(|text| kilobytes(&text));
    // In this order: the most can only have grown meanwhile.
    let now = status("VmRSS")?;
    Some((status("VmHWM")?, now))
}

#[cfg(all(test, any(target_os = "linux", target_vendor = "apple")))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_counts() {
        let (before, size) = (faults().unwrap().0, 32 << 20);
        let touched = std::hint::black_box(vec![1u8; size]);
        let (peak, now) = resident().unwrap();
        assert!(peak >= now && now >= size as u64, "{peak} and {now}");
        assert!(faults().unwrap().0 > before, "{}", touched.len());
    }
}
