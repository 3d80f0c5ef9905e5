//! What processes cost: CPU time and resident memory of the broker (from `/proc`) and CPU time of this program.
//! Owns reading these; judges nothing.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since its start.
    pub cpu: Duration,
    pub resident_bytes: u64,
}

/// Reads `/proc/PID/stat` and `/proc/PID/statm`.
pub fn usage_of(pid: u32) -> io::Result<Usage> {
    let describe = |error: io::Error| io::Error::new(error.kind(), format!("process {pid}: {error}"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(describe)?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).map_err(describe)?;
    let pages =
        resident_pages(&statm).ok_or_else(|| io::Error::other(format!("/proc/{pid}/statm is not understood")))?;
    Ok(Usage { cpu: cpu_of(&stat)?, resident_bytes: pages * system_setting(libc::_SC_PAGESIZE) })
}

/// CPU time of one thread of this program.
pub fn task_cpu(task: libc::pid_t) -> io::Result<Duration> {
    cpu_of(&fs::read_to_string(format!("/proc/self/task/{task}/stat"))?)
}

fn cpu_of(stat: &str) -> io::Result<Duration> {
    let ticks = cpu_ticks(stat).ok_or_else(|| io::Error::other("a stat file of /proc is not understood"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / system_setting(libc::_SC_CLK_TCK) as f64))
}

/// User and system ticks in a `/proc/PID/stat` line. The command name may hold blanks and brackets, so that fields
/// are counted from its last closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

fn system_setting(name: libc::c_int) -> u64 {
    // SAFETY: sysconf only reads its argument.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(1).max(1)
}

/// CPU time of this whole program.
pub fn own_cpu() -> Duration {
    resource_usage(libc::RUSAGE_SELF)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    resource_usage(libc::RUSAGE_THREAD)
}

fn resource_usage(who: libc::c_int) -> Duration {
    // SAFETY: rusage is plain data for which zeroes are valid, and getrusage writes nothing but it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let duration = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// Raises the soft limit of open files to the hard one and returns it: many connections are many files.
pub fn raise_open_file_limit() -> io::Result<u64> {
    // SAFETY: rlimit is plain data which getrlimit fills and setrlimit reads.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(limit.rlim_cur)
    }
}

/// Lets sleeps of the calling thread end within a microsecond of their time instead of the usual fifty.
pub fn sharpen_sleep() {
    const SLACK_NS: libc::c_ulong = 1_000;
    // SAFETY: PR_SET_TIMERSLACK takes a number and changes nothing but this thread's timers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_command_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 2 3 4 1200 34 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(1234));
        assert_eq!(cpu_ticks("42 (short) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn resident_pages_are_the_second_field() {
        assert_eq!(resident_pages("100 25 3 4 0 6 0\n"), Some(25));
        assert_eq!(resident_pages("100"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let usage = usage_of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0);
        assert!(usage_of(u32::MAX).is_err());
    }
}
