//! File descriptors: each member takes one or two, and a process without any left reaches nobody.

use std::time::Duration;

use procfs::process::Process;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Raises the limit of this process to the hard one; how many may be open from then on, none: as many as one likes.
pub fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        return before;
    }
    limit.current
}

/// Says when they run short, once each time.
pub async fn watch(limit: Option<u64>, cancel: CancellationToken) {
    let Some(limit) = limit else { return };
    let mut short = false;
    while cancel.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let Ok(open) = Process::myself().and_then(|process| process.fd_count()) else { continue };
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        if is_short(open, limit) && !short {
            warn!(
                open,
                limit,
                "file descriptors run short: without any left no member can be reached; raise the hard limit of open \
                 files of the container runtime, or register fewer members with this hub"
            );
        }
        short = is_short(open, limit);
    }
}

/// A fifth is left at most.
fn is_short(open: u64, limit: u64) -> bool {
    open.saturating_mul(5) >= limit.saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }

    #[test]
    fn a_fifth_that_is_left_is_short() {
        for (open, limit, short) in [(0, 0, true), (79, 100, false), (80, 100, true), (u64::MAX, u64::MAX, true)] {
            assert_eq!(is_short(open, limit), short, "{open} of {limit}");
        }
    }
}
