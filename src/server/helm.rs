//! The helm of a node of a cluster: whoever has something to say to its [driver](super::member::Driver) says it here, and those
//! for whom others wait steer it themselves, if nobody else does.
//!
//! ```text
//!   a peer's reader ── put, steer ─┐                 ┌────────┐
//!   the writer ─────── steer_with ─┼──► inputs ────► │ driver │ one at a time has it
//!   a loop that leads─ steer_with ─┤                 └────────┘
//!   everybody else ─── tell ───────┴── wakes the thread that has it with each tick, and at its beginning and end
//! ```
//! A message that arrives, a sync that is done or a batch that is to be written is dealt with by the thread that has it in hand:
//! giving it to another one, which has to be woken, takes longer than dealing with it. Inputs are taken in the order in which they were said, whoever
//! takes them. Nobody but the driver's own thread ever waits for the helm: who finds it taken goes on, as whoever has it looks
//! for inputs once more after letting it go. So it may be steered from anywhere where no lock is held that a driver takes.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// How many turns somebody steers who has nothing to do that others wait for.
const TURNS_MOST: usize = 4;

/// What is steered.
pub trait Steered: Send + 'static {
    type Input: Send + 'static;

    /// Deals with what was said, and with the time.
    fn turn(&mut self);

    /// How long it has nothing to do, if nothing is said.
    fn rests_for(&self) -> Duration;

    /// There will be no turn after this one.
    fn is_at_its_end(&self) -> bool;

    /// What is last to be done, which may take a while.
    fn finish(&mut self);
}

/// One of many to the same driver.
pub struct Helm<D: Steered>(Arc<Shared<D>>);

impl<D: Steered> Clone for Helm<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<D: Steered> {
    inputs: Sender<D::Input>,
    /// Said and not taken yet.
    untaken: AtomicUsize,
    /// None before it begins and after its end.
    driver: Mutex<Option<D>>,
    thread: OnceLock<Thread>,
}

/// What was said, for the driver.
pub struct Inbox<D: Steered> {
    inputs: Receiver<D::Input>,
    helm: Helm<D>,
}

/// The driver is no more.
#[derive(PartialEq, Eq, Debug)]
pub struct Gone;

/// A helm, and what is said there.
pub fn helm<D: Steered>() -> (Helm<D>, Inbox<D>) {
    let (inputs, said) = channel();
    let shared = Shared { inputs, untaken: AtomicUsize::new(0), driver: Mutex::default(), thread: OnceLock::new() };
    let helm = Helm(Arc::new(shared));
    (helm.clone(), Inbox { inputs: said, helm })
}

impl<D: Steered> Inbox<D> {
    /// The next thing that was said.
    pub fn take(&self) -> Option<D::Input> {
        let input = self.inputs.try_recv().ok()?;
        self.helm.0.untaken.fetch_sub(1, Ordering::SeqCst);
        Some(input)
    }
}

impl<D: Steered> Helm<D> {
    /// Says something, which the driver's thread deals with.
    ///
    /// # Errors
    /// The driver is no more; why, it said.
    pub fn tell(&self, input: D::Input) -> Result<(), Gone> {
        self.put(input)?;
        self.wake();
        Ok(())
    }

    /// Says something, with which whoever steers next deals.
    ///
    /// # Errors
    /// The driver is no more; why, it said.
    pub fn put(&self, input: D::Input) -> Result<(), Gone> {
        // Before it is there, so that nothing is taken that was not counted.
        self.0.untaken.fetch_add(1, Ordering::SeqCst);
        self.0.inputs.send(input).map_err(|_| Gone)
    }

    /// Has the driver deal with what was said, here and now, unless somebody is at it. It waits for nothing, and leaves what goes
    /// on and on to the driver's thread.
    pub fn steer(&self) {
        self.steer_for(TURNS_MOST);
    }

    /// Says something and steers, for those for whose other work others wait: what is said meanwhile is left to the driver's thread.
    pub fn steer_with(&self, input: D::Input) {
        // A driver that is no more said why.
        if self.put(input).is_ok() {
            self.steer_for(1);
        }
    }

    fn steer_for(&self, turns: usize) {
        for _ in 0..turns {
            if !self.has_untaken() {
                return;
            }
            let Ok(mut kept) = self.0.driver.try_lock() else { return };
            let Some(driver) = kept.as_mut().filter(|driver| !driver.is_at_its_end()) else { return };
            driver.turn();
            if driver.is_at_its_end() {
                self.wake();
                return;
            }
        }
        if self.has_untaken() {
            self.wake();
        }
    }

    /// Gives the driver its thread, which is this one, until its end.
    pub fn keep(&self, driver: D) {
        // Nobody else keeps it.
        let _ = self.0.thread.set(std::thread::current());
        *self.kept() = Some(driver);
        loop {
            let rest = {
                let mut kept = self.kept();
                let driver = kept.as_mut().expect("it is taken below");
                if !driver.is_at_its_end() {
                    driver.turn();
                }
                if driver.is_at_its_end() {
                    driver.finish();
                    let ended = kept.take();
                    drop(kept);
                    // It ends what may be about to steer it.
                    drop(ended);
                    return;
                }
                driver.rests_for()
            };
            if !self.has_untaken() {
                std::thread::park_timeout(rest);
            }
        }
    }

    /// Waits for the helm. A driver that somebody panicked with is no more: those whom it talked to notice, as it is dropped.
    fn kept(&self) -> MutexGuard<'_, Option<D>> {
        self.0.driver.lock().unwrap_or_else(|poisoned| {
            let broken = poisoned.into_inner().take();
            drop(broken);
            panic!("whoever panicked at the helm said why");
        })
    }

    /// Asked after something was put, and after the helm was let go. One of two who do that at once sees what the other did:
    /// that the helm is taken, or that something was said.
    fn has_untaken(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.untaken.load(Ordering::SeqCst) > 0
    }

    fn wake(&self) {
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Notes what it takes, until it was told to end.
    struct Notes {
        inbox: Inbox<Notes>,
        noted: mpsc::Sender<(usize, usize)>,
        is_told_to_end: bool,
    }

    enum Input {
        Note(usize, usize),
        End,
    }

    impl Steered for Notes {
        type Input = Input;

        fn turn(&mut self) {
            while let Some(input) = self.inbox.take() {
                match input {
                    Input::Note(from, number) => self.noted.send((from, number)).unwrap(),
                    Input::End => self.is_told_to_end = true,
                }
            }
        }

        fn rests_for(&self) -> Duration {
            Duration::MAX
        }

        fn is_at_its_end(&self) -> bool {
            self.is_told_to_end
        }

        fn finish(&mut self) {}
    }

    fn begun() -> (Helm<Notes>, mpsc::Receiver<(usize, usize)>, std::thread::JoinHandle<()>) {
        let (helm, inbox) = helm();
        let (noted, notes) = mpsc::channel();
        let kept = helm.clone();
        let thread = std::thread::spawn(move || kept.keep(Notes { inbox, noted, is_told_to_end: false }));
        (helm, notes, thread)
    }

    /// The driver's thread rests for ever, so that what is forgotten stays so.
    #[test]
    fn everything_is_taken_in_the_order_in_which_each_one_said_it() {
        const SAYING: usize = 4;
        const EACH: usize = 5_000;
        let (helm, notes, thread) = begun();
        std::thread::scope(|scope| {
            for from in 0..SAYING {
                let helm = helm.clone();
                scope.spawn(move || {
                    for number in 0..EACH {
                        match from {
                            0 => helm.tell(Input::Note(from, number)).unwrap(),
                            _ => {
                                helm.put(Input::Note(from, number)).unwrap();
                                helm.steer();
                            }
                        }
                    }
                });
            }
            let mut next = [0; SAYING];
            for _ in 0..SAYING * EACH {
                let (from, number) = notes.recv().unwrap();
                assert_eq!(number, next[from]);
                next[from] += 1;
            }
        });
        helm.tell(Input::End).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn whoever_steers_to_the_end_leaves_it_to_the_driver_s_thread() {
        let (helm, notes, thread) = begun();
        helm.put(Input::Note(0, 0)).unwrap();
        helm.put(Input::End).unwrap();
        helm.steer();
        thread.join().unwrap();
        assert_eq!(notes.iter().collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(helm.tell(Input::Note(0, 1)), Err(Gone));
        helm.steer();
    }
}
