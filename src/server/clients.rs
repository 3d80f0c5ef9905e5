//! The sockets of the connections, and which of them are to be read.
//!
//! It owns in which list a client waits, and nothing of why. Whoever takes a client in hand says where it goes next.

use super::rest::Rest;
use crate::broker::ConnectionId;
use crate::reactor::Socket;
use std::collections::VecDeque;

/// Clients of each list that are asked in one turn whether their wait is over. The next ones are asked in the next turn, and
/// who waits on gets behind them, so that a turn doesn't grow with their number and everybody is asked.
const ASKED_PER_TURN: usize = 256;

/// What becomes of the bytes that a client sent. Each client has one of these, and is in the list that it names, once, and
/// in no other.
///
/// ```text
///              an edge           its turn comes
///        Idle ────────▶ Listed ────────────────▶ InHand
///         ▲              ▲ ▲ ▲                    │
///         │              │ │ │     more waits     │
///         │              │ │ └────────────────────┤
///         │              │ │                      ├─ a queue is full, or the disk behind ──▶ Pressed
///         │              │ └──────────────────────┼───────────────── the next turn ──────────┘
///         │              │                        ├─ an alarm ──▶ Alarmed
///         │              ├────────────────────────┼─ its end, or an edge ──┘
///         │              │                        ├─ a login ──▶ AwaitingLogin
///         │              ├────────────────────────┼── its answer ─────┘
///         │              │                        ├─ a command has to wait ──▶ AwaitingMessages
///         │              └────────────────────────┼─ that comes to an end ───────────┘
///         │         nothing more waits            │
///         └───────────────────────────────────────┘
/// ```
/// A client that we ended our side with is read like any other, until it hangs up: what comes is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Nothing is waiting on its socket, as far as is known; an edge will tell when that changes.
    Idle,
    /// Bytes may be waiting: in the line of those to be read.
    Listed,
    /// Its turn has come: in no list, until it is said where it goes.
    InHand,
    /// It may not be read for a moment: in the list of those to be asked again soon.
    Pressed,
    /// What it sent last is a command that waits for messages to come back to memory, or for room to answer in: in the
    /// list of those whose wait may have ended.
    AwaitingMessages,
    /// Its login is being checked: it is not read before the hub says so, and if it hangs up, that is noticed then.
    AwaitingLogin,
    /// It is not read before the hub says so.
    Alarmed,
}

/// What becomes of bytes that are to be sent to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// Its socket takes some, as far as is known.
    Open,
    /// Its socket is full; an edge will say when there is room.
    Full,
    /// We ended our side of the stream and wait for the client's end, so that our last words aren't lost to a reset.
    Ended,
}

/// What is known of a client's socket.
pub struct Client<S = Socket> {
    pub socket: S,
    pub sending: Sending,
    /// An edge said that the peer sends nothing more. There is no other edge for that, so a drained socket doesn't count:
    /// it is read until a receive says the same, or finds nothing.
    pub ended: bool,
    pub rest: Rest,
    reading: Reading,
    /// Tells it from those who had its id before.
    serial: u64,
}

/// A place in a list. It is nobody's when the client is gone, though another may have its id.
#[derive(Clone, Copy)]
struct Place {
    id: ConnectionId,
    serial: u64,
}

pub struct Clients<S = Socket> {
    clients: Vec<Option<Client<S>>>,
    next_serial: u64,
    /// Those [`Reading::Listed`], in the order in which they get their turn.
    to_read: VecDeque<Place>,
    /// Those [`Reading::Pressed`].
    pressed: VecDeque<Place>,
    /// Those [`Reading::AwaitingMessages`].
    awaiting: VecDeque<Place>,
}

impl<S> Default for Clients<S> {
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            next_serial: 0,
            to_read: VecDeque::new(),
            pressed: VecDeque::new(),
            awaiting: VecDeque::new(),
        }
    }
}

impl<S> Clients<S> {
    pub fn insert(&mut self, id: ConnectionId, socket: S) {
        let index = id.0 as usize;
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let client = Client {
            socket,
            sending: Sending::Open,
            ended: false,
            rest: Rest::default(),
            reading: Reading::Idle,
            serial,
        };
        self.clients[index] = Some(client);
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Client<S>> {
        self.clients.get_mut(id.0 as usize)?.take()
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Client<S>> {
        self.clients.get_mut(id.0 as usize)?.as_mut()
    }

    /// Bytes may be waiting on a client's socket: an edge said so.
    pub fn note_readable(&mut self, id: ConnectionId) {
        self.list_if(id, |reading| matches!(reading, Reading::Idle | Reading::Alarmed));
    }

    /// A client that the hub had not let be read, because of an alarm or of its login, may be read again.
    pub fn let_go_on(&mut self, id: ConnectionId) {
        self.list_if(id, |reading| matches!(reading, Reading::Alarmed | Reading::AwaitingLogin));
    }

    fn list_if(&mut self, id: ConnectionId, waits: impl FnOnce(Reading) -> bool) {
        if self.get_mut(id).is_some_and(|client| waits(client.reading)) {
            self.set_reading(id, Reading::Listed);
        }
    }

    /// Says where a client goes that is in no list. This is the only way into one.
    pub fn set_reading(&mut self, id: ConnectionId, reading: Reading) {
        let Some(client) = self.get_mut(id) else { return };
        debug_assert!(
            !matches!(client.reading, Reading::Listed | Reading::Pressed | Reading::AwaitingMessages),
            "whoever is {:?} is taken out of a list first",
            client.reading
        );
        client.reading = reading;
        let place = Place { id, serial: client.serial };
        match reading {
            Reading::Listed => self.to_read.push_back(place),
            Reading::Pressed => self.pressed.push_back(place),
            Reading::AwaitingMessages => self.awaiting.push_back(place),
            Reading::Idle | Reading::InHand | Reading::AwaitingLogin | Reading::Alarmed => {}
        }
    }

    /// Places in the line of those to be read, some of which may be nobody's.
    pub fn to_read_len(&self) -> usize {
        self.to_read.len()
    }

    /// The next client to read, in hand.
    pub fn next_to_read(&mut self) -> Option<ConnectionId> {
        loop {
            let place = self.to_read.pop_front()?;
            if self.take_in_hand(place) {
                return Some(place.id);
            }
        }
    }

    /// Whether somebody is to be asked again soon although nothing happens: those who may not be read for a moment, and
    /// those whose wait may have ended in a turn in which others were asked.
    pub fn has_unasked(&self) -> bool {
        !self.pressed.is_empty() || self.awaiting.len() > ASKED_PER_TURN
    }

    /// A turn's share of those who were not to be read for a moment are to be asked again.
    pub fn list_pressed(&mut self) {
        for _ in 0..self.pressed.len().min(ASKED_PER_TURN) {
            if let Some(place) = self.pressed.pop_front()
                && self.take_in_hand(place)
            {
                self.set_reading(place.id, Reading::Listed);
            }
        }
    }

    /// A turn's share of those with a command that waits, in hand.
    pub fn take_awaiting(&mut self) -> Vec<ConnectionId> {
        let count = self.awaiting.len().min(ASKED_PER_TURN);
        let places: Vec<Place> = self.awaiting.drain(..count).collect();
        places.into_iter().filter(|place| self.take_in_hand(*place)).map(|place| place.id).collect()
    }

    /// False when the place is nobody's.
    fn take_in_hand(&mut self, Place { id, serial }: Place) -> bool {
        let client = self.get_mut(id).filter(|client| client.serial == serial);
        client.map(|client| client.reading = Reading::InHand).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDS: u32 = 4;

    #[derive(Clone, Debug)]
    enum Step {
        Connect,
        Close,
        Edge,
        AlarmEnds,
        /// The next one is read, or somebody of another list is taken out of that, and goes there.
        Read(Reading),
        Press,
        Await(Reading),
    }

    fn next_reading() -> impl Strategy<Value = Reading> {
        use Reading::{Alarmed, AwaitingLogin, AwaitingMessages, Idle, Listed, Pressed};
        prop::sample::select(vec![Idle, Listed, Pressed, AwaitingMessages, AwaitingLogin, Alarmed])
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Connect),
            Just(Step::Close),
            Just(Step::Edge),
            Just(Step::Edge),
            Just(Step::AlarmEnds),
            next_reading().prop_map(Step::Read),
            next_reading().prop_map(Step::Read),
            Just(Step::Press),
            next_reading().prop_map(Step::Await),
        ]
    }

    impl Clients<()> {
        /// Every client is in the list that its state names, once, and in no other.
        fn check(&self) {
            for (index, client) in self.clients.iter().enumerate() {
                let Some(client) = client else { continue };
                let is_its = |place: &&Place| place.id.0 as usize == index && place.serial == client.serial;
                let places = [
                    (Reading::Listed, self.to_read.iter().filter(is_its).count()),
                    (Reading::Pressed, self.pressed.iter().filter(is_its).count()),
                    (Reading::AwaitingMessages, self.awaiting.iter().filter(is_its).count()),
                ];
                for (list, count) in places {
                    assert_eq!(count, usize::from(client.reading == list), "{list:?} for one {:?}", client.reading);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_client_is_in_the_list_that_its_state_names_and_in_no_other(
            steps in prop::collection::vec((0..IDS, step()), 1..200),
        ) {
            let mut clients = Clients::<()>::default();
            for (id, step) in steps {
                let id = ConnectionId(id);
                match step {
                    Step::Connect if clients.get_mut(id).is_none() => clients.insert(id, ()),
                    Step::Connect => {}
                    Step::Close => drop(clients.remove(id)),
                    Step::Edge => clients.note_readable(id),
                    Step::AlarmEnds => clients.let_go_on(id),
                    Step::Read(next) => {
                        if let Some(id) = clients.next_to_read() {
                            clients.set_reading(id, next);
                        }
                    }
                    Step::Press => clients.list_pressed(),
                    Step::Await(next) => {
                        for id in clients.take_awaiting() {
                            clients.set_reading(id, next);
                        }
                    }
                }
                clients.check();
            }
        }
    }

    #[test]
    fn whoever_has_the_id_of_one_that_is_gone_does_not_have_its_place() {
        let mut clients = Clients::<()>::default();
        let id = ConnectionId(0);
        clients.insert(id, ());
        clients.note_readable(id);
        clients.remove(id);
        clients.insert(id, ());
        assert_eq!((clients.to_read_len(), clients.next_to_read()), (1, None));
        clients.note_readable(id);
        assert_eq!(clients.next_to_read(), Some(id));
        assert_eq!(clients.next_to_read(), None);
    }

    #[test]
    fn only_who_was_not_let_be_read_is_let_go_on() {
        let mut clients = Clients::<()>::default();
        let [idle, alarmed, pressed, asking] = [0, 1, 2, 3].map(ConnectionId);
        for id in [idle, alarmed, pressed, asking] {
            clients.insert(id, ());
        }
        clients.set_reading(alarmed, Reading::Alarmed);
        clients.set_reading(pressed, Reading::Pressed);
        clients.set_reading(asking, Reading::AwaitingLogin);
        clients.note_readable(asking);
        assert_eq!(clients.to_read_len(), 0, "whatever comes waits for the login");
        for id in [idle, alarmed, pressed, asking] {
            clients.let_go_on(id);
        }
        assert_eq!(clients.next_to_read(), Some(alarmed));
        assert_eq!(clients.next_to_read(), Some(asking));
        assert_eq!(clients.next_to_read(), None);
    }

    /// Many wait. Says who is asked in each of some turns, when all who are asked wait on.
    fn asked(
        waiting: Reading,
        turns: usize,
        ask: impl Fn(&mut Clients<()>) -> Vec<ConnectionId>,
    ) -> Vec<Vec<ConnectionId>> {
        let mut clients = Clients::<()>::default();
        for id in (0..CROWD).map(ConnectionId) {
            clients.insert(id, ());
            clients.set_reading(id, waiting);
        }
        let turn = |_| {
            assert!(clients.has_unasked(), "the next ones don't wait for an event");
            let ids = ask(&mut clients);
            ids.iter().for_each(|id| clients.set_reading(*id, waiting));
            clients.check();
            ids
        };
        (0..turns).map(turn).collect()
    }

    const CROWD: u32 = 2 * ASKED_PER_TURN as u32 + 1;

    #[test]
    fn a_turn_asks_few_of_many_who_wait_and_every_one_in_its_turn() {
        let ask_pressed = |clients: &mut Clients<()>| {
            clients.list_pressed();
            std::iter::from_fn(|| clients.next_to_read()).collect()
        };
        let ways = [
            asked(Reading::Pressed, CROWD as usize, ask_pressed),
            asked(Reading::AwaitingMessages, CROWD as usize, Clients::take_awaiting),
        ];
        for turns in ways {
            assert!(turns.iter().all(|ids| ids.len() == ASKED_PER_TURN));
            let asked: Vec<u32> = turns.into_iter().flatten().map(|id| id.0).collect();
            let in_turn: Vec<u32> = (0..CROWD).cycle().take(asked.len()).collect();
            assert_eq!(asked, in_turn, "in the order in which they began to wait");
        }
    }
}
