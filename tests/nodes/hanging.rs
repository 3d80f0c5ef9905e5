//! Disks that hang: the one thread of a node that writes its log stands still, and all others go on.

use crate::cluster::{Cluster, PATIENCE, name, others, publish, take_all, wait_until};
use crate::support::client::Event;
use std::collections::BTreeSet;
use std::marker::PhantomData;

/// What the system is told of a thread that another process looks at: also one that is no process's first.
const ANY_THREAD: libc::c_int = libc::__WALL;

/// A node whose disk answers nothing until this is dropped. Only the thread that made it can end it.
pub struct HungDisk {
    writer: libc::pid_t,
    of_this_thread: PhantomData<*const ()>,
}

impl HungDisk {
    pub fn of(cluster: &Cluster, node: usize) -> Self {
        let writer = thread_of(cluster.pid(node), "log-writer");
        trace(libc::PTRACE_SEIZE, writer);
        trace(libc::PTRACE_INTERRUPT, writer);
        let mut status = 0;
        // SAFETY: a thread that we have just seized, and a number of ours.
        let stopped = unsafe { libc::waitpid(writer, &raw mut status, ANY_THREAD) };
        assert!(stopped == writer && libc::WIFSTOPPED(status), "it stands still: {status:x}");
        Self { writer, of_this_thread: PhantomData }
    }
}

impl Drop for HungDisk {
    fn drop(&mut self) {
        trace(libc::PTRACE_DETACH, self.writer);
    }
}

fn trace(what: libc::c_uint, thread: libc::pid_t) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests above looks at an address of ours.
    let outcome = unsafe { libc::ptrace(what, thread, nothing, nothing) };
    assert_eq!(outcome, 0, "ptrace: {}", std::io::Error::last_os_error());
}

fn thread_of(pid: libc::pid_t, name: &str) -> libc::pid_t {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process of ours");
    let paths = threads.map(|entry| entry.expect("a thread").path());
    let is_it = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let found: Vec<_> = paths.filter(is_it).collect();
    let [path] = &found[..] else { panic!("one thread is {name}: {found:?}") };
    path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a number")
}

/// It answers pings, says that it leads, and does nothing any more: a zombie.
#[test]
fn a_leader_whose_disk_hangs_is_no_zombie() {
    let cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let mut client = cluster.client(others(leader)[0]);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let mut confirmed = publish(&mut client, 0..10);
    let disk = HungDisk::of(&cluster, leader);
    // It goes on until the lead goes, and is closed then.
    confirmed.extend(publish(&mut client, 10..100_000));
    let next = cluster.wait_for_another(leader);
    confirmed.extend(publish(&mut cluster.client(next), 100_000..100_010));
    assert_eq!(cluster.wait_for_leader(leader), next, "it knows who leads, and passes clients there");
    drop(disk);
    cluster.wait_until_whole();
    let found: BTreeSet<usize> = take_all(&mut cluster.client(leader)).into_iter().collect();
    assert!(confirmed.is_subset(&found), "{:?} were confirmed", confirmed.difference(&found).collect::<Vec<_>>());
}

#[test]
fn a_follower_whose_disk_hangs_holds_up_nobody() {
    // More than what most nodes may be behind: 8 MiB, and 64 batches.
    const MESSAGES: usize = 160;
    const LENGTH: usize = 64 << 10;
    let cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let [hanging, _] = others(leader);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    client.send("confirm.select");
    client.expects("confirm.select-ok");
    let disk = HungDisk::of(&cluster, hanging);
    let body = "x".repeat(LENGTH);
    for _ in 0..MESSAGES {
        client.send(&format!("publish exchange='' routing_key=q delivery_mode=2 body='{body}'"));
        assert!(matches!(client.next(1, PATIENCE), Event::Method(method) if method.name == "basic.ack"));
    }
    let view = cluster.view(leader).expect("it leads");
    assert_eq!(view["leader"], name(leader).as_str(), "nobody else leads on its account");
    wait_until("it is seen to lack all of it", || {
        let view = cluster.view(leader).expect("it leads");
        view["nodes"][hanging]["behind_bytes"].as_u64() > Some((MESSAGES * LENGTH) as u64)
    });
    drop(disk);
    assert_eq!(cluster.wait_until_whole(), leader);
}
