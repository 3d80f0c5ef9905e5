//! What the process may use and does use: descriptors, memory, CPU time.
//!
//! It reads limits and meters; what follows from them is decided elsewhere. Where a system does not offer a meter (this
//! reads Linux's /proc and /sys), the answer is `None`.

use std::io;

/// Raises the limit of open descriptors as far as the process may, and returns what it is then.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = descriptor_limit()?;
    if limit.rlim_cur < limit.rlim_max {
        set_descriptor_limit(limit.rlim_max)?;
    }
    Ok(descriptor_limit()?.rlim_cur)
}

fn descriptor_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the call to fill.
    let outcome = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if outcome == 0 { Ok(limit) } else { Err(io::Error::last_os_error()) }
}

/// Sets how many descriptors may be open, leaving how far that may be raised as it is.
pub(super) fn set_descriptor_limit(count: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: count, ..descriptor_limit()? };
    // SAFETY: `limit` is a valid rlimit that the call only reads.
    let outcome = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The descriptors that are open now. Costs the listing of a folder.
#[allow(clippy::disallowed_methods, reason = "the kernel's meters are files")]
pub fn open_descriptors() -> Option<u64> {
    // The listing itself holds one open while it counts.
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed).ok()?.checked_sub(1)
}

/// Lets the kernel back the process's memory with huge pages, or forbids it from now on. Pages that are there stay as they
/// are. True when it is as asked: systems without such a switch, and kernels without huge pages, say false.
#[cfg(target_os = "linux")]
pub fn set_huge_pages(allowed: bool) -> bool {
    const UNUSED: libc::c_ulong = 0;
    let disabled = libc::c_ulong::from(!allowed);
    // SAFETY: this option takes numbers, and changes nothing but where later page faults find their memory.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disabled, UNUSED, UNUSED, UNUSED) == 0 }
}

#[cfg(not(target_os = "linux"))]
pub fn set_huge_pages(_allowed: bool) -> bool {
    false
}

/// Makes the calling thread step back when others of the machine have something to do. The thread goes on as before where
/// the system knows no such thing.
#[cfg(target_os = "linux")]
pub fn step_back() {
    /// A tenth of what an ordinary thread gets when they compete.
    const NICENESS: libc::c_int = 10;
    const THIS_THREAD: libc::id_t = 0;
    // SAFETY: it takes numbers; on Linux it is about one thread, and changes nothing but how that is scheduled.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, NICENESS) };
}

#[cfg(not(target_os = "linux"))]
pub fn step_back() {}

/// The memory of the process that is in RAM now. Costs a file read: ask a few times a second, not every turn.
pub fn resident_bytes() -> Option<u64> {
    let pages = resident_pages(&read_text("/proc/self/statm")?)?;
    // SAFETY: sysconf only returns a number.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_bytes).ok()?)
}

/// The second field of statm.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The memory this process can have at most: the machine's, or less if its control group says so.
pub fn memory_limit_bytes() -> Option<u64> {
    memory_limit(read_text)
}

#[allow(clippy::disallowed_methods, reason = "the kernel's meters are files")]
fn read_text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn memory_limit(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let machine = read("/proc/meminfo").as_deref().and_then(total_memory_bytes);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().filter_map(|line| group_limit(line, &read)).min();
    machine.into_iter().chain(group).min()
}

/// `MemTotal:       16384 kB`
fn total_memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit behind one line of /proc/self/cgroup: `0::/path` for version 2, `7:memory:/path` for version 1. Every
/// ancestor may set one too, and inside a container the path may be the host's: then only the root can be read.
fn group_limit(line: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, file) = if hierarchy == "0" && controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let mut folder = path.trim_end_matches('/');
    let mut smallest = None;
    loop {
        // "max" and version 1's huge "unlimited" are no limits: the first is not a number, the second never the least.
        let limit = read(&format!("{root}{folder}/{file}")).and_then(|text| text.trim().parse::<u64>().ok());
        smallest = smallest.into_iter().chain(limit).min();
        match folder.rfind('/') {
            Some(parent) => folder = &folder[..parent],
            None => return smallest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const MIB: u64 = 1024 * 1024;

    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        let files: HashMap<&str, &str> = files.iter().copied().collect();
        memory_limit(|path| files.get(path).map(|text| (*text).to_owned()))
    }

    #[test]
    fn without_groups_the_machine_is_the_limit() {
        assert_eq!(limit_with(&[("/proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n")]), Some(2 * MIB));
        assert_eq!(limit_with(&[]), None);
    }

    #[test]
    fn the_smallest_limit_of_a_version_2_group_and_its_ancestors_counts() {
        let files = [
            ("/proc/meminfo", "MemTotal: 1048576 kB\n"),
            ("/proc/self/cgroup", "0::/system.slice/leveret.service\n"),
            ("/sys/fs/cgroup/system.slice/leveret.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
        ];
        assert_eq!(limit_with(&files), Some(256 * MIB));
    }

    #[test]
    fn inside_a_container_the_root_of_the_group_tree_counts() {
        let version_2 = [
            ("/proc/meminfo", "MemTotal: 1048576 kB\n"),
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/memory.max", "134217728\n"),
        ];
        assert_eq!(limit_with(&version_2), Some(128 * MIB));
        let version_1 = [
            ("/proc/meminfo", "MemTotal: 1048576 kB\n"),
            ("/proc/self/cgroup", "11:cpu,cpuacct:/docker/1\n7:memory:/docker/1\n0::/docker/1\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
        ];
        assert_eq!(limit_with(&version_1), Some(128 * MIB));
    }

    #[test]
    fn a_group_without_a_limit_leaves_the_machine() {
        let files = [
            ("/proc/meminfo", "MemTotal: 1024 kB\n"),
            ("/proc/self/cgroup", "7:memory:/\nnonsense\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit_with(&files), Some(MIB));
    }

    #[test]
    fn resident_memory_is_the_second_field() {
        assert_eq!(resident_pages("2200 510 400 1 0 90 0\n"), Some(510));
        assert_eq!(resident_pages(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_meters_of_this_process_read_plausibly() {
        let resident = resident_bytes().unwrap();
        let limit = memory_limit_bytes().unwrap();
        assert!(resident > 0 && resident < limit, "{resident} of {limit} bytes");
    }

    #[test]
    fn the_descriptor_limit_reaches_its_maximum_and_stays() {
        let raised = raise_descriptor_limit().unwrap();
        assert_eq!(raised, descriptor_limit().unwrap().rlim_max);
        assert_eq!(raise_descriptor_limit().unwrap(), raised);
    }
}
