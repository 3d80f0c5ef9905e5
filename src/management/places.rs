//! Places of HTTP clients: how many connections there may be, and how many of them from one origin.

use crate::reactor::origin_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// One in so many places is not for those who have all the others already: whoever takes what it can get, without even a
/// password, keeps nobody out who comes from somewhere else.
const KEPT_FOR_OTHERS: usize = 4;

pub struct Places {
    free: Arc<Semaphore>,
    /// What each origin has, of those that have any.
    taken: Mutex<HashMap<IpAddr, usize>>,
    of_one_max: usize,
}

/// A connection's place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    origin: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Places {
    pub fn new(connections_max: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(connections_max));
        Arc::new(Self {
            free,
            taken: Mutex::default(),
            of_one_max: connections_max - connections_max / KEPT_FOR_OTHERS,
        })
    }

    /// Waits until there is a place for whoever comes next.
    ///
    /// # Errors
    /// Never: nobody closes it.
    pub async fn vacant(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.free.clone().acquire_owned().await
    }

    /// Gives a place to who comes from there. `None` when those who do have too many already.
    pub fn give(self: &Arc<Self>, place: OwnedSemaphorePermit, peer: IpAddr) -> Option<Place> {
        let origin = origin_of(peer);
        let mut taken = self.taken();
        let of_origin = taken.entry(origin).or_default();
        if *of_origin >= self.of_one_max {
            return None;
        }
        *of_origin += 1;
        Some(Place { places: self.clone(), origin, _place: place })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().expect("nobody panics with it")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(of_origin) = taken.get_mut(&self.origin) {
            *of_origin -= 1;
            if *of_origin == 0 {
                taken.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(places: &Arc<Places>, peer: &str) -> Option<Place> {
        let place = places.free.clone().try_acquire_owned().ok()?;
        places.give(place, peer.parse().unwrap())
    }

    #[test]
    fn nobody_has_all_places_from_one_origin() {
        let places = Places::new(8);
        let mut greedy: Vec<Place> = (0..6).map(|_| give(&places, "192.0.2.7").expect("a place")).collect();
        assert!(give(&places, "192.0.2.7").is_none());
        let others = [give(&places, "192.0.2.8"), give(&places, "2001:db8::1")];
        assert!(others.iter().all(Option::is_some));
        assert!(give(&places, "2001:db8::2").is_none(), "now there is none left");
        greedy.pop();
        assert!(give(&places, "192.0.2.7").is_some());
        drop((greedy, others));
        assert!(places.taken().is_empty());
        assert_eq!(places.free.available_permits(), 8);
    }

    #[test]
    fn few_places_are_for_everybody() {
        for most in 1..4 {
            let places = Places::new(most);
            let all: Vec<Place> = std::iter::from_fn(|| give(&places, "192.0.2.7")).collect();
            assert_eq!(all.len(), most);
        }
    }
}
