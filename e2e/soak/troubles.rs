//! What goes wrong, drawn from a seed: of members in groups by the last digit of their numbers, of the hub's cluster, and of
//! the replicas.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Fail;
use crate::scale::fleet::Fleet;

/// Members whose number ends on another digit stay well, but for their credentials.
const GROUPS: usize = 8;
/// At the hub's own API server trouble is short: it is the same for the whole fleet.
const HUB_SECONDS: (u64, u64) = (2, 12);
const SECONDS: (u64, u64) = (5, 60);

/// A linear congruential generator: the same seed, the same trouble.
#[derive(Debug)]
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// From 0 on, below this.
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most.max(1)
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_secs(least + self.below(most - least + 1))
    }
}

/// What is wrong now, by whom it concerns, and until when.
#[derive(Debug, Default)]
pub struct Troubles {
    open: Vec<(Whom, Instant)>,
    /// How often each kind was made.
    pub made: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Whom {
    Group(usize),
    Hub,
    /// A kubeconfig that was taken away, and where it is kept.
    Away {
        from: PathBuf,
        kept: PathBuf,
    },
}

impl Troubles {
    /// Ends what is over, and makes something new.
    pub async fn step(&mut self, fleet: &Fleet, draw: &mut Draw) -> Result<(), Fail> {
        self.end(fleet, Some(Instant::now())).await?;
        match draw.below(20) {
            0 | 1 => self.take_away(fleet, draw)?,
            2..=4 => {
                // As a controller does that renews tokens: the one before is good for a while, or not.
                let lasts = [0, 10, 30][usize::try_from(draw.below(3))?];
                fleet.rotate(&format!("member-*{}", draw.below(10)), lasts).await?;
                self.count("credentials rotated");
            }
            5 => {
                let (kind, fault) = pick(&hub_faults(), draw);
                self.fail(fleet, Whom::Hub, kind, &fault, draw.between(HUB_SECONDS)).await?;
            }
            _ => {
                let (kind, fault) = pick(&faults(), draw);
                let group = usize::try_from(draw.below(GROUPS as u64))?;
                self.fail(fleet, Whom::Group(group), kind, &fault, draw.between(SECONDS)).await?;
            }
        }
        Ok(())
    }

    /// Ends everything.
    pub async fn heal(&mut self, fleet: &Fleet) -> Result<(), Fail> {
        self.end(fleet, None).await
    }

    pub fn count(&mut self, kind: &'static str) {
        *self.made.entry(kind).or_default() += 1;
    }

    async fn fail(
        &mut self,
        fleet: &Fleet,
        whom: Whom,
        kind: &'static str,
        fault: &Value,
        lasts: Duration,
    ) -> Result<(), Fail> {
        if self.open.iter().any(|(open, _)| *open == whom) {
            return Ok(());
        }
        fleet.faults(&whom.name(), fault).await?;
        self.open.push((whom, Instant::now() + lasts));
        self.count(kind);
        Ok(())
    }

    /// A member's kubeconfig goes for a while.
    fn take_away(&mut self, fleet: &Fleet, draw: &mut Draw) -> Result<(), Fail> {
        let files = fleet.member_kubeconfigs()?;
        let from = files[usize::try_from(draw.below(files.len() as u64))?].clone();
        let name = from.file_name().ok_or("a kubeconfig without a name")?;
        let kept = fleet.members().with_file_name(format!("away-{}", name.to_string_lossy()));
        std::fs::rename(&from, &kept)?;
        self.open.push((Whom::Away { from, kept }, Instant::now() + draw.between(SECONDS)));
        self.count("members taken away");
        Ok(())
    }

    /// What ends by now, or everything.
    async fn end(&mut self, fleet: &Fleet, by: Option<Instant>) -> Result<(), Fail> {
        let over = |until: &Instant| by.is_none_or(|by| *until <= by);
        let (ended, open) = std::mem::take(&mut self.open).into_iter().partition(|(_, until)| over(until));
        self.open = open;
        let ended: Vec<(Whom, Instant)> = ended;
        for (whom, _) in ended {
            match whom {
                // Rotated meanwhile: that one is the right one.
                Whom::Away { from, kept } if from.exists() => std::fs::remove_file(kept)?,
                Whom::Away { from, kept } => std::fs::rename(kept, from)?,
                well => fleet.faults(&well.name(), &json!({})).await?,
            }
        }
        Ok(())
    }
}

impl Whom {
    fn name(&self) -> String {
        match self {
            Self::Group(digit) => format!("member-*{digit}"),
            Self::Hub | Self::Away { .. } => "hub".to_owned(),
        }
    }
}

fn pick(of: &[(&'static str, Value)], draw: &mut Draw) -> (&'static str, Value) {
    let index = usize::try_from(draw.below(of.len() as u64)).unwrap_or_default();
    of[index].clone()
}

fn faults() -> Vec<(&'static str, Value)> {
    vec![
        ("slow answers", json!({"latencyMillis": 700})),
        ("401", json!({"answer": 401})),
        ("429", json!({"answer": 429})),
        ("503", json!({"answer": 503})),
        ("down", json!({"down": true})),
        ("silent", json!({"silent": true})),
        ("hanging requests", json!({"hang": true})),
        ("stalled watches", json!({"stallWatches": true})),
        ("watches that end", json!({"endWatches": true})),
        ("410", json!({"expireVersions": true})),
        ("slow bodies", json!({"bytesPerSecond": 20_000})),
        ("cut bodies", json!({"cutBodiesAfter": 3_000})),
        ("clock ahead", json!({"clockAheadSeconds": 3_600})),
        ("clock behind", json!({"clockAheadSeconds": -3_600})),
        ("a pile of sources", json!({"pile": 2_000})),
    ]
}

fn hub_faults() -> Vec<(&'static str, Value)> {
    vec![
        ("hub: slow answers", json!({"latencyMillis": 500})),
        ("hub: 503", json!({"answer": 503})),
        ("hub: down", json!({"down": true})),
        ("hub: watches that end", json!({"endWatches": true})),
        ("hub: 410", json!({"expireVersions": true})),
    ]
}
