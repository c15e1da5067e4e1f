//! Plays the mover script in a simulated Pod: the same arguments and environment in, the same report out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::repositories::{Repositories, Repository};

/// A permit is good from this long before it was issued: clocks differ.
const CLOCK_TOLERANCE_SECONDS: i64 = 120;

/// What a Pod is to do, read from its container and the Secret it names.
#[derive(Clone, Debug)]
pub struct Mission {
    claim: bool,
    /// The place in the simulated stores; none where the arguments name none.
    pub location: Option<String>,
    member: String,
    pod: String,
    environment: BTreeMap<String, String>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    pub exit_code: i32,
    /// The termination message.
    pub message: String,
}

impl Mission {
    /// `secret` finds a Secret of the Pod's namespace by name.
    pub fn read(pod: &Value, member: &str, secret: impl Fn(&str) -> Option<Value>) -> Self {
        let container = &pod["spec"]["containers"][0];
        let arguments: Vec<&str> =
            container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let environment = environment(container, &secret);
        let config = from_config(pod, &secret);
        Self {
            claim: arguments.first() == Some(&"claim"),
            location: location(arguments.get(1..).unwrap_or_default(), config.as_ref(), member),
            member: member.to_owned(),
            pod: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            environment,
        }
    }

    fn variable(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }
    fn number(&self, name: &str) -> i64 {
        self.variable(name).parse().unwrap_or_default()
    }

    /// The Pod has started. A run is in its repository from here on.
    pub fn begin(&self, repositories: &Repositories) {
        let Some(location) = self.location.as_deref().filter(|_| !self.claim) else { return };
        repositories.change(location, |repository| {
            if repository.owner == self.variable("HUB_OWNER") && repository.password == self.variable("KOPIA_PASSWORD")
            {
                repository.collisions += u32::from(!repository.inside.is_empty());
                repository.inside.push((self.member.clone(), self.pod.clone()));
            }
        });
    }

    /// The Pod is killed.
    pub fn abandon(&self, repositories: &Repositories) {
        let Some(location) = &self.location else { return };
        repositories.change(location, |repository| {
            repository.inside.retain(|(member, pod)| (member, pod) != (&self.member, &self.pod));
        });
    }

    /// The Pod's time is over.
    pub fn end(&self, repositories: &Repositories, started: Timestamp, now: Timestamp) -> Ending {
        let found = self.location.as_deref().and_then(|location| {
            repositories.change(location, |repository| {
                repository.inside.retain(|(member, pod)| (member, pod) != (&self.member, &self.pod));
                if repository.password == self.variable("KOPIA_PASSWORD") {
                    self.work(repository, started, now)
                } else {
                    self.report("AuthFailed", "invalid repository password")
                }
            })
        });
        let mut report =
            found.unwrap_or_else(|| self.report("ConnectFailed", "repository not initialized in the storage"));
        report["seconds"] = now.duration_since(started).as_secs().into();
        let good = matches!(report["outcome"].as_str(), Some("Succeeded" | "Claimed"));
        Ending { exit_code: i32::from(!good), message: report.to_string() }
    }

    fn report(&self, outcome: &str, message: &str) -> Value {
        let mut report = json!({"outcome": outcome, "uniqueID": null, "owner": null, "previousOwner": null,
            "epoch": self.number("HUB_EPOCH"), "kopia": "simulated", "reclaimedBytes": null, "lastRunStart": null,
            "message": message});
        if self.claim {
            report["ownerWritten"] = false.into();
            // It takes no time here.
            report["runBegan"] = false.into();
        }
        report
    }

    fn work(&self, repository: &mut Repository, started: Timestamp, now: Timestamp) -> Value {
        let before = repository.owner.clone();
        let mut report = if self.claim { self.claim(repository, now) } else { self.run(repository, started) };
        report["uniqueID"] = repository.unique_id.as_str().into();
        report["owner"] = repository.owner.as_str().into();
        report["lastRunStart"] = repository.last_run_start.map(Timestamp::as_second).into();
        if self.claim {
            report["previousOwner"] = before.into();
        }
        report
    }

    fn claim(&self, repository: &mut Repository, now: Timestamp) -> Value {
        let (mine, replaces) = (self.variable("HUB_OWNER"), self.variable("HUB_PERMIT_REPLACES"));
        let earliest = self.number("HUB_PERMIT_ISSUED") - CLOCK_TOLERANCE_SECONDS;
        if !(earliest..=self.number("HUB_PERMIT_NOT_AFTER")).contains(&now.as_second()) {
            return self.report("ClockSkew", "the clock is outside the permit's time");
        }
        let covered = match replaces {
            "foreign" => self.epoch_of_ours(&repository.owner).is_none(),
            exact => repository.owner == exact,
        };
        if repository.owner != mine && !covered {
            let message = format!("the permit does not cover the recorded owner {}", repository.owner);
            return self.report("ClaimRefused", &message);
        }
        let mut report = self.report("Claimed", "recorded as owner, read back twice");
        report["ownerWritten"] = (repository.owner != mine).into();
        mine.clone_into(&mut repository.owner);
        report
    }

    fn run(&self, repository: &mut Repository, started: Timestamp) -> Value {
        let mine = self.variable("HUB_OWNER");
        if repository.owner != mine {
            let epoch = self.epoch_of_ours(&repository.owner);
            let outcome = if epoch >= Some(self.number("HUB_EPOCH")) { "Fenced" } else { "NotGranted" };
            return self.report(outcome, &format!("the recorded owner is {}", repository.owner));
        }
        if !repository.inside.is_empty() {
            return self.report("Busy", "another run is in the repository");
        }
        repository.runs += 1;
        repository.last_run_start = Some(started);
        let mut report = self.report("Succeeded", "quick and full maintenance done");
        // What a store of its size would give back: some tens of MiB, another amount each time.
        report["reclaimedBytes"] = ((u64::from(repository.runs) * 7_919 % 64 + 1) << 20).into();
        report
    }

    /// The epoch in an owner that this hub wrote: `volsync-hub-<epoch>@<member>.<id>.<hub id>`.
    fn epoch_of_ours(&self, owner: &str) -> Option<i64> {
        let (user, host) = owner.split_once('@')?;
        let ours = host.ends_with(&format!(".{}", self.variable("HUB_ID")));
        user.strip_prefix("volsync-hub-").filter(|_| ours)?.parse().ok()
    }
}

fn decoded(secret: &Value, key: &str) -> Option<String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

fn environment(container: &Value, secret: &impl Fn(&str) -> Option<Value>) -> BTreeMap<String, String> {
    let variables = container["env"].as_array().into_iter().flatten();
    variables
        .filter_map(|variable| {
            let name = variable["name"].as_str()?.to_owned();
            if let Some(value) = variable["value"].as_str() {
                return Some((name, value.to_owned()));
            }
            let key = &variable["valueFrom"]["secretKeyRef"];
            let value = decoded(&secret(key["name"].as_str()?)?, key["key"].as_str()?)?;
            Some((name, value))
        })
        .collect()
}

/// A whole Kopia configuration among the credential files, where the place stands in one.
fn from_config(pod: &Value, secret: &impl Fn(&str) -> Option<Value>) -> Option<Value> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let names = volumes.filter_map(|volume| volume["secret"]["secretName"].as_str());
    names.filter_map(secret).find_map(|secret| {
        let config: Value = serde_json::from_str(&decoded(&secret, "repository.config")?).ok()?;
        Some(config["storage"].clone())
    })
}

/// Flags that tell the place, by backend.
const PLACE_FLAGS: &[(&str, &[&str])] = &[
    ("s3", &["endpoint", "bucket", "prefix"]),
    ("azure", &["storage-account", "container", "prefix"]),
    ("gcs", &["bucket", "prefix"]),
    ("b2", &["bucket", "prefix"]),
    ("webdav", &["url"]),
    ("sftp", &["host", "path"]),
    ("rclone", &["remote-path"]),
    ("gdrive", &["folder-id"]),
];

/// `s3 s3.example.com bucket prefix/`: what the arguments of a connect mean. Addresses inside a cluster mean another
/// place in each member.
pub fn location(arguments: &[&str], config: Option<&Value>, member: &str) -> Option<String> {
    let (backend, flags) = arguments.split_first()?;
    let from_config = if *backend == "from-config" { Some(config?) } else { None };
    let backend = from_config.map_or(Some(*backend), |config| config["type"].as_str())?;
    let (_, places) = PLACE_FLAGS.iter().find(|(known, _)| *known == backend)?;
    let value = |flag: &str| {
        if let Some(config) = from_config {
            return config["config"][flag].as_str();
        }
        let prefix = format!("--{flag}");
        flags.iter().enumerate().find_map(|(index, argument)| match argument.strip_prefix(&prefix)? {
            "" => flags.get(index + 1).copied(),
            rest => rest.strip_prefix('='),
        })
    };
    let parts: Vec<&str> = places.iter().filter_map(|flag| value(flag)).collect();
    let inside = parts.iter().any(|part| {
        let host = part.split("://").last().unwrap_or(part).split(['/', ':']).next().unwrap_or_default();
        host.split('.').any(|label| label == "svc")
    });
    let scope = if inside { format!(" in {member}") } else { String::new() };
    Some(format!("{backend} {}{scope}", parts.join(" ")))
}
