//! The demo on a terminal: the whole screen, drawn anew at each look.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::output::{Cell, Table, Tone, duration, relative};
use crate::demo::changes::{Kind, News};
use crate::demo::fleet::{SPEED, TIME_FACTOR};
use crate::demo::view::{MemberRow, RepositoryRow, Stage, View};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the top left; what is left of the former frame is cleared line by line, which does not flicker.
const HOME: &str = "\x1b[H";
const CLEAR_ALL: &str = "\x1b[2J\x1b[H";
/// Frames between two drawn from scratch.
const CLEAR_EVERY: u64 = 20;
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// Where the terminal does not tell.
const SIZE_DEFAULT: (usize, usize) = (120, 40);
/// The location's column where lines may be long; longer ones are cut.
pub const LOCATION_MAX: usize = 56;
/// What the other columns need.
const OTHER_COLUMNS: usize = 92;
/// Below this nobody knows which repository it is.
const LOCATION_MIN: usize = 24;

/// The terminal's other screen; dropping it gives the first one back.
pub struct Screen {
    frames: u64,
}

/// What a frame shows beside the fleet.
pub struct Frame {
    pub elapsed: Duration,
    pub ends: Option<Duration>,
    pub now: Timestamp,
    /// What to do while it runs.
    pub hints: Vec<String>,
}

impl Screen {
    pub fn open() -> Self {
        write(ENTER);
        Self { frames: 0 }
    }

    pub fn draw(&mut self, view: &View, news: &VecDeque<(Duration, News)>, frame: &Frame) {
        let (width, height) = size();
        self.frames += 1;
        // Now and then from scratch: something else may have written to the terminal.
        let start = if self.frames % CLEAR_EVERY == 1 { CLEAR_ALL } else { HOME };
        let mut text = start.to_owned();
        for line in lines(view, news, frame, (width, height)) {
            text += &cut(&line, width);
            text += CLEAR_LINE;
            text += "\r\n";
        }
        text += CLEAR_BELOW;
        write(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
    }
}

fn write(text: &str) {
    let mut output = anstream::stdout().lock();
    // A terminal that went away shows nothing any more.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or(SIZE_DEFAULT, |(width, height)| (width.0.into(), height.0.into()))
}

/// All lines of a frame that fit, news last.
fn lines(
    view: &View,
    news: &VecDeque<(Duration, News)>,
    frame: &Frame,
    (width, height): (usize, usize),
) -> Vec<String> {
    let mut lines = vec![heading(frame), hint()];
    lines.extend(frame.hints.iter().cloned());
    lines.extend([String::new(), members(view), String::new()]);
    let location = width.saturating_sub(OTHER_COLUMNS).clamp(LOCATION_MIN, LOCATION_MAX);
    lines.extend(repositories(view, frame.now, location).lines().map(str::to_owned));
    lines.push(String::new());
    let room = height.saturating_sub(lines.len() + 2);
    if room > 0 {
        lines.push(Tone::Faint.paint("WHAT HAPPENS"));
        let first = news.len().saturating_sub(room);
        lines.extend(news.iter().skip(first).map(|(when, news)| news_line(*when, news).trim_end().to_owned()));
    }
    lines.truncate(height.saturating_sub(1));
    lines
}

fn heading(frame: &Frame) -> String {
    let end = match frame.ends {
        Some(ends) => format!("ends after {} s", ends.as_secs()),
        None => "Ctrl-C ends it".to_owned(),
    };
    format!("volsync-hub demo: a simulated fleet, the real hub   {} s, {end}", frame.elapsed.as_secs())
}

fn hint() -> String {
    let text = format!(
        "Simulated: clusters, Jobs, repositories. A minute of a member's clock passes in {} s; waits of the protocol \
         are divided by {TIME_FACTOR}.",
        60 / SPEED
    );
    Tone::Faint.paint(&text)
}

fn members(view: &View) -> String {
    let shown: Vec<String> = view.members.iter().map(member).collect();
    format!("MEMBERS   {}", shown.join("   "))
}

fn member(row: &MemberRow) -> String {
    match row.reachable {
        Some(true) => format!("{} {}", Tone::Good.paint("●"), row.name),
        Some(false) => Tone::Bad.paint(&format!("○ {} (out of reach)", row.name)),
        None => Tone::Faint.paint(&format!("○ {}", row.name)),
    }
}

/// The table of the fleet.
pub fn repositories(view: &View, now: Timestamp, location_max: usize) -> String {
    let mut table = Table::new(["REPOSITORY", "USED BY", "POLICY", "STATE", "RUNS IN", "LAST RUN", "NEXT"]);
    for row in &view.repositories {
        let used = match (row.members, row.sources) {
            (0, 0) => "no source".to_owned(),
            (members, sources) => format!("{sources} in {members}"),
        };
        let holder = row.holder.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let (last, tone) = last_run(row, now);
        table.row([
            Cell::from(shortened(&row.location, location_max)),
            Cell::from(used),
            Cell::from(row.policy.clone().unwrap_or_default()),
            state(row, now),
            Cell::from(holder),
            Cell::new(last, tone),
            Cell::from(row.next.map(|next| next_run(next, now)).unwrap_or_default()),
        ]);
    }
    table.render()
}

fn shortened(location: &str, most: usize) -> String {
    if location.chars().count() <= most {
        return location.to_owned();
    }
    location.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn state(row: &RepositoryRow, now: Timestamp) -> Cell {
    let word = row.stage.word();
    match row.stage {
        Stage::Maintained => Cell::new(word, Tone::Good),
        Stage::Waiting(Some(until)) if until > now => {
            Cell::new(format!("{word} {}", relative(until, now)), Tone::Warning)
        }
        Stage::Found | Stage::Claiming | Stage::Waiting(_) => Cell::new(word, Tone::Warning),
        Stage::OptedOut | Stage::Suspended | Stage::Frozen => Cell::new(word, Tone::Faint),
        Stage::Failing | Stage::Held | Stage::NoPolicy | Stage::NoCandidate => Cell::new(word, Tone::Bad),
    }
}

fn last_run(row: &RepositoryRow, now: Timestamp) -> (String, Tone) {
    let Some(run) = row.runs.first() else { return (String::new(), Tone::Plain) };
    let when = run.end.as_ref().map(|end| format!(" {}", relative(end.0, now))).unwrap_or_default();
    let tone = if run.outcome == "Succeeded" { Tone::Good } else { Tone::Bad };
    (format!("{}{when}", run.outcome), tone)
}

/// What is soon, is so by the members' fast clocks; what is far away is told by its date.
fn next_run(next: Timestamp, now: Timestamp) -> String {
    const SOON: i64 = 3600;
    let seconds = next.as_second() - now.as_second();
    match u64::try_from(seconds) {
        Ok(seconds) if i64::try_from(seconds).is_ok_and(|seconds| seconds < SOON) => {
            format!("within {}", duration((seconds / u64::from(SPEED)).max(60 / u64::from(SPEED))))
        }
        Ok(_) => next.strftime("%a %d %H:%M UTC").to_string(),
        Err(_) => "due".to_owned(),
    }
}

pub fn news_line(when: Duration, news: &News) -> String {
    let tone = match news.kind {
        Kind::Good => Tone::Good,
        Kind::Neutral => Tone::Plain,
        Kind::Bad => Tone::Warning,
    };
    let when = format!("{:>3} s", when.as_secs());
    let text: String = news.text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("{}  {}  {}\n", Tone::Faint.paint(&when), shortened(&news.subject, LOCATION_MAX), tone.paint(&text))
}

/// Cuts what can be seen; escape sequences take no room, and colours end with the line.
fn cut(line: &str, width: usize) -> String {
    let (mut text, mut seen, mut escape) = (String::new(), 0, false);
    for letter in line.chars() {
        if escape {
            escape = !letter.is_ascii_alphabetic();
        } else if letter == '\x1b' {
            escape = true;
        } else if seen == width {
            continue;
        } else {
            seen += 1;
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen_and_its_colours_end() {
        assert_eq!(cut("abcdef", 4), "abcd");
        assert_eq!(cut("\x1b[32mgreen\x1b[39m and more", 5), "\x1b[32mgreen\x1b[39m");
        assert_eq!(cut("\x1b[32mgreen\x1b[39m", 3), "\x1b[32mgre\x1b[39m");
    }
}
