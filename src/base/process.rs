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
#[cfg(unix)]
pub fn faults() -> Option<(u64, u64)> {
    let usage = usage()?;
    Some((u64::try_from(usage.ru_minflt).ok()?, u64::try_from(usage.ru_majflt).ok()?))
}

/// Page faults so far: those that memory answered, and those that took the disk.
#[cfg(not(unix))]
pub fn faults() -> Option<(u64, u64)> {
    None
}

/// Bytes in memory: the most since the process was started, and now. Files that are mapped are part of it, as far as they were touched.
#[cfg(target_os = "linux")]
pub fn resident() -> Option<(u64, u64)> {
    // Not the most that `usage` tells: that goes back to before the program was loaded.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name| {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((bytes("VmHWM:")?, bytes("VmRSS:")?))
}

/// Bytes in memory: the most since the process was started, and now. Files that are mapped are part of it, as far as they were touched.
#[cfg(target_vendor = "apple")]
pub fn resident() -> Option<(u64, u64)> {
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

/// Bytes in memory: the most since the process was started, and now. Files that are mapped are part of it, as far as they were touched.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub fn resident() -> Option<(u64, u64)> {
    None
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
