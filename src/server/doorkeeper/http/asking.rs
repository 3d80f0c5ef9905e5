//! What the server is asked now, and for whom: who asks the same as another is answered with it.

use super::{Applicant, Form};
use crate::access::{Fingerprint, Inquiry};
use crate::connection::LoginTicket;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Logins that the server is asked about at a time: of those who say the same from the same place it is asked once.
pub const LOGINS_MAX: usize = 1024;
/// Those of them that come from one place.
pub const LOGINS_PER_ORIGIN_MAX: usize = 256;
/// Those who wait to be let in, all together, and from one place: as many clients of one machine as come back at once when
/// a broker starts.
pub const APPLICANTS_MAX: usize = 1 << 16;
pub const APPLICANTS_PER_ORIGIN_MAX: usize = 1 << 14;
/// Permissions that are asked for at a time, all together, and of one user.
pub const PERMISSIONS_MAX: usize = 1 << 16;
pub const PERMISSIONS_PER_USER_MAX: usize = 1 << 12;
/// Those who wait for them: of clients there are no more than connections.
const TICKETS_MAX: usize = 1 << 17;

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
    /// By their tickets' serials.
    Login {
        fingerprint: Fingerprint,
        applicants: BTreeMap<u64, Applicant>,
    },
    Permission {
        inquiry: Arc<Inquiry>,
        tickets: BTreeMap<u64, LoginTicket>,
    },
}

impl Task {
    fn forget(&mut self, ticket: LoginTicket) {
        match self {
            Self::Login { applicants, .. } => drop(applicants.remove(&ticket.serial)),
            Self::Permission { tickets, .. } => drop(tickets.remove(&ticket.serial)),
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
    applicants: usize,
    origins: HashMap<IpAddr, FromThere>,
    /// Open permissions by user; none is 0.
    users: HashMap<Arc<str>, usize>,
}

/// What is open of one place.
#[derive(Default)]
struct FromThere {
    logins: usize,
    applicants: usize,
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
            applicants: 0,
            origins: HashMap::new(),
            users: HashMap::new(),
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
    ) -> Result<(), Box<Applicant>> {
        let (key, serial) = (Key::Login(fingerprint), applicant.request.ticket.serial);
        let from_there = self.origins.entry(origin).or_default();
        if self.applicants >= APPLICANTS_MAX || from_there.applicants >= APPLICANTS_PER_ORIGIN_MAX {
            self.forget_origin_if_empty(origin);
            return Err(Box::new(applicant));
        }
        if let Some(number) = self.numbers.get(&key)
            && let Some(Open { task: Task::Login { applicants, .. }, .. }) = self.open.get_mut(number)
        {
            applicants.insert(serial, applicant);
            self.applicants += 1;
            from_there.applicants += 1;
            self.by_ticket.insert(serial, *number);
            return Ok(());
        }
        if self.logins >= LOGINS_MAX || from_there.logins >= LOGINS_PER_ORIGIN_MAX {
            self.forget_origin_if_empty(origin);
            return Err(Box::new(applicant));
        }
        self.logins += 1;
        self.applicants += 1;
        from_there.logins += 1;
        from_there.applicants += 1;
        let task = Task::Login { fingerprint, applicants: BTreeMap::from([(serial, applicant)]) };
        self.begin(Open { key, task, origin: Some(origin) }, form, serial);
        Ok(())
    }

    fn forget_origin_if_empty(&mut self, origin: IpAddr) {
        if self.origins.get(&origin).is_some_and(|from_there| from_there.logins == 0) {
            self.origins.remove(&origin);
        }
    }

    /// Asks for a permission.
    ///
    /// # Errors
    /// Too many are asked for: it is given back.
    pub fn inquire(&mut self, inquiry: Inquiry, ticket: LoginTicket) -> Result<(), (Arc<Inquiry>, LoginTicket)> {
        let key = Key::Permission(inquiry.key().into());
        if self.by_ticket.len() - self.applicants >= TICKETS_MAX {
            return Err((Arc::new(inquiry), ticket));
        }
        if let Some(number) = self.numbers.get(&key)
            && let Some(Open { task: Task::Permission { tickets, .. }, .. }) = self.open.get_mut(number)
        {
            tickets.insert(ticket.serial, ticket);
            self.by_ticket.insert(ticket.serial, *number);
            return Ok(());
        }
        let inquiry = Arc::new(inquiry);
        let of_user = self.users.get(&inquiry.user).copied().unwrap_or(0);
        if self.open.len() - self.logins >= PERMISSIONS_MAX || of_user >= PERMISSIONS_PER_USER_MAX {
            return Err((inquiry, ticket));
        }
        self.users.insert(Arc::clone(&inquiry.user), of_user + 1);
        let form = Form::of_inquiry(&inquiry);
        let task = Task::Permission { inquiry, tickets: BTreeMap::from([(ticket.serial, ticket)]) };
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
        let (is_nobodys, origin) = (open.task.is_nobodys(), open.origin);
        if let Some(from_there) = origin.and_then(|origin| self.origins.get_mut(&origin)) {
            from_there.applicants -= 1;
            self.applicants -= 1;
        }
        if is_nobodys {
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
        match &task {
            Task::Login { applicants, .. } => {
                for serial in applicants.keys() {
                    self.by_ticket.remove(serial);
                }
                self.logins -= 1;
                self.applicants -= applicants.len();
            }
            Task::Permission { inquiry, tickets } => {
                for serial in tickets.keys() {
                    self.by_ticket.remove(serial);
                }
                if let Some(of_user) = self.users.get_mut(&inquiry.user) {
                    *of_user -= 1;
                    if *of_user == 0 {
                        self.users.remove(&inquiry.user);
                    }
                }
            }
        }
        if let Some(origin) = origin
            && let Some(from_there) = self.origins.get_mut(&origin)
        {
            from_there.logins -= 1;
            if let Task::Login { applicants, .. } = &task {
                from_there.applicants -= applicants.len();
            }
            self.forget_origin_if_empty(origin);
        }
        Some(task)
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        assert_eq!(self.numbers.len(), self.open.len());
        assert_eq!(self.origins.values().map(|from_there| from_there.logins).sum::<usize>(), self.logins);
        assert_eq!(self.origins.values().map(|from_there| from_there.applicants).sum::<usize>(), self.applicants);
        assert!(self.origins.values().all(|from_there| from_there.logins > 0));
        assert_eq!(self.users.values().sum::<usize>(), self.open.len() - self.logins);
        (self.open.len(), self.by_ticket.len())
    }
}
