//! Reads the events of a watch line by line, with a bound on each line and no buffer while none comes.
//!
//! The client's own reader keeps 8 kB for each watch, some 50 kB a member, and lets a line grow without end.

use std::pin::Pin;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use kube::core::{Status, WatchEvent};
use serde::de::DeserializeOwned;

/// An object may have 1.5 MiB in etcd; in an event it may be larger by what escapes cost.
pub const LINE_MAX: usize = 8 << 20;
/// A watch whose answer has begun.
pub struct Lines {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
    bytes: usize,
}

impl Lines {
    pub fn new(body: impl AsyncBufRead + Send + 'static) -> Self {
        Self { body: Box::pin(body), line: Vec::new(), bytes: 0 }
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns once there is something to be read, or the watch has ended or failed.
    pub async fn wait(&mut self) {
        // An error comes again where it is read.
        let _ = self.body.fill_buf().await;
    }

    /// The next event; none: the watch has ended. What was read of a line stays where this future is dropped.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<Result<WatchEvent<T>, kube::Error>> {
        loop {
            let read = match self.body.fill_buf().await {
                Ok(read) => read,
                Err(error) => return Some(Err(kube::Error::ReadEvents(error))),
            };
            if read.is_empty() {
                // Half an event that was cut off is none: the next watch brings it whole.
                return match parse(&std::mem::take(&mut self.line)) {
                    Some(Err(kube::Error::SerdeError(error))) if error.is_eof() => None,
                    event => event,
                };
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let piece = &read[..end.unwrap_or(read.len())];
            let mut event = None;
            if end.is_some() && self.line.is_empty() {
                event = parse(piece);
            } else {
                self.line.extend_from_slice(piece);
                if self.line.len() > LINE_MAX {
                    return Some(Err(kube::Error::LinesCodecMaxLineLengthExceeded));
                }
                if end.is_some() {
                    event = parse(&std::mem::take(&mut self.line));
                }
            }
            let length = piece.len() + usize::from(end.is_some());
            self.body.consume_unpin(length);
            self.bytes = self.bytes.saturating_add(length);
            if event.is_some() {
                return event;
            }
        }
    }
}

/// None: a blank line.
fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<Result<WatchEvent<T>, kube::Error>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    match serde_json::from_slice(line) {
        Ok(event) => Some(Ok(event)),
        Err(error) => Some(Err(match serde_json::from_slice::<Status>(line) {
            // A server that can't begin a watch may say so where events are expected.
            Ok(status) if status.code != 0 => kube::Error::Api(Box::new(status)),
            _ => kube::Error::SerdeError(error),
        })),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use futures::io::Cursor;
    use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

    use super::*;
    use crate::member::wire::Bare;

    fn event(name: &str) -> String {
        format!("{{\"type\": \"ADDED\", \"object\": {{\"metadata\": {{\"name\": \"{name}\"}}}}}}\n")
    }

    async fn names(text: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(Cursor::new(text.to_owned()));
        let mut names = Vec::new();
        while let Some(event) = lines.next::<Bare>().await {
            names.push(match event {
                Ok(WatchEvent::Added(object)) => object.metadata.name.to_string(),
                Ok(other) => format!("{other:?}"),
                Err(error) => error.to_string(),
            });
        }
        names
    }

    #[tokio::test]
    async fn events_come_line_by_line_and_half_a_line_is_none() {
        let text = format!("{}\r\n\n{}{}", event("one"), event("two"), &event("three")[..20]);
        assert_eq!(names(text.as_bytes()).await, ["one", "two"]);
        assert_eq!(names(event("one").trim().as_bytes()).await, ["one"], "a last line needs no end");
    }

    #[tokio::test]
    async fn what_is_no_event_is_told_and_a_status_for_what_it_is() {
        let status = "{\"kind\": \"Status\", \"code\": 410, \"message\": \"too old\", \"reason\": \"Expired\"}\n";
        let mut lines = Lines::new(Cursor::new(status));
        let error = lines.next::<Bare>().await.unwrap().unwrap_err();
        assert!(matches!(&error, kube::Error::Api(status) if status.code == 410), "{error}");
        let mut lines = Lines::new(Cursor::new("no event\n"));
        assert!(matches!(lines.next::<Bare>().await, Some(Err(kube::Error::SerdeError(_)))));
        // A whole line is a whole event: with the next one, whatever it was about would be passed over.
        let mut lines = Lines::new(Cursor::new(format!("{}\n{}", &event("one")[..20], event("two"))));
        assert!(matches!(lines.next::<Bare>().await, Some(Err(kube::Error::SerdeError(_)))));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_given_up() {
        let piece = vec![b'x'; 64 << 10];
        let pieces =
            futures::stream::iter(std::iter::repeat_n(piece.clone(), (LINE_MAX >> 16) + 2).map(Ok::<_, Infallible>));
        let mut lines = Lines::new(pieces.map_err(std::io::Error::other).into_async_read());
        let error = lines.next::<Bare>().await.unwrap().unwrap_err();
        assert!(matches!(error, kube::Error::LinesCodecMaxLineLengthExceeded), "{error}");
        assert!(lines.line.len() <= LINE_MAX + piece.len());
    }

    #[tokio::test]
    async fn who_stops_waiting_in_the_middle_of_a_line_loses_nothing() {
        let text = event("one");
        let (first, rest) = text.split_at(15);
        let (first, rest) = (first.to_owned(), rest.to_owned());
        let waits = futures::stream::once(async {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(rest)
        });
        let pieces = futures::stream::iter([Ok(first)]).chain(waits).boxed();
        let mut lines = Lines::new(pieces.into_async_read());
        assert!(lines.next::<Bare>().now_or_never().is_none(), "the rest has not come");
        let Some(Ok(WatchEvent::Added(object))) = lines.next::<Bare>().await else { panic!("no event") };
        assert_eq!(&*object.metadata.name, "one");
    }

    #[tokio::test]
    async fn a_line_leaves_no_buffer() {
        let long = event(&"n".repeat(1 << 20));
        let mut lines = Lines::new(Cursor::new(long));
        assert!(lines.next::<Bare>().await.unwrap().is_ok());
        assert_eq!(lines.line.capacity(), 0);
    }
}
