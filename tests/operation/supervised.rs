//! systemd, or who speaks like it, hears how the broker is.

use crate::process::{Folder, Running, leveret};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Signs of life aside, which come when they come.
fn next(supervisor: &UnixDatagram) -> String {
    let mut words = [0; 256];
    loop {
        let count = supervisor.recv(&mut words).expect("it is told");
        let words = String::from_utf8_lossy(&words[..count]).into_owned();
        if words != "WATCHDOG=1" {
            return words;
        }
    }
}

#[test]
fn a_supervisor_is_told_of_starts_reloads_ends_and_life() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("a socket");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut command = leveret(&folder);
    command.args(["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0", "--prometheus-listen", "off"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let running = Running::of(command).expect("a broker that is ready");
    assert_eq!(next(&supervisor), "READY=1\nSTATUS=serving");
    running.client("");
    // Nobody says anything: the loop wakes by itself.
    for _ in 0..3 {
        let mut words = [0; 256];
        let count = supervisor.recv(&mut words).expect("a sign of life");
        assert_eq!(&words[..count], b"WATCHDOG=1");
    }
    running.signal(libc::SIGHUP);
    assert!(next(&supervisor).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(next(&supervisor), "READY=1\nSTATUS=serving");
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(next(&supervisor), "STOPPING=1\nSTATUS=closing connections");
}
