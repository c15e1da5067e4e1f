//! What happened between two looks at the fleet, one sentence each. Pure.

use std::collections::BTreeMap;

use super::view::{MemberRow, RepositoryRow, Stage, View};
use crate::api::kopia_repository::RunStatus;

/// One line of news: about what, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub subject: String,
    pub text: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Good,
    Neutral,
    Bad,
}

/// News in the order of the rows.
pub fn changes(before: &View, after: &View) -> Vec<News> {
    let old_members: BTreeMap<&str, &MemberRow> = before.members.iter().map(|row| (row.name.as_str(), row)).collect();
    let old: BTreeMap<&str, &RepositoryRow> = before.repositories.iter().map(|row| (row.name.as_str(), row)).collect();
    let mut news = Vec::new();
    for row in &after.members {
        of_member(old_members.get(row.name.as_str()).copied(), row, &mut news);
    }
    for row in &after.repositories {
        of_repository(old.get(row.name.as_str()).copied(), row, &mut news);
    }
    for row in &before.repositories {
        if !after.repositories.iter().any(|now| now.name == row.name) {
            news.push(News { subject: row.location.clone(), text: "is known no more".to_owned(), kind: Kind::Neutral });
        }
    }
    news
}

fn of_member(old: Option<&MemberRow>, row: &MemberRow, news: &mut Vec<News>) {
    // Whatever is not reached at the first look may only not have been tried yet.
    if old.and_then(|old| old.reachable) == row.reachable || (old.is_none() && row.reachable == Some(false)) {
        return;
    }
    let (text, kind) = match row.reachable {
        Some(true) => ("its API server answers".to_owned(), Kind::Good),
        Some(false) => (format!("out of reach: {}", row.why), Kind::Bad),
        None => return,
    };
    news.push(News { subject: format!("member {}", row.name), text, kind });
}

fn of_repository(old: Option<&RepositoryRow>, row: &RepositoryRow, news: &mut Vec<News>) {
    let mut push = |kind, text: String| news.push(News { subject: row.location.clone(), text, kind });
    let known = old.map_or(&[][..], |old| &old.failed_secrets);
    for (cluster, secret, reason) in row.failed_secrets.iter().filter(|failed| !known.contains(failed)) {
        push(Kind::Bad, format!("{cluster} can't: Secret {secret} ended {reason}; it makes room for the next"));
    }
    let moved = old.is_none_or(|old| {
        std::mem::discriminant(&old.stage) != std::mem::discriminant(&row.stage) || old.holder != row.holder
    });
    if moved && let Some((kind, text)) = sentence(row) {
        push(kind, text);
    }
    let recorded = old.map_or(&[][..], |old| &old.runs);
    for run in row.runs.iter().rev().filter(|run| !recorded.contains(run)) {
        let kind = if run.outcome == "Succeeded" { Kind::Good } else { Kind::Bad };
        push(kind, run_sentence(run));
    }
}

fn sentence(row: &RepositoryRow) -> Option<(Kind, String)> {
    let holder = row.holder.as_ref().map_or("nobody", |(name, _)| name);
    let policy = row.policy.as_deref().unwrap_or("none");
    Some(match row.stage {
        Stage::Found => return None,
        Stage::Claiming => (Kind::Neutral, format!("{holder} is to maintain it, under policy {policy}")),
        Stage::Waiting(_) => (
            Kind::Neutral,
            format!("{holder} is Kopia's recorded owner now; a run of the former owner could still be going on"),
        ),
        Stage::Maintained => (Kind::Good, format!("{holder} maintains it, and nobody else")),
        Stage::Failing => (Kind::Bad, row.why.clone()),
        Stage::OptedOut => (Kind::Neutral, format!("opted out: {}", row.why)),
        Stage::Suspended | Stage::Frozen | Stage::Held | Stage::NoPolicy | Stage::NoCandidate => {
            (Kind::Bad, format!("{}: {}", row.stage.word(), row.why))
        }
    })
}

fn run_sentence(run: &RunStatus) -> String {
    let reason = run.reason.as_deref().filter(|_| run.outcome != "Succeeded");
    let more = match (run.reclaimed_bytes, reason) {
        (Some(bytes), _) => format!(", {} MiB given back", bytes >> 20),
        (None, Some(reason)) => format!(": {reason}"),
        (None, None) => String::new(),
    };
    format!("a run in {} ended {}{more}", run.cluster, run.outcome)
}

/// `1 source`, `2 sources`
pub fn count(number: i64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
