//! What the server is asked now, and for whom: who asks the same as another is answered with it.

use super::{Applicant, Form};
use crate::access::{Fingerprint, Inquiry};
use crate::connection::LoginTicket;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Logins that wait for the server, all together.
pub const LOGINS_MAX: usize = 1024;
/// Those of them that come from one place.
pub const LOGINS_PER_ORIGIN_MAX: usize = 256;
/// Permissions that are asked for at a time. Of clients there are no more than connections.
pub const PERMISSIONS_MAX: usize = 1 << 16;

/// What the server said to the question of that number, or why it said nothing, as part of a sentence.
pub type Outcome = (u64, Result<String, String>);

/// Asks the server, several questions at a time.
pub trait HttpServer {
    /// Begins to ask. Who is logged in already is `urgent`, and asked for first.
    fn begin(&mut self, number: u64, form: Form, urgent: bool);

    /// Nobody wants to know that any more.
    fn cancel(&mut self, number: u64);

    /// What came of a question, once.
    fn next_outcome(&mut self) -> Option<Outcome>;
}

/// Who wants to know what.
pub enum Task {
    Login { fingerprint: Fingerprint, applicants: Vec<Applicant> },
    Permission { inquiry: Arc<Inquiry>, tickets: Vec<LoginTicket> },
}

impl Task {
    fn forget(&mut self, ticket: LoginTicket) {
        match self {
            Self::Login { applicants, .. } => applicants.retain(|applicant| applicant.request.ticket != ticket),
            Self::Permission { tickets, .. } => tickets.retain(|waiting| *waiting != ticket),
        }
    }

    fn is_nobodys(&self) -> bool {
        match self {
            Self::Login { applicants, .. } => applicants.is_empty(),
            Self::Permission { tickets, .. } => tickets.is_empty(),
        }
    }
}

/// What tells a question from others.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Login(Fingerprint),
    Permission(Box<[u8]>),
}

struct Open {
    key: Key,
    task: Task,
    /// From where it is asked, if it is a login.
    origin: Option<IpAddr>,
}

pub struct Asking {
    server: Box<dyn HttpServer>,
    questions: u64,
    open: HashMap<u64, Open>,
    numbers: HashMap<Key, u64>,
    /// What is asked for whom, by their tickets' serials.
    by_ticket: HashMap<u64, u64>,
    logins: usize,
    origins: HashMap<IpAddr, usize>,
}

impl Asking {
    pub fn new(server: Box<dyn HttpServer>) -> Self {
        Self {
            server,
            questions: 0,
            open: HashMap::new(),
            numbers: HashMap::new(),
            by_ticket: HashMap::new(),
            logins: 0,
            origins: HashMap::new(),
        }
    }

    /// Asks for somebody who logs in.
    ///
    /// # Errors
    /// Too many wait: it is given back.
    pub fn log_in(
        &mut self,
        fingerprint: Fingerprint,
        form: Form,
        origin: IpAddr,
        applicant: Applicant,
    ) -> Result<(), Applicant> {
        let (key, serial) = (Key::Login(fingerprint), applicant.request.ticket.serial);
        if let Some(number) = self.numbers.get(&key)
            && let Some(Open { task: Task::Login { applicants, .. }, .. }) = self.open.get_mut(number)
        {
            applicants.push(applicant);
            self.by_ticket.insert(serial, *number);
            return Ok(());
        }
        let from_there = self.origins.get(&origin).copied().unwrap_or(0);
        if self.logins >= LOGINS_MAX || from_there >= LOGINS_PER_ORIGIN_MAX {
            return Err(applicant);
        }
        self.logins += 1;
        *self.origins.entry(origin).or_insert(0) += 1;
        let task = Task::Login { fingerprint, applicants: vec![applicant] };
        self.begin(Open { key, task, origin: Some(origin) }, form, serial);
        Ok(())
    }

    /// Asks for a permission.
    ///
    /// # Errors
    /// Too many are asked for: it is given back.
    pub fn inquire(&mut self, inquiry: Inquiry, ticket: LoginTicket) -> Result<(), (Arc<Inquiry>, LoginTicket)> {
        let key = Key::Permission(inquiry.key().into());
        if let Some(number) = self.numbers.get(&key)
            && let Some(Open { task: Task::Permission { tickets, .. }, .. }) = self.open.get_mut(number)
        {
            tickets.push(ticket);
            self.by_ticket.insert(ticket.serial, *number);
            return Ok(());
        }
        let inquiry = Arc::new(inquiry);
        if self.open.len() - self.logins >= PERMISSIONS_MAX {
            return Err((inquiry, ticket));
        }
        let form = Form::of_inquiry(&inquiry);
        let task = Task::Permission { inquiry, tickets: vec![ticket] };
        self.begin(Open { key, task, origin: None }, form, ticket.serial);
        Ok(())
    }

    fn begin(&mut self, open: Open, form: Form, serial: u64) {
        self.questions += 1;
        let number = self.questions;
        self.server.begin(number, form, open.origin.is_none());
        self.by_ticket.insert(serial, number);
        self.numbers.insert(open.key.clone(), number);
        self.open.insert(number, open);
    }

    /// Somebody doesn't wait any more.
    pub fn forget(&mut self, ticket: LoginTicket) {
        let Some(number) = self.by_ticket.remove(&ticket.serial) else { return };
        let Some(open) = self.open.get_mut(&number) else { return };
        open.task.forget(ticket);
        if open.task.is_nobodys() {
            self.server.cancel(number);
            self.close(number);
        }
    }

    /// What the server said next, and to what.
    pub fn next(&mut self) -> Option<(Task, Result<String, String>)> {
        loop {
            let (number, body) = self.server.next_outcome()?;
            if let Some(task) = self.close(number) {
                return Some((task, body));
            }
        }
    }

    fn close(&mut self, number: u64) -> Option<Task> {
        let Open { key, task, origin } = self.open.remove(&number)?;
        self.numbers.remove(&key);
        if let Some(origin) = origin {
            self.logins -= 1;
            if let Some(from_there) = self.origins.get_mut(&origin) {
                *from_there -= 1;
                if *from_there == 0 {
                    self.origins.remove(&origin);
                }
            }
        }
        match &task {
            Task::Login { applicants, .. } => applicants.iter().for_each(|applicant| {
                self.by_ticket.remove(&applicant.request.ticket.serial);
            }),
            Task::Permission { tickets, .. } => tickets.iter().for_each(|ticket| {
                self.by_ticket.remove(&ticket.serial);
            }),
        }
        Some(task)
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        assert_eq!(self.numbers.len(), self.open.len());
        assert_eq!(self.origins.values().sum::<usize>(), self.logins);
        (self.open.len(), self.by_ticket.len())
    }
}
