//! Who asks the server: a few threads `auth-http`, each one question at a time, over connections that are kept.

use super::asking::{HttpServer, Outcome};
use super::forms::{Form, Page};
use crate::reactor::Clock;
use crate::reactor::process::step_back;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The longest answer that is read, in bytes: as many tags as a user may have, and more.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Urgent questions that are asked before one that is not has its turn.
const URGENT_IN_A_ROW_MAX: u32 = 3;

/// Where and how the server is asked.
pub struct Client {
    pub agent: ureq::Agent,
    /// By [`Page`].
    pub addresses: [String; 4],
    /// A body, or a query.
    pub posts: bool,
}

struct Question {
    form: Form,
    /// It is not asked after that.
    deadline_ms: u64,
}

/// Questions that wait, by their numbers: the lowest came first.
#[derive(Default)]
struct Line {
    urgent: BTreeMap<u64, Question>,
    others: BTreeMap<u64, Question>,
    /// Urgent ones that were taken since the last other one.
    urgent_in_a_row: u32,
    /// Nobody asks any more.
    has_ended: bool,
}

struct Shared {
    line: Mutex<Line>,
    comes: Condvar,
    /// For the next question.
    client: Mutex<Arc<Client>>,
}

impl Line {
    /// The question whose turn it is.
    fn take(&mut self) -> Option<(u64, Question)> {
        if self.urgent_in_a_row < URGENT_IN_A_ROW_MAX
            && let Some(question) = self.urgent.pop_first()
        {
            self.urgent_in_a_row += 1;
            return Some(question);
        }
        self.urgent_in_a_row = 0;
        self.others.pop_first().or_else(|| self.urgent.pop_first())
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("nobody panics with it")
    }

    fn client(&self) -> MutexGuard<'_, Arc<Client>> {
        self.client.lock().expect("nobody panics with it")
    }

    /// Waits for a question; `None` when no more will come.
    fn next(&self) -> Option<(u64, Question)> {
        let mut line = self.line();
        loop {
            if line.has_ended {
                return None;
            }
            if let Some(question) = line.take() {
                return Some(question);
            }
            line = self.comes.wait(line).expect("nobody panics with it");
        }
    }
}

/// Has the server asked otherwise.
pub struct ClientRenewer(Arc<Shared>);

impl ClientRenewer {
    /// Questions that are being asked are not asked again.
    pub fn renew(&self, client: Client) {
        *self.0.client() = Arc::new(client);
    }
}

/// The loop's end of the threads, which end when this is dropped.
pub struct HttpThreads {
    shared: Arc<Shared>,
    outcomes: Receiver<Outcome>,
    waits_at_most: Duration,
    clock: Clock,
}

impl HttpThreads {
    /// Starts so many threads. A question that waits for longer than `waits_at_most` is not asked. `wake` is called there
    /// after every outcome.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        client: Client,
        threads: usize,
        waits_at_most: Duration,
        clock: Clock,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (line, comes, client) = (Mutex::default(), Condvar::new(), Mutex::new(Arc::new(client)));
        let shared = Arc::new(Shared { line, comes, client });
        let (outbox, outcomes) = channel();
        for _ in 0..threads {
            let (shared, outbox, wake) = (Arc::clone(&shared), outbox.clone(), wake.clone());
            let run = move || serve(&shared, clock, &outbox, &wake);
            std::thread::Builder::new().name("auth-http".into()).spawn(run)?;
        }
        Ok(Self { shared, outcomes, waits_at_most, clock })
    }

    pub fn renewer(&self) -> ClientRenewer {
        ClientRenewer(Arc::clone(&self.shared))
    }
}

fn serve(shared: &Shared, clock: Clock, outbox: &Sender<Outcome>, wake: &impl Fn()) {
    // Who logs in can wait; who has work for the loop can't.
    step_back();
    while let Some((number, Question { form, deadline_ms })) = shared.next() {
        let said = match clock.now_ms() < deadline_ms {
            true => {
                let client = Arc::clone(&shared.client());
                client.ask(&form)
            }
            false => Err("it was busy with others".to_owned()),
        };
        // The loop is gone only when the program ends.
        let _ = outbox.send((number, said));
        wake();
    }
}

impl HttpServer for HttpThreads {
    fn begin(&mut self, number: u64, form: Form, urgent: bool) {
        let waits_at_most_ms = u64::try_from(self.waits_at_most.as_millis()).unwrap_or(u64::MAX);
        let question = Question { form, deadline_ms: self.clock.now_ms().saturating_add(waits_at_most_ms) };
        let mut line = self.shared.line();
        let questions = if urgent { &mut line.urgent } else { &mut line.others };
        questions.insert(number, question);
        self.shared.comes.notify_one();
    }

    fn cancel(&mut self, number: u64) {
        let mut line = self.shared.line();
        if line.urgent.remove(&number).is_none() {
            line.others.remove(&number);
        }
    }

    fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }
}

impl Drop for HttpThreads {
    fn drop(&mut self) {
        self.shared.line().has_ended = true;
        self.shared.comes.notify_all();
    }
}

impl Client {
    fn ask(&self, form: &Form) -> Result<String, String> {
        let first = self.ask_once(form);
        match first {
            // The server may hang up whenever nobody asks it, also while the next question is on its way.
            Err(ureq::Error::Io(error)) if has_hung_up(&error) => self.ask_once(form),
            said => said,
        }
        .unwrap_or_else(|error| Err(explained(&error)))
    }

    fn ask_once(&self, form: &Form) -> Result<Result<String, String>, ureq::Error> {
        let address = &self.addresses[form.page as usize];
        let answer = match self.posts {
            true => self.agent.post(address).content_type("application/x-www-form-urlencoded").send(&form.parameters),
            false => {
                let joint = if address.contains('?') { '&' } else { '?' };
                self.agent.get(format!("{address}{joint}{}", form.parameters)).call()
            }
        };
        let mut answer = answer?;
        match answer.status().as_u16() {
            200 | 201 => {
                let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
                Ok(Ok(String::from_utf8_lossy(&body).into_owned()))
            }
            status => Ok(Err(format!("it answered {status}"))),
        }
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Without the address, whose query has a password in it.
fn explained(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "its address is none".to_owned(),
        ureq::Error::Timeout(_) => "it takes too long".to_owned(),
        ureq::Error::BodyExceedsLimit(_) => "its answer is too long".to_owned(),
        error => error.to_string(),
    }
}

/// The addresses of all pages, in their order.
pub fn addresses(of: impl Fn(Page) -> String) -> [String; 4] {
    [Page::User, Page::Vhost, Page::Resource, Page::Topic].map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(line: &mut Line) -> Vec<u64> {
        std::iter::from_fn(|| line.take()).map(|(number, _)| number).collect()
    }

    fn line(urgent: impl IntoIterator<Item = u64>, others: impl IntoIterator<Item = u64>) -> Line {
        let question = |number| {
            let form = Form { page: Page::User, parameters: String::new() };
            (number, Question { form, deadline_ms: 0 })
        };
        let (urgent, others) = (urgent.into_iter().map(question), others.into_iter().map(question));
        Line { urgent: urgent.collect(), others: others.collect(), ..Line::default() }
    }

    #[test]
    fn logins_have_their_turns_however_many_permissions_are_asked_for() {
        assert_eq!(numbers(&mut line(1..=8, 11..=13)), [1, 2, 3, 11, 4, 5, 6, 12, 7, 8, 13]);
        assert_eq!(numbers(&mut line(1..=5, [])), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(&mut line([], 1..=2)), [1, 2]);
    }
}
