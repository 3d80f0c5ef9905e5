//! Where the node is that leads. The settings say that with names mostly, and resolving one may take its time: a thread does
//! it, so that the loop waits for nobody.
//!
//! ```text
//!   another node leads ──┬── its address is a number ───────────────────────► known at once
//!                        └── a name ──► the thread, again until it succeeds ──► found, if that node still leads
//! ```

use crate::peers::passage::Leader;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How soon a name that could not be resolved is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Asked of whoever knows names; it may wait.
pub type Resolve = Box<dyn Fn(&str) -> io::Result<SocketAddr> + Send>;

/// The nodes of the settings, and where they are.
pub struct Addresses {
    nodes: BTreeMap<String, String>,
    asked: Sender<Asked>,
    found: Receiver<Leader>,
    /// The node whose address is awaited.
    awaited: RefCell<Option<String>>,
}

struct Asked {
    node: String,
    name: String,
}

impl Addresses {
    /// Starts the thread, which has `wake` called when it has found something.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        nodes: BTreeMap<String, String>,
        resolve: Resolve,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (asked, asks) = channel();
        let (finds, found) = channel();
        let find = move |leader| {
            // A loop that is gone needs nobody's address.
            let _ = finds.send(leader);
            wake();
        };
        std::thread::Builder::new().name("addresses".to_owned()).spawn(move || run(&asks, &resolve, find))?;
        Ok(Self { nodes, asked, found, awaited: RefCell::default() })
    }

    /// Another node leads, or nobody: says where it is, if that is known already.
    pub fn of_leader(&self, node: Option<String>) -> Option<Leader> {
        *self.awaited.borrow_mut() = None;
        self.found.try_iter().for_each(drop);
        let node = node?;
        let name = self.nodes.get(&node)?;
        if let Ok(address) = name.parse() {
            return Some(Leader { node, address });
        }
        // A thread that is gone said why.
        let _ = self.asked.send(Asked { node: node.clone(), name: name.clone() });
        *self.awaited.borrow_mut() = Some(node);
        None
    }

    /// Where the node is that leads, if that has just been found.
    pub fn found(&self) -> Option<Leader> {
        let mut awaited = self.awaited.borrow_mut();
        awaited.as_ref()?;
        let leader = self.found.try_iter().find(|leader| Some(&leader.node) == awaited.as_ref());
        if leader.is_some() {
            *awaited = None;
        }
        leader
    }
}

/// Resolves what was asked for last, until nobody asks any more.
fn run(asks: &Receiver<Asked>, resolve: &Resolve, find: impl Fn(Leader)) {
    let Ok(mut asked) = asks.recv() else { return };
    let mut is_told = false;
    loop {
        if let Some(latest) = asks.try_iter().last() {
            (asked, is_told) = (latest, false);
        }
        let Asked { node, name } = &asked;
        let next = match resolve(name) {
            Ok(address) => {
                find(Leader { node: node.clone(), address });
                asks.recv().map_err(|_| RecvTimeoutError::Disconnected)
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(target: "cluster", "clients can't be passed on to node {node}: {name} has no address: {error}");
                }
                asks.recv_timeout(AGAIN)
            }
        };
        match next {
            Ok(latest) => (asked, is_told) = (latest, false),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn leader(node: &str, port: u16) -> Leader {
        Leader { node: node.to_owned(), address: address(port) }
    }

    /// Three nodes, two of which have names; what is asked of whoever knows them, what that answers, and what wakes the loop.
    fn addresses() -> (Addresses, Receiver<String>, Sender<io::Result<SocketAddr>>, Receiver<()>) {
        let nodes = [("n1", "192.0.2.1:1"), ("n2", "two.example:2"), ("n3", "three.example:3")];
        let nodes = nodes.map(|(node, name)| (node.to_owned(), name.to_owned())).into();
        let ((asks, asked), (answer, answers)) = (channel(), channel());
        let (wakes, woken) = channel();
        let resolve = Box::new(move |name: &str| {
            asks.send(name.to_owned()).expect("the test asks");
            answers.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        });
        let addresses = Addresses::start(nodes, resolve, move || _ = wakes.send(())).expect("a thread");
        (addresses, asked, answer, woken)
    }

    #[test]
    fn numbers_are_known_at_once_and_names_are_awaited_by_nobody() {
        let (addresses, asked, answer, woken) = addresses();
        assert_eq!(addresses.of_leader(Some("n1".to_owned())), Some(leader("n1", 1)));
        assert_eq!(addresses.of_leader(Some("n9".to_owned())), None, "no node of the settings");
        assert_eq!(addresses.of_leader(Some("n2".to_owned())), None);
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "two.example:2");
        assert_eq!(addresses.found(), None, "whoever is asked takes its time");
        answer.send(Ok(address(2))).unwrap();
        woken.recv_timeout(PATIENCE).unwrap();
        assert_eq!((addresses.found(), addresses.found()), (Some(leader("n2", 2)), None));
    }

    #[test]
    fn where_somebody_was_who_leads_no_more_is_no_answer() {
        let (addresses, asked, answer, woken) = addresses();
        assert_eq!(addresses.of_leader(Some("n2".to_owned())), None);
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "two.example:2");
        assert_eq!(addresses.of_leader(None), None);
        assert_eq!(addresses.of_leader(Some("n3".to_owned())), None);
        answer.send(Ok(address(2))).unwrap();
        woken.recv_timeout(PATIENCE).unwrap();
        assert_eq!(addresses.found(), None);
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "three.example:3");
        answer.send(Ok(address(3))).unwrap();
        woken.recv_timeout(PATIENCE).unwrap();
        assert_eq!(addresses.found(), Some(leader("n3", 3)));
    }

    #[test]
    fn a_name_without_an_address_is_asked_for_again() {
        let (addresses, asked, answer, woken) = addresses();
        assert_eq!(addresses.of_leader(Some("n2".to_owned())), None);
        for answered in [Err(io::ErrorKind::NotFound.into()), Ok(address(2))] {
            assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "two.example:2");
            answer.send(answered).unwrap();
        }
        woken.recv_timeout(PATIENCE).unwrap();
        assert_eq!(addresses.found(), Some(leader("n2", 2)));
    }
}
