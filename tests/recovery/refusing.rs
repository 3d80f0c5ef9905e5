//! A system that refuses: the program runs as it is, and the kernel fails some of its calls, by a seccomp filter that the
//! child installs before it becomes the broker. No privilege is needed for that, and nothing in the program knows of it.

use std::io;

/// What the kernel answers, and to which calls.
#[derive(Clone, Copy)]
pub struct Refusal {
    call: libc::c_long,
    argument: u32,
    when: When,
    error: libc::c_int,
}

/// What the argument must be like.
#[derive(Clone, Copy)]
enum When {
    AtLeast(u32),
    AnyBitOf(u32),
}

/// Descriptors of this number and above are the unlucky ones. Whoever wants the broker's next file to be unlucky connects
/// so many clients before it is opened.
pub const UNLUCKY_DESCRIPTOR: u32 = 80;

impl Refusal {
    /// Writes that begin at this offset of their file, or behind it.
    pub fn of_writes_from(offset: u32, error: libc::c_int) -> Self {
        Self { call: libc::SYS_pwrite64, argument: 3, when: When::AtLeast(offset), error }
    }

    /// fdatasync of an unlucky file.
    pub fn of_syncs(error: libc::c_int) -> Self {
        Self { call: libc::SYS_fdatasync, argument: 0, when: When::AtLeast(UNLUCKY_DESCRIPTOR), error }
    }

    /// Room for an unlucky file.
    pub fn of_room(error: libc::c_int) -> Self {
        Self { call: libc::SYS_fallocate, argument: 0, when: When::AtLeast(UNLUCKY_DESCRIPTOR), error }
    }

    /// Files opened to be written: all is read-only, also for root.
    pub fn of_opening_for_writing() -> Self {
        let writing = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT).cast_unsigned();
        Self { call: libc::SYS_openat, argument: 2, when: When::AnyBitOf(writing), error: libc::EROFS }
    }

    /// The user's number: it is another one, which owns nothing.
    pub fn of_the_user() -> Self {
        Self { call: libc::SYS_geteuid, argument: 0, when: When::AtLeast(0), error: libc::EPERM }
    }

    /// IPv6: the machine has none.
    pub fn of_ipv6() -> Self {
        // The one bit that tells its number from those of the other families in use.
        let ipv6 = (libc::AF_INET6 & !libc::AF_INET).cast_unsigned();
        Self { call: libc::SYS_socket, argument: 0, when: When::AnyBitOf(ipv6), error: libc::EAFNOSUPPORT }
    }

    /// Puts the filter on this process and all that it becomes and starts. Calls nothing but the system, as it runs
    /// between fork and exec.
    pub fn install(self) -> io::Result<()> {
        /// Where the number of the call and the lower halves of its arguments lie in what the filter looks at.
        const CALL_AT: u32 = 0;
        const ARGUMENTS_AT: u32 = 16;
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let answer = libc::BPF_RET | libc::BPF_K;
        let (test, operand) = match self.when {
            When::AtLeast(least) => (libc::BPF_JGE, least),
            When::AnyBitOf(bits) => (libc::BPF_JSET, bits),
        };
        let filter = [
            statement(load, CALL_AT),
            // Another call: on to the last line.
            libc::sock_filter { jf: 3, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, self.call as u32) },
            statement(load, ARGUMENTS_AT + 8 * self.argument + if cfg!(target_endian = "big") { 4 } else { 0 }),
            libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | test | libc::BPF_K, operand) },
            statement(answer, libc::SECCOMP_RET_ERRNO | self.error as u32),
            statement(answer, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: both calls take numbers and a program that lives until they return; the kernel copies it.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        };
        if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
