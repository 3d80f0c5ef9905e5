//! What is left of large tables that are gone, whichever way they went: a few pieces of it are freed in each turn.

use std::cell::RefCell;

thread_local! {
    /// Each gives one piece after the other to be dropped.
    static GONE: RefCell<Vec<Box<dyn Iterator<Item = ()>>>> = const { RefCell::new(Vec::new()) };
}

/// Leaves pieces to be freed later.
pub(super) fn leave<T: 'static>(pieces: impl Iterator<Item = T> + 'static) {
    // A thread that ends may have no such list any more, and nobody who waits for it.
    let _ = GONE.try_with(|gone| gone.borrow_mut().push(Box::new(pieces.map(drop))));
}

/// Whether something is left.
pub fn has_gone() -> bool {
    GONE.with_borrow(|gone| !gone.is_empty())
}

/// Frees so many pieces.
pub fn free_gone(most: usize) {
    GONE.with_borrow_mut(|gone| {
        let mut left = most;
        while left > 0
            && let Some(pieces) = gone.last_mut()
        {
            left -= 1;
            if pieces.next().is_none() {
                gone.pop();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn what_is_gone_is_freed_a_few_pieces_at_a_time() {
        let piece = Rc::new(());
        leave(vec![Rc::clone(&piece); 10].into_iter());
        leave(vec![Rc::clone(&piece); 1].into_iter());
        assert_eq!(Rc::strong_count(&piece), 12);
        free_gone(5);
        assert!(has_gone() && Rc::strong_count(&piece) >= 12 - 5);
        free_gone(20);
        assert!(!has_gone());
        assert_eq!(Rc::strong_count(&piece), 1);
    }
}
