//! How much of what has a bound is used, for the metrics.

use tokio::sync::{Semaphore, mpsc};

/// Of one queue, or of what may happen at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    pub used: usize,
    pub limit: usize,
}

impl Bound {
    /// `limit`: how many permits the semaphore was made with.
    pub fn of_permits(semaphore: &Semaphore, limit: usize) -> Self {
        Self { used: limit.saturating_sub(semaphore.available_permits()), limit }
    }

    /// Nothing of nothing once the queue is closed.
    pub fn of_queue<T>(sender: &mpsc::WeakSender<T>) -> Self {
        sender.upgrade().map_or_else(Self::default, |sender| {
            let limit = sender.max_capacity();
            Self { used: limit - sender.capacity(), limit }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_used_is_counted_and_what_is_gone_has_no_bound() {
        let semaphore = Semaphore::new(3);
        let permit = semaphore.try_acquire();
        assert_eq!(Bound::of_permits(&semaphore, 3), Bound { used: 1, limit: 3 });
        drop(permit);
        assert_eq!(Bound::of_permits(&semaphore, 3).used, 0);
        let (sender, received) = mpsc::channel(4);
        let weak = sender.downgrade();
        assert!(sender.try_send(()).is_ok());
        assert_eq!(Bound::of_queue(&weak), Bound { used: 1, limit: 4 });
        drop((sender, received));
        assert_eq!(Bound::of_queue(&weak), Bound::default());
    }
}
