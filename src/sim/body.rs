//! The bodies of answers: counted as they go, and slow or cut short where a fault says so.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use hyper::body::{Body as _, Frame};

use super::faults::Bodies;
use super::tally::Tally;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Pieces of a slow body come this often.
const PIECE_EVERY: Duration = Duration::from_millis(100);
const PIECES_A_SECOND: u64 = 10;

/// A body under way.
struct Sending {
    body: BodyDataStream<Body>,
    pending: Bytes,
    bodies: Bodies,
    /// Until it is cut.
    left: usize,
    tally: Tally,
}

/// The answer as it is sent.
pub(super) fn sent(response: Response<Body>, bodies: Bodies, tally: &Tally) -> Response<Body> {
    if bodies == Bodies::default()
        && let Some(length) = response.body().size_hint().exact()
    {
        tally.count_bytes(usize::try_from(length).unwrap_or(usize::MAX));
        return response;
    }
    let left = bodies.cut_after.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    response.map(|body| {
        let body = body.into_data_stream();
        let sending = Sending { body, pending: Bytes::new(), bodies, left, tally: tally.clone() };
        StreamBody::new(sending.into_frames()).boxed_unsync()
    })
}

impl Sending {
    fn into_frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
        futures::stream::unfold(self, |mut sending| async move {
            let piece = sending.next().await?;
            Some((Ok(Frame::data(piece)), sending))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() {
            let Ok(more) = self.body.next().await?;
            self.pending = more;
        }
        let mut most = self.left.min(self.pending.len());
        if let Some(rate) = self.bodies.bytes_a_second {
            tokio::time::sleep(PIECE_EVERY).await;
            most = most.min(usize::try_from((rate / PIECES_A_SECOND).max(1)).unwrap_or(usize::MAX));
        }
        if most == 0 {
            return None;
        }
        self.left -= most;
        self.tally.count_bytes(most);
        Some(self.pending.split_to(most))
    }
}
