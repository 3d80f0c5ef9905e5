//! Who may: the desk asks when a command is carried out, whatever was known when it was given.

use super::super::tests::World;
use super::*;
use crate::access::{PasswordHash, Tags};
use crate::broker::{Permissions, UserKey, VhostAttributes};
use crate::management::{Order, QueueAttributes, VhostQuestion};
use crate::protocol::FieldTable;
use std::pin::pin;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use tokio::sync::oneshot;

/// Two virtual hosts, and management's end of a line.
struct Office {
    world: World,
    desk: Desk,
    commands: SyncSender<Command>,
}

impl Office {
    fn open() -> Self {
        let mut world = World::new();
        world.hub.broker_mut().put_vhost("next door", VhostAttributes::default());
        let (commands, receiver) = sync_channel(1);
        Self { world, desk: Desk::new(receiver), commands }
    }

    /// A user with this tag who may do everything in the first virtual host.
    fn user(&mut self, name: &str, tag: &str) -> UserKey {
        let broker = self.world.hub.broker_mut();
        broker.put_user(name, PasswordHash::Absent, Tags::new([tag]).unwrap());
        let key = broker.find_user(name.as_bytes()).unwrap();
        let (user, vhost) = (broker.user_of(key).unwrap(), broker.vhost_named(b"/").unwrap());
        broker.set_permissions(user, vhost, Permissions::all());
        key
    }

    fn ask<T>(&mut self, asker: UserKey, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        let (refused, mut refusal) = oneshot::channel();
        self.commands.send(Command { asker: Asker::User(asker), request: make(reply), refused }).unwrap();
        self.desk.ring();
        self.desk.answer(&mut self.world.hub);
        answer.try_recv().map_err(|_| refusal.try_recv().expect("an answer or a refusal"))
    }

    fn declare(&mut self, asker: UserKey, vhost: &str) -> Result<Result<bool, AmqpError>, Refusal> {
        self.ask(asker, |reply| {
            let attributes = QueueAttributes { durable: false, auto_delete: false, arguments: FieldTable::default() };
            let change = VhostChange::DeclareQueue { name: "q".into(), attributes, reply };
            Request::Change(Change::InVhost { vhost: vhost.into(), change })
        })
    }

    fn look(&mut self, asker: UserKey, vhost: &str) -> Result<bool, Refusal> {
        let queue = self.ask(asker, |reply| {
            let question = VhostQuestion::Queue { name: "q".into(), reply };
            Request::Question(Question::InVhost { vhost: vhost.into(), question })
        });
        queue.map(|queue| queue.is_some())
    }

    fn delete_vhost(&mut self, asker: UserKey) -> Result<bool, Refusal> {
        let deleted = self.ask(asker, |reply| Request::Order(Order::DeleteVhost { name: "next door".into(), reply }));
        deleted.map(|deleted| deleted.expect("nobody protects it"))
    }
}

#[test]
fn things_are_done_by_whom_they_are_asked_for_and_where() {
    let mut office = Office::open();
    let alice = office.user("alice", "management");
    assert_eq!(office.declare(alice, "/"), Ok(Ok(true)));
    assert_eq!(office.look(alice, "/"), Ok(true));
    assert_eq!(office.declare(alice, "next door"), Err(Refusal::VhostClosed));
    assert_eq!(office.look(alice, "next door"), Err(Refusal::VhostClosed));
    assert_eq!(office.declare(alice, "nowhere"), Err(Refusal::NoSuchVhost));
    assert_eq!(office.look(alice, "nowhere"), Err(Refusal::NoSuchVhost));
    assert_eq!(office.delete_vhost(alice), Err(Refusal::NotAdministrator));
    assert!(office.world.hub.broker().vhost_named(b"next door").is_some());
}

#[test]
fn administrators_look_everywhere_and_change_only_what_their_permissions_let_them() {
    let mut office = Office::open();
    let admin = office.user("admin", "administrator");
    assert_eq!(office.look(admin, "next door"), Ok(false));
    assert_eq!(office.declare(admin, "next door"), Err(Refusal::VhostClosed));
    assert_eq!(office.look(admin, "next door"), Ok(false), "what was refused has changed nothing");
    assert_eq!(office.delete_vhost(admin), Ok(true));
    assert_eq!(office.delete_vhost(admin), Ok(false));
}

#[test]
fn nothing_is_done_for_somebody_who_is_gone_or_was_demoted() {
    let mut office = Office::open();
    let admin = office.user("admin", "administrator");
    let broker = office.world.hub.broker_mut();
    broker.set_user_tags(broker.user_of(admin).unwrap(), Tags::default());
    assert_eq!(office.delete_vhost(admin), Err(Refusal::NotAdministrator));
    let broker = office.world.hub.broker_mut();
    broker.delete_user(broker.user_of(admin).unwrap());
    // Another of that name is somebody else.
    office.user("admin", "administrator");
    assert_eq!(office.delete_vhost(admin), Err(Refusal::NoSuchUser));
    assert_eq!(office.declare(admin, "/"), Err(Refusal::NoSuchUser));
    assert_eq!(office.look(admin, "/"), Err(Refusal::NoSuchUser));
}

/// Asks something as soon as an answer comes.
struct AsksAgain {
    commands: SyncSender<Command>,
    command: Mutex<Option<Command>>,
}

impl Wake for AsksAgain {
    fn wake(self: Arc<Self>) {
        let command = self.command.lock().unwrap().take().expect("one answer");
        self.commands.send(command).unwrap();
    }
}

#[test]
fn who_is_answered_and_asks_again_waits_until_the_turn_has_pumped() {
    let mut office = Office::open();
    let admin = office.user("admin", "administrator");
    let delete = |name: &'static str| {
        let (reply, answer) = oneshot::channel();
        let request = Request::Order(Order::DeleteVhost { name: name.into(), reply });
        (Command { asker: Asker::User(admin), request, refused: oneshot::channel().0 }, answer)
    };
    let ((first, answer), (second, mut next_answer)) = (delete("nowhere"), delete("next door"));
    let asks_again = AsksAgain { commands: office.commands.clone(), command: Mutex::new(Some(second)) };
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(asks_again));
    assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    office.commands.send(first).unwrap();
    office.desk.ring();
    office.desk.answer(&mut office.world.hub);
    assert_eq!(answer.try_recv(), Ok(Ok(false)));
    assert!(next_answer.try_recv().is_err(), "it was asked while the first turn's share was answered");
    office.desk.ring();
    office.desk.answer(&mut office.world.hub);
    assert_eq!(next_answer.try_recv(), Ok(Ok(true)));
}

/// Commands that were judged come besides those of the turn's share, and may wait for messages.
#[test]
fn a_turn_has_its_share_however_many_commands_were_left_by_the_last_one() {
    let mut office = Office::open();
    let admin = office.user("admin", "administrator");
    let (mut answers, _): (Vec<_>, Vec<_>) = (0..=COMMANDS_PER_TURN)
        .map(|_| {
            let (reply, answer) = oneshot::channel();
            let request = Request::Order(Order::DeleteVhost { name: "nowhere".into(), reply });
            let (refused, refusal) = oneshot::channel();
            office.desk.share.push_back(Command { asker: Asker::User(admin), request, refused });
            (answer, refusal)
        })
        .unzip();
    for left in [1, 0] {
        office.desk.ring();
        office.desk.answer(&mut office.world.hub);
        answers.retain_mut(|answer| answer.try_recv().is_err());
        assert_eq!(answers.len(), left);
    }
    assert!(!office.desk.has_work());
}
