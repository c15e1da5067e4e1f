//! What a person can do to the demo fleet while it runs: each pull does it, the next one undoes it.

use serde_json::{Value, json};

use super::changes::{Kind, News};
use super::fleet::DemoFleet;
use super::scenario::{MEMBERS, REPOSITORIES};
use super::view::View;
use crate::sim::Failure;

/// The repository whose Secret is broken, as its policy names it: production, so that it shows within seconds.
const PAYMENTS: &str = "payments";
const WRONG: &str = "changed by somebody";
/// The policy that can't be, and what it should have said.
const TYPO: (&str, &str) = ("games-typo", "*/1 * * * *");

/// One thing to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    /// The API server of a member, by its place in the scenario.
    Member(usize),
    /// The password in the Secret of one repository, where it is maintained.
    Secret,
    /// The schedule of one policy.
    Policy,
}

impl Lever {
    /// `1` is the first member.
    pub fn of(key: u8) -> Option<Self> {
        match key {
            b's' | b'S' => Some(Self::Secret),
            b'p' | b'P' => Some(Self::Policy),
            b'1'..=b'9' => {
                Some(Self::Member(usize::from(key - b'1'))).filter(|_| usize::from(key - b'1') < MEMBERS.len())
            }
            _ => None,
        }
    }

    /// What the keys do, in two lines.
    pub fn help() -> [String; 2] {
        let keys = MEMBERS.iter().enumerate().map(|(at, plan)| format!("{} {}", at + 1, plan.name));
        let members = keys.collect::<Vec<_>>().join(", ");
        [
            format!("keys  {members}: stop or start its API server"),
            format!("      s: break or mend the Secret of {PAYMENTS}   p: correct or spoil the policy {}", TYPO.0),
        ]
    }
}

/// What has been pulled.
#[derive(Debug)]
pub struct Levers {
    /// By place in the scenario.
    down: Vec<bool>,
    /// The member where the Secret is broken.
    broken: Option<&'static str>,
    /// What the policy said before it was corrected.
    spoilt: Option<Value>,
}

impl Default for Levers {
    fn default() -> Self {
        Self { down: MEMBERS.iter().map(|plan| plan.down).collect(), broken: None, spoilt: None }
    }
}

impl Levers {
    /// Nothing is otherwise than at the start.
    pub fn are_at_rest(&self) -> bool {
        self.broken.is_none()
            && self.spoilt.is_none()
            && self.down.iter().zip(MEMBERS).all(|(down, plan)| *down == plan.down)
    }

    /// Does it, and says what was done.
    pub fn pull(&mut self, lever: Lever, fleet: &DemoFleet, view: &View) -> News {
        let (text, kind) = match lever {
            Lever::Member(at) => Ok(self.member(at, fleet)),
            Lever::Secret => self.secret(fleet, view),
            Lever::Policy => self.policy(fleet),
        }
        .unwrap_or_else(|refused| (format!("tried in vain: {refused}"), Kind::Bad));
        News { subject: "you".to_owned(), text, kind }
    }

    fn member(&mut self, at: usize, fleet: &DemoFleet) -> (String, Kind) {
        let (Some(down), Some(member)) = (self.down.get_mut(at), fleet.members.get(at)) else {
            return ("there is no such member".to_owned(), Kind::Neutral);
        };
        *down = !*down;
        member.faults().refuse_connections(*down);
        let did = if *down { "stopped" } else { "started" };
        (format!("{did} the API server of {}; its Jobs go on", member.name()), Kind::Neutral)
    }

    fn secret(&mut self, fleet: &DemoFleet, view: &View) -> Result<(String, Kind), Failure> {
        let Some(plan) = REPOSITORIES.iter().find(|plan| plan.password == PAYMENTS) else {
            return Ok(("there is no such Secret".to_owned(), Kind::Neutral));
        };
        let holder =
            view.repositories.iter().find(|row| row.location.contains(PAYMENTS)).and_then(|row| row.holder.as_ref());
        let holder = self.broken.map(str::to_owned).or_else(|| holder.map(|(member, _)| member.clone()));
        let used = plan.uses.iter().find(|used| Some(used.member) == holder.as_deref()).unwrap_or(&plan.uses[0]);
        let (password, did) = match self.broken {
            Some(_) => (plan.password, "mended"),
            None => (WRONG, "broke"),
        };
        if let Some(member) = fleet.member(used.member) {
            let change = json!({"stringData": {"KOPIA_PASSWORD": password}});
            member.actor("you").merge(("", "secrets"), (used.namespace, used.secret), &change)?;
        }
        self.broken = self.broken.is_none().then_some(used.member);
        let text = format!("{did} the password in Secret {}/{} of {}", used.namespace, used.secret, used.member);
        Ok((text, Kind::Neutral))
    }

    fn policy(&mut self, fleet: &DemoFleet) -> Result<(String, Kind), Failure> {
        let (name, right) = TYPO;
        let (actor, of) = (fleet.hub.actor("you"), ("volsync.backube", "kopiamaintenances"));
        let before = actor.get(of.0, of.1, "", name).map(|policy| policy["spec"]["schedule"].clone());
        let schedule = self.spoilt.take().unwrap_or_else(|| {
            self.spoilt = before;
            right.into()
        });
        actor.merge(of, ("", name), &json!({"spec": {"schedule": schedule}}))?;
        Ok((format!("gave the policy {name} the schedule {schedule}"), Kind::Neutral))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn schedule(fleet: &DemoFleet) -> String {
        let policy = fleet.hub.actor("test").get("volsync.backube", "kopiamaintenances", "", TYPO.0).unwrap();
        policy["spec"]["schedule"].as_str().unwrap().to_owned()
    }

    fn password(fleet: &DemoFleet) -> String {
        let secret =
            fleet.member("paris").unwrap().actor("test").get("", "secrets", PAYMENTS, "kopia-payments").unwrap();
        secret["data"]["KOPIA_PASSWORD"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_second_pull_undoes_what_the_first_did() {
        let fleet = DemoFleet::start().await.unwrap();
        let (mut levers, view) = (Levers::default(), View::default());
        let before = (schedule(&fleet), password(&fleet));
        assert!(levers.are_at_rest());
        for lever in [Lever::Policy, Lever::Secret, Lever::Member(1)] {
            let news = levers.pull(lever, &fleet, &view);
            assert_ne!(news.kind, Kind::Bad, "{news:?}");
        }
        assert_eq!(schedule(&fleet), TYPO.1);
        assert_ne!(password(&fleet), before.1);
        assert!(!levers.are_at_rest());
        for lever in [Lever::Policy, Lever::Secret, Lever::Member(1)] {
            levers.pull(lever, &fleet, &view);
        }
        assert_eq!((schedule(&fleet), password(&fleet)), before);
        assert!(levers.are_at_rest());
    }

    #[test]
    fn each_member_has_a_key_and_other_keys_do_nothing() {
        assert_eq!(Lever::of(b'1'), Some(Lever::Member(0)));
        assert_eq!(Lever::of(b'5'), Some(Lever::Member(4)));
        assert_eq!((Lever::of(b'6'), Lever::of(b'0'), Lever::of(b'x'), Lever::of(b'\n')), (None, None, None, None));
        assert_eq!((Lever::of(b's'), Lever::of(b'p')), (Some(Lever::Secret), Some(Lever::Policy)));
        assert!(MEMBERS.iter().all(|plan| Lever::help()[0].contains(plan.name)));
    }
}
